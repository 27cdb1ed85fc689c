package bench_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkIdleScheduler runs `keyturn serve --roles scheduler` on a million policies that are not due, and
// reports what the process takes: resident memory, and CPU of one core. It reads /proc, so it needs Linux.
func BenchmarkIdleScheduler(b *testing.B) {
	pg := seedPostgres(b, manyPolicies)
	binary := filepath.Join(b.TempDir(), "keyturn")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", binary, "github.com/keyturn/keyturn/cmd/keyturn") //nolint:gosec // our own program
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("building keyturn: %v\n%s", err, out)
	}
	server := exec.CommandContext(b.Context(), binary, "serve", "--roles", "scheduler", "--listen", "127.0.0.1:0", "--data-dir", b.TempDir()) //nolint:gosec // as above
	server.Env = append(os.Environ(), "KEYTURN_DATABASE_URL="+pg.url)
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill() // it has nothing to finish
		_ = server.Wait()
	}()
	wait(b, 15*time.Second) // it has started
	for b.Loop() {
		const over = 40 * time.Second // longer than a scheduler sleeps
		begin := cpuOf(b, server.Process.Pid)
		wait(b, over)
		b.ReportMetric(100*(cpuOf(b, server.Process.Pid)-begin).Seconds()/over.Seconds(), "cpu-%")
		b.ReportMetric(residentOf(b, server.Process.Pid), "rss-MB")
	}
	b.ReportMetric(0, "ns/op")
}

// cpuOf returns the CPU time that a process has taken: fields 14 and 15 of
// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, in hundredths of a second.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	total := 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		total += n
	}
	return time.Duration(total) * 10 * time.Millisecond
}

func residentOf(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kb, err := strconv.Atoi(fields[1])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
