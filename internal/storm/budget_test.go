package storm_test

import (
	"flag"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/checker"
)

var (
	budgetUnits = flag.Int("budget.units", 1000, "how many units there are")
	budgetKills = flag.Int("budget.kills", 10, "how often the worker is killed meanwhile")
)

// inFlight is how many tasks are worked on at once when the worker is killed.
const inFlight = 32

// TestKilledWorker_CostsTheTargetLittle kills the worker again and again in the middle of
// a rotation and counts what the target is asked: hardly more than without, because whoever
// goes on looks only at the tasks that were in flight. One more look at each of those is what
// a kill forces.
func TestKilledWorker_CostsTheTargetLittle(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"embedded", "separate"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			alone(t)
			quiet := turnAll(t, kind, 0)
			killed := turnAll(t, kind, *budgetKills)
			t.Logf("%d units: %d requests in a quiet run, %d with %d kills: %.3f times as many",
				*budgetUnits, quiet, killed, *budgetKills, float64(killed)/float64(quiet))
			if most := quiet*12/10 + int64(*budgetKills*inFlight); killed > most {
				t.Errorf("%d requests, want at most 1.2 times those of a quiet run and one for each task in flight: %d", killed, most)
			}
		})
	}
}

// turnAll turns every key once and returns how many requests that took.
func turnAll(t *testing.T, kind string, kills int) int64 {
	t.Helper()
	begin := time.Now()
	l := &lane{world: world{t: t, sim: simulate(t, *budgetUnits, 10*time.Millisecond)}, kind: kind}
	set := map[string]string{}
	if !*stormReal {
		set["KEYTURN_TEST_WAITS"] = shortWaits
	}
	l.useBus(set)
	set["KEYTURN_DATA_DIR"] = filepath.Join(t.TempDir(), "data")
	l.server = newServer(t, fmt.Sprintf("killed-%d-times", kills), set)
	l.server.begin()
	l.connect([]string{l.server.url}, filepath.Join(dataDir(l.server), "admin-token"))
	if err := l.apply(t.Context(), estate{timeouts: "{request: 1s, settle: 1s, verify: 10s}", concurrency: inFlight}); err != nil {
		t.Fatal(err)
	}
	if err := l.ask(t.Context(), "all"); err != nil {
		t.Fatal(err)
	}
	for kill := range kills {
		want := int64(*budgetUnits * (kill + 1) / (kills + 2))
		until(t, 2*time.Minute, fmt.Sprintf("%d keys to be turned", want), func() bool { return l.sim.turns(t) >= want })
		if err := l.server.signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-l.server.ended
		l.server.begin()
	}
	until(t, 3*time.Minute, "the rotation to end", l.settled)
	complain(t, checker.Check(l.evidence()))
	stats := l.sim.stats(t)
	t.Logf("%d kills: %v, %d not let in, %s", kills, stats.Endpoints, stats.Unauthorized, time.Since(begin).Round(time.Second))
	l.server.kill()
	return stats.Requests
}

// turns is how many keys have really turned.
func (s *simulated) turns(t testing.TB) int64 {
	t.Helper()
	_, body := fetch(t.Context(), s.url+"/simulator/truth?limit=1")
	truth, err := checker.Parse[struct{ Total int64 }]("the truth", body)
	if err != nil {
		t.Fatal(err)
	}
	return truth.Total
}
