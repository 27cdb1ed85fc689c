// Package filelock keeps two processes from using one folder at the same time.
//
// The embedded NATS server and SQLite both need it: two embedded JetStream
// servers on one folder start without an error and destroy each other's data.
package filelock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// errHeld is what the system's lock call means when another process has it.
var errHeld = errors.New("held by another process")

// HeldError says that another process, or another part of this one, holds the lock.
type HeldError struct {
	Path string
	PID  int // of the holder; 0: unknown
}

func (e *HeldError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = "process " + strconv.Itoa(e.PID)
	}
	return fmt.Sprintf("%s is held by %s: stop it or use another folder", e.Path, holder)
}

// Lock is a lock that is held. The system releases it when the process ends,
// however it ends.
type Lock struct {
	file *os.File
}

// Acquire takes the lock on the file, which it creates if need be, or answers
// a *HeldError at once. The folder must exist.
func Acquire(path string) (*Lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the path comes from the operator's own configuration
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	if err := lock(file); err != nil {
		held := &HeldError{Path: path, PID: holder(file)}
		_ = file.Close()
		if errors.Is(err, errHeld) {
			return nil, held
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	if err := sign(file); err != nil {
		_ = unlock(file)
		_ = file.Close()
		return nil, fmt.Errorf("writing the lock file %s: %w", path, err)
	}
	return &Lock{file: file}, nil
}

// Release gives the lock back. The file stays: removing it would let two
// processes lock two different files of the same name.
func (l *Lock) Release() error {
	if err := errors.Join(unlock(l.file), l.file.Close()); err != nil {
		return fmt.Errorf("releasing the lock: %w", err)
	}
	return nil
}

// sign leaves our process id for the message of those who come later.
func sign(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func holder(file *os.File) int {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil {
		return 0
	}
	return pid
}
