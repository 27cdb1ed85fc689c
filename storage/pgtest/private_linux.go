package pgtest

import "syscall"

// endWithUs has the kernel end the child when this process dies, however it dies.
func endWithUs(who *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGTERM}
}
