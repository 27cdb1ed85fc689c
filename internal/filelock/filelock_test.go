package filelock_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/filelock"
)

const childPath = "KEYTURN_FILELOCK_TEST_CHILD"

// TestMain lets the test binary be the other process.
func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		child(path)
		return
	}
	m.Run()
}

// child holds the lock until its standard input ends.
func child(path string) {
	if _, err := filelock.Acquire(path); err != nil {
		fmt.Fprintln(os.Stdout, err)
		return
	}
	fmt.Fprintln(os.Stdout, "held")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

func TestAcquire(t *testing.T) {
	t.Parallel()

	t.Run("RefusesASecondHolderAndNamesTheFirst", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "lock")
		if _, err := filelock.Acquire(path); err != nil {
			t.Fatal(err)
		}
		_, err := filelock.Acquire(path)
		held, ok := errors.AsType[*filelock.HeldError](err)
		if !ok || held.PID != os.Getpid() || held.Path != path {
			t.Fatalf("second lock: got %v, want a HeldError naming process %d", err, os.Getpid())
		}
		if !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
			t.Errorf("the message %q does not name the process", err)
		}
	})

	t.Run("CanBeTakenAgainAfterRelease", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "lock")
		for range 2 {
			l, err := filelock.Acquire(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Release(); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("NamesAFolderThatIsMissing", func(t *testing.T) {
		t.Parallel()
		if _, err := filelock.Acquire(filepath.Join(t.TempDir(), "nowhere", "lock")); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("got %v, want os.ErrNotExist", err)
		}
	})

	t.Run("IsFreeAfterTheHolderWasKilled", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "lock")
		cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this very test binary
		cmd.Env = append(os.Environ(), childPath+"="+path)
		stdin, err := cmd.StdinPipe() // stays open: the child must be killed
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = stdin.Close() })
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "held\n" {
			t.Fatalf("child said %q (%v)", line, err)
		}
		_, err = filelock.Acquire(path)
		if held, ok := errors.AsType[*filelock.HeldError](err); !ok || held.PID != cmd.Process.Pid {
			t.Fatalf("while the child lives: got %v, want a HeldError naming process %d", err, cmd.Process.Pid)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // "signal: killed"
		if _, err := filelock.Acquire(path); err != nil {
			t.Fatalf("after the child was killed: %v", err)
		}
	})
}
