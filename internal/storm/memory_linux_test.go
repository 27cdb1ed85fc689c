package storm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	memoryUnits = 20_000
	// memoryMost is what a server may have had in memory, in kB: docs/performance.md has what it takes.
	memoryMost = 150_000
)

// TestMemory_OfAServerWithTwentyThousandUnits turns every key twice with the released program, because a second plan is
// made while much of the first rotation is still remembered. It was seen to fail: 313 MB with the automation configs of all projects in memory.
func TestMemory_OfAServerWithTwentyThousandUnits(t *testing.T) {
	t.Parallel()
	alone(t)
	l := &lane{world: world{t: t, sim: simulate(t, memoryUnits, 0)}, kind: "embedded"}
	set := map[string]string{"KEYTURN_DATA_DIR": filepath.Join(t.TempDir(), "data")}
	l.useBus(set)
	l.server = newServer(t, "memory", set)
	l.server.begin()
	l.connect([]string{l.server.url}, filepath.Join(dataDir(l.server), "admin-token"))
	if err := l.apply(t.Context(), estate{timeouts: "{request: 30s}", concurrency: 256}); err != nil {
		t.Fatal(err)
	}
	for run := 1; run <= 2; run++ {
		if err := l.ask(t.Context(), "all"); err != nil {
			t.Fatal(err)
		}
		until(t, 5*time.Minute, "the rotation to end", l.settled)
		if turns := l.sim.turns(t); turns != int64(run*memoryUnits) {
			t.Fatalf("%d keys were turned, want %d", turns, run*memoryUnits)
		}
		peak := peakOf(t, l.server.now().cmd.Process.Pid)
		t.Logf("rotation %d: at most %d kB resident so far", run, peak)
		if peak > memoryMost {
			t.Errorf("at most %d kB were resident, want %d at most", peak, memoryMost)
		}
	}
	l.server.kill()
}

// peakOf is the most that a process had resident at a time, in kB: https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
func peakOf(t *testing.T, pid int) (kB int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(rest, &kB); err != nil {
				t.Fatal(err)
			}
			return kB
		}
	}
	t.Fatalf("the status of process %d says nothing of its peak:\n%s", pid, status)
	return 0
}
