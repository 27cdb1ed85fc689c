package filelock

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// lock locks a byte far behind the process id, which others must be able to read.
func lock(file *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	at := farBehind()
	err := windows.LockFileEx(windows.Handle(file.Fd()), flags, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errHeld
	}
	return err
}

// unlock gives the lock back at once. To close the file alone would do so when the system finds the time.
// https://learn.microsoft.com/en-us/windows/win32/api/fileapi/nf-fileapi-lockfileex#remarks
func unlock(file *os.File) error {
	at := farBehind()
	return windows.UnlockFileEx(windows.Handle(file.Fd()), 0, 1, 0, &at)
}

func farBehind() windows.Overlapped {
	return windows.Overlapped{Offset: math.MaxUint32, OffsetHigh: math.MaxInt32}
}
