package bench_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// tick is the unit of the times in /proc/PID/stat: USER_HZ is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// spent returns the processor time that this process has used so far, and that of the processes below
// it: a database of the test's own. Beside other work on the machine it says more than a clock on the wall.
func spent(b *testing.B) (own, below time.Duration) {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()), belowUs()
}

type process struct {
	parent int
	used   time.Duration
}

// belowUs sums up the times of all descendants, also of those that have ended.
// A process that ends while it is looked at is left out: its parent has its time.
func belowUs() time.Duration {
	all := map[int]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well formed
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: what follows the name, from field 3 on
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		var p process
		p.parent, _ = strconv.Atoi(string(fields[1]))
		for _, f := range fields[11:15] { // utime, stime, cutime, cstime
			ticks, _ := strconv.Atoi(string(f))
			p.used += time.Duration(ticks) * tick
		}
		all[pid] = p
	}
	var sum time.Duration
	for pid, p := range all {
		for up := p.parent; up > 1; up = all[up].parent {
			if up == os.Getpid() && pid != up {
				sum += p.used
				break
			}
		}
	}
	return sum
}
