package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMigrateBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	dir := filepath.Join(c.dir, "not", "there")
	c.run(t, "migrate", "--check", "--data-dir", dir).want(t, exitFailed).wantError(t, "no such file")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a check made the directory: %v", err)
	}
	if out := c.run(t, "migrate", "--data-dir", dir).want(t, exitDone).stdout; !strings.Contains(out, "(was 0)") {
		t.Errorf("migrate says %q", out)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v, want it to be of this user only", info, err)
	}
	c.run(t, "migrate", "--check", "--data-dir", dir).want(t, exitDone)
	file := filepath.Join(c.dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.run(t, "migrate", "--data-dir", filepath.Join(file, "x")).want(t, exitFailed).wantError(t, "data_dir can't be made", "KEYTURN_DATA_DIR")
}
