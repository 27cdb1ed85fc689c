//go:build unix && !solaris && !aix

package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestRelease_WhileAnotherHasTheFile: a process that is being started has all files of its parent, until it is another program.
func TestRelease_WhileAnotherHasTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	l, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	child, err := syscall.Dup(int(l.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(child) }()
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if err := l.file.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("its file was not closed: %v", err)
	}
	again, err := Acquire(path)
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}
