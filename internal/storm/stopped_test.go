package storm_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/checker"
)

// TestStoppedWorker_ChangesNothingAfterItsLease stops a worker (SIGSTOP) in
// the middle of the protocol until another one has done its work, and lets it go on.
func TestStoppedWorker_ChangesNothingAfterItsLease(t *testing.T) {
	t.Parallel()
	tests := []struct {
		point  string
		metric string // counts what it noticed; empty: nothing there was to notice
	}{
		{"store.Intend.before", ""},
		{"store.Intend.after", "keyturn_sends_guarded_total"},
		{"system.Apply.before", "keyturn_results_refused_total"}, // behind the guard
		{"system.Apply.after", "keyturn_results_refused_total"},
		{"store.Finish.before", "keyturn_results_refused_total"},
		{"store.Finish.after", ""},
	}
	for _, test := range tests {
		t.Run(test.point, func(t *testing.T) {
			t.Parallel()
			l := &lane{world: world{t: t, sim: simulate(t, crashUnits, 5*time.Millisecond)}, kind: "separate"}
			set := map[string]string{"KEYTURN_TEST_WAITS": shortWaits}
			l.useBus(set)
			as := func(name, roles string) *server {
				mine := map[string]string{"KEYTURN_ROLES": roles, "KEYTURN_DATA_DIR": filepath.Join(t.TempDir(), "data")}
				for k, v := range set {
					mine[k] = v
				}
				s := newServer(t, name, mine)
				s.begin()
				return s
			}
			front := as("front", "api,scheduler")
			l.connect([]string{front.url}, filepath.Join(dataDir(front), "admin-token"))
			if err := l.apply(t.Context(), estate{timeouts: shortTimeouts, concurrency: 4}); err != nil {
				t.Fatal(err)
			}
			stopped := as("stopped", "worker")
			stopped.arm(test.point + " 2 stop")
			if err := l.ask(t.Context(), "all"); err != nil {
				t.Fatal(err)
			}
			until(t, 30*time.Second, "the worker to stop", func() bool { return strings.Contains(stopped.lastLines(5), "crash point") })
			as("other", "worker")
			until(t, 60*time.Second, "the other worker to finish", l.settled)
			turned := len(l.sim.truth(t))
			if err := stopped.signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if test.metric != "" {
				until(t, 20*time.Second, fmt.Sprintf("the worker to notice (%s)", test.metric), func() bool { return stopped.metric(test.metric) > 0 })
			}
			stopped.ready()
			until(t, 20*time.Second, "the worker to be idle", func() bool { return stopped.metric("keyturn_tasks_in_flight") == 0 })
			if now := len(l.sim.truth(t)); now != turned {
				t.Errorf("the worker that had been stopped turned %d keys after its lease", now-turned)
			}
			complain(t, checker.Check(l.evidence()))
		})
	}
}
