package storm_test

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/checker"
	"github.com/keyturn/keyturn/internal/crash"
	"github.com/keyturn/keyturn/internal/simulator"
)

var (
	crashAt    = flag.String("crash.at", "", "only the crash points that begin with this")
	crashLanes = flag.Int("crash.lanes", 8, "how many servers die side by side, of each kind")
)

// shortWaits make work that was left behind be taken up after seconds.
const (
	shortWaits    = "sendSlack=500ms leaseMargin=500ms planLease=1s requeueAfter=2s announceLease=1s ackWait=1s"
	shortTimeouts = "{request: 1s, settle: 500ms, verify: 5s}"
)

const (
	crashUnits = 12
	policies   = `
---
apiVersion: keyturn/v1
kind: Policy
name: nothing
spec: {target: om, select: {clusters: [no-such-cluster]}}
---
apiVersion: keyturn/v1
kind: Policy
name: ticks
spec: {target: om`
	silent  = "}\n"
	ticking = ", schedule: {cron: \"* * * * * *\"}}\n"
)

// TestCrashPoints kills a server at every point at which it does something
// durable or calls somebody, starts it again and compares what it says with what happened.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"embedded", "separate"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			points := pointsOf(kind)
			if len(points) == 0 {
				t.Fatalf("no crash point begins with %q", *crashAt)
			}
			next := make(chan string, len(points))
			for _, point := range points {
				next <- point
			}
			close(next)
			for lane := range min(*crashLanes, len(points)) {
				t.Run(fmt.Sprintf("lane%d", lane), func(t *testing.T) {
					t.Parallel()
					l := newLane(t, kind)
					for point := range next {
						l.die(point)
						if t.Failed() {
							return
						}
					}
					complain(t, checker.Check(l.evidence()))
				})
			}
		})
	}
}

// pointsOf leaves out what can't be passed: nobody but us can put a message
// that is no task, or names no rotation, into the queues of an embedded bus.
func pointsOf(kind string) []string {
	return slices.DeleteFunc(crash.Names(), func(point string) bool {
		garbage := strings.HasPrefix(point, "tasks.Reject") || strings.HasPrefix(point, "rotations.Reject")
		return garbage && kind == "embedded" || !strings.HasPrefix(point, *crashAt)
	})
}

// lane is one server that dies again and again, with an estate of its own.
type lane struct {
	world
	server *server
	kind   string
	nats   string // where messages can be published
	prefix string
	since  int
}

func newLane(t *testing.T, kind string) *lane {
	t.Helper()
	l := &lane{world: world{t: t, sim: simulate(t, crashUnits, 20*time.Millisecond)}, kind: kind, prefix: "keyturn"}
	set := map[string]string{"KEYTURN_TEST_WAITS": shortWaits, "KEYTURN_DATA_DIR": filepath.Join(t.TempDir(), "data")}
	l.useBus(set)
	l.server = newServer(t, "server", set)
	l.server.begin()
	l.connect([]string{l.server.url}, filepath.Join(set["KEYTURN_DATA_DIR"], "admin-token"))
	if err := l.tick(t.Context(), silent); err != nil {
		t.Fatal(err)
	}
	return l
}

// useBus chooses the databases and buses of a kind of server.
func (l *lane) useBus(set map[string]string) {
	password := filepath.Join(l.t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(natsPassword), 0o600); err != nil {
		l.t.Fatal(err)
	}
	set["KEYTURN_NATS_USER"], set["KEYTURN_NATS_PASSWORD"] = natsUser, "file:"+password
	if l.kind == "embedded" {
		port, err := freePort(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		set["KEYTURN_NATS_LISTEN"] = fmt.Sprintf("127.0.0.1:%d", port)
		l.nats = "nats://" + set["KEYTURN_NATS_LISTEN"]
		return
	}
	pg, err := kit.postgres()
	if err != nil {
		l.t.Fatal(err)
	}
	ns, err := kit.nats()
	if err != nil {
		l.t.Fatal(err)
	}
	l.prefix = fmt.Sprintf("t%d", kit.prefixes.Add(1)) // nobody else's
	l.nats = "nats://" + ns.addr()
	set["KEYTURN_DATABASE_URL"], set["KEYTURN_NATS_URL"], set["KEYTURN_NATS_PREFIX"] = pg.Empty(l.t), l.nats, l.prefix
}

// tick gives the policy "ticks" its schedule, or takes it away.
func (l *lane) tick(ctx context.Context, schedule string) error {
	return l.apply(ctx, estate{timeouts: shortTimeouts, concurrency: 8, policies: policies + schedule})
}

// die makes the server die at a point, starts it again, and looks.
func (l *lane) die(point string) {
	l.t.Helper()
	// Each point at another passing: the first, the second, …
	h := fnv.New32a()
	_, _ = h.Write([]byte(point + l.kind))
	passing := 1 + h.Sum32()%3
	if once(point) {
		passing = 1
	}
	l.server.arm(fmt.Sprintf("%s %d", point, passing))
	ctx, cancel := context.WithTimeout(l.t.Context(), 60*time.Second)
	defer cancel()
	var asking sync.WaitGroup
	life := l.server.process
	asking.Go(func() { l.stir(ctx, point, life) })
	if err := life.died(ctx, 40*time.Second); err != nil {
		l.t.Errorf("at %s: %v", point, err)
		cancel()
		asking.Wait()
		return
	}
	if err := l.sim.faults(ctx, simulator.Faults{}); err != nil {
		l.t.Fatal(err)
	}
	l.server.begin()
	asking.Wait()
	if err := l.tick(ctx, silent); err != nil {
		l.t.Fatal(err)
	}
	if !within(ctx, 40*time.Second, l.settled) {
		l.t.Errorf("after dying at %s, passing %d: something did not end", point, passing)
	}
	e, since := l.quickly(l.since)
	l.since = since
	if found := checker.Check(e); len(found) > 0 {
		l.t.Errorf("after dying at %s, passing %d:", point, passing)
		complain(l.t, found)
	}
}

// once reports whether one stir passes a point once only.
func once(point string) bool {
	return slices.ContainsFunc([]string{
		"triggers.", "store.Request", "store.FailRotation", "store.PostponeRotation", "api.", "Reject", "store.Hold",
		"rotations.", "store.SavePlan", "system.Discover", "PublishEvents", "store.Announced",
	}, func(part string) bool { return strings.Contains(point, part) })
}

// stir makes the server do what passes a point.
func (l *lane) stir(ctx context.Context, point string, life *process) {
	fail := func(err error) {
		if err != nil {
			l.t.Errorf("making the server pass %s: %v", point, err)
		}
	}
	policy, faults := "all", simulator.Faults{Seed: 1}
	switch {
	case strings.HasPrefix(point, "schedule.") || strings.HasPrefix(point, "publisher."):
		_ = l.tick(ctx, ticking) // it may die before it answers
		return
	case strings.HasPrefix(point, "triggers.Reject"):
		fail(publish(ctx, l.nats, l.prefix+".trigger", `{"policy":`))
		return
	case strings.HasPrefix(point, "triggers.") || strings.HasPrefix(point, "store.Request.") || strings.HasPrefix(point, "queue.PublishRotation"):
		for range 3 {
			id := fmt.Sprintf("message-%d", l.run.Add(1))
			fail(publish(ctx, l.nats, l.prefix+".trigger", fmt.Sprintf(`{"policy":"all","id":%q}`, id)))
			l.expect(ctx, id)
		}
		return
	case strings.HasPrefix(point, "tasks.Reject"):
		fail(publish(ctx, l.nats, l.prefix+".task.om.project.cluster", `{"task":`))
		return
	case strings.HasPrefix(point, "rotations.Reject"):
		fail(publish(ctx, l.nats, l.prefix+".rotation.requested", `no id`))
		return
	case strings.HasPrefix(point, "store.FailRotation"):
		policy = "nothing"
	case strings.HasPrefix(point, "store.PostponeRotation"):
		faults.Outage = simulator.OutageUnavailable
	case strings.HasPrefix(point, "store.Hold"):
		faults.PUT.TooMany = .5
	case strings.HasPrefix(point, "store.Take"), strings.HasPrefix(point, "store.Reintend"):
		faults.PUT.ResetBefore = .7
	}
	fail(l.sim.faults(ctx, faults))
	for range 5 {
		fail(l.ask(ctx, policy))
		if within(ctx, 3*time.Second, func() bool { return !life.alive() }) {
			return
		}
	}
}

// expect waits for the rotation of a message that NATS has acknowledged.
func (l *lane) expect(ctx context.Context, id string) {
	for {
		rotations, err := l.front().Rotations(ctx, "all", "", 0)
		i := slices.IndexFunc(rotations, func(r keyturn.Rotation) bool { return r.TriggerID == id })
		if err == nil && i >= 0 {
			l.mu.Lock()
			l.asked = append(l.asked, rotations[i].ID.String())
			l.mu.Unlock()
			return
		}
		if !pause(ctx, 100*time.Millisecond) {
			l.t.Errorf("the message %s that NATS has acknowledged made no rotation", id)
			return
		}
	}
}
