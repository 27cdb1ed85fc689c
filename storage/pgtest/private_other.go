//go:build unix && !linux

package pgtest

import "syscall"

// endWithUs can't do here what it does on Linux: a test binary that is killed leaves its server running.
func endWithUs(who *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: who}
}
