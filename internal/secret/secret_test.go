package secret_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/secret"
)

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResolveReadsTheEnvironment(t *testing.T) {
	t.Setenv("KEYTURN_TEST_SECRET", " hunter2\n")
	if got, err := secret.Resolve("env:KEYTURN_TEST_SECRET"); got != " hunter2\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	t.Setenv("KEYTURN_TEST_SECRET", "")
	if _, err := secret.Resolve("env:KEYTURN_TEST_SECRET"); err == nil || !strings.Contains(err.Error(), "env:KEYTURN_TEST_SECRET") {
		t.Errorf("got %v for an empty variable", err)
	}
}

func TestResolveReadsFiles(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"hunter2":          "hunter2",
		"hunter2\n":        "hunter2",
		"hunter2\r\n":      "hunter2",
		" two\nlines \n\n": " two\nlines ",
		strings.Repeat("a", secret.MaxBytes-1) + "\n": strings.Repeat("a", secret.MaxBytes-1),
	} {
		if got, err := secret.Resolve("file:" + write(t, content)); got != want || err != nil {
			t.Errorf("%.20q: got %.20q, %v", content, got, err)
		}
	}
}

func TestResolveSeesAChangedFile(t *testing.T) {
	t.Parallel()
	path := write(t, "old")
	if _, err := secret.Resolve("file:" + path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := secret.Resolve("file:" + path); got != "new" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestResolveRefuses(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	tests := []struct{ name, ref, want string }{
		{"nothing", "", "write env:NAME or file:/absolute/path"},
		{"literal", "hunter2", "write env:NAME or file:/absolute/path"},
		{"no name", "env:", "write env:NAME"},
		{"unset variable", "env:KEYTURN_TEST_UNSET", "secret env:KEYTURN_TEST_UNSET: the environment variable is not set"},
		{"relative path", "file:key", "the path must be absolute"},
		{"no file", "file:" + missing, "reading secret file:" + missing + ": no such file"},
		{"directory", "file:" + t.TempDir(), "it is no regular file"},
		{"device", "file:/dev/zero", "it is no regular file"},
		{"empty file", "file:" + write(t, "\n"), "it is empty"},
		{"too long", "file:" + write(t, strings.Repeat("hunter2", secret.MaxBytes)), "longer than 65536 bytes"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := secret.Resolve(tc.ref)
			if got != "" || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %q, %v, want %q", got, err, tc.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the secret is shown: %v", err)
			}
		})
	}
	if _, err := secret.Resolve("file:" + missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist in it", err)
	}
}
