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

	"github.com/keyturn/keyturn/internal/checker"
	"github.com/keyturn/keyturn/internal/crash"
	"github.com/keyturn/keyturn/internal/simulator"
	"github.com/keyturn/keyturn/worker/webhook/webhooktest"
)

var (
	crashAt    = flag.String("crash.at", "", "only the crash points that begin with this")
	crashLog   = flag.Bool("crash.log", false, "say how long each death took")
	crashLanes = flag.Int("crash.lanes", 8, "how many servers die side by side, of each kind")
)

// shortWaits make work that was left behind be taken up after seconds.
const (
	shortWaits = "sendSlack=500ms leaseMargin=500ms planLease=1s makeMost=1s requeueAfter=2s announceLease=1s ackWait=1s"
	// aloneWaits are for what one process at a time does.
	aloneWaits = " lookLease=2s deliveryLease=2s alertsAhead=9s"
	// smallParts make a large plan of the few units of a lane.
	smallParts    = " planPart=5"
	shortTimeouts = "{request: 1s, settle: 500ms, verify: 5s}"
)

const (
	crashUnits    = 12
	crashProjects = 6 // of servers whose keys agents turn: one unit each
)

// TestCrashPoints kills a server at every point at which it does something
// durable or calls somebody, starts it again and compares what it says with what happened.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	if !slices.ContainsFunc(crash.Names(), func(point string) bool { return strings.HasPrefix(point, *crashAt) }) {
		t.Fatalf("no crash point begins with %q", *crashAt)
	}
	for _, kind := range []string{"embedded", "separate", "making", "agents"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			points := pointsOf(kind)
			next := make(chan string, len(points))
			for _, point := range points {
				next <- point
			}
			close(next)
			for lane := range min(*crashLanes, len(points)) {
				t.Run(fmt.Sprintf("lane%d", lane), func(t *testing.T) {
					t.Parallel()
					l := newLane(t, kind)
					deaths := 0
					for point := range next {
						l.die(point)
						deaths++
						if t.Failed() {
							return
						}
					}
					complain(t, checker.Check(l.evidence()))
					if l.makes != "" && deaths > 0 {
						l.madeOnce()
					}
				})
			}
		})
	}
}

// pointsOf leaves out what can't be passed: nobody but us can put a message
// that is no task, or names no rotation, into the queues of an embedded bus; and the simulated Ops Manager makes
// its keys by itself, so that the points around keys that are made first are for servers that make some (kind "making").
func pointsOf(kind string) []string {
	return slices.DeleteFunc(crash.Names(), func(point string) bool {
		if kind == "agents" {
			return !aboutAgents(point) || !strings.HasPrefix(point, *crashAt)
		}
		garbage := strings.HasPrefix(point, "tasks.Reject") || strings.HasPrefix(point, "rotations.Reject")
		return garbage && kind == "embedded" || kind == "making" && !aboutMaking(point) || kind != "making" && ofMakers(point) || !strings.HasPrefix(point, *crashAt)
	})
}

// aboutAgents are the points on the way of one task: only those differ when agents turn the keys.
func aboutAgents(point string) bool {
	return slices.ContainsFunc([]string{"store.Intend", "store.Finish.", "store.Take.", "store.Reintend", "system.Prepare", "system.Apply", "confirmer."}, func(begin string) bool {
		return strings.HasPrefix(point, begin)
	})
}

// ofMakers: only a system that makes keys passes the point.
func ofMakers(point string) bool {
	return slices.ContainsFunc([]string{"store.Amend", "store.ProvidedKey", "maker."}, func(begin string) bool {
		return strings.HasPrefix(point, begin)
	})
}

func aboutMaking(point string) bool { return ofMakers(point) || strings.HasPrefix(point, "confirmer.") }

// lane is one server that dies again and again, with an estate of its own.
type lane struct {
	world
	server *server
	kind   string
	nats   string // where messages can be published
	prefix string
	since  int

	receiver *webhooktest.Receiver // of the webhook
	secret   string                // its file
	failing  []string              // policies of which an alert was asked for
	makes    string                // where keys are made; empty: nowhere
}

func newLane(t *testing.T, kind string) *lane {
	t.Helper()
	l := &lane{world: world{t: t}, kind: kind, prefix: "keyturn"}
	if kind == "agents" {
		l.sim = simulateModern(t, crashProjects, 5*time.Millisecond)
	} else {
		l.sim = simulate(t, crashUnits, 20*time.Millisecond)
	}
	set := map[string]string{"KEYTURN_TEST_WAITS": shortWaits + aloneWaits + smallParts, "KEYTURN_DATA_DIR": filepath.Join(t.TempDir(), "data")}
	l.useBus(set)
	if kind == "making" {
		l.makes = t.TempDir()
		set["KEYTURN_TEST_MAKES"] = l.makes
	}
	secret := webhooktest.NewSecret()
	l.receiver, l.secret = webhooktest.New(t, secret), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(l.secret, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	l.receiver.AnswerWith(func(webhooktest.Message) webhooktest.Answer {
		pause(t.Context(), 12*time.Millisecond) // so that there is a time during which it is called
		return webhooktest.OK()
	})
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
	if l.kind != "separate" {
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

// tick lets the schedules of the policies tick, or makes them silent.
func (l *lane) tick(ctx context.Context, schedule string) error {
	return l.apply(ctx, estate{
		timeouts: shortTimeouts, concurrency: 8,
		policies: fmt.Sprintf(laneEstate, l.receiver.URL, "file:"+l.secret, schedule, schedule),
	})
}

// die makes the server die at a point, starts it again, and looks.
func (l *lane) die(point string) {
	l.t.Helper()
	s := sceneOf(point)
	// Each point at another passing: the first, the second, …
	h := fnv.New32a()
	_, _ = h.Write([]byte(point + l.kind))
	passing := 1 + h.Sum32()%3
	if s.once {
		passing = 1
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(l.t.Context(), 90*time.Second)
	defer cancel()
	var asking sync.WaitGroup
	life := l.server.process
	l.server.arm(fmt.Sprintf("%s %d", point, passing))
	asking.Go(func() { l.stir(ctx, s, point, life) })
	if err := life.died(ctx, 45*time.Second); err != nil {
		l.t.Errorf("at %s, passing %d: %v", point, passing, err)
		cancel()
		asking.Wait()
		return
	}
	dead := time.Since(begin)
	if err := l.sim.faults(ctx, simulator.Faults{}); err != nil {
		l.t.Fatal(err)
	}
	l.server.begin()
	asking.Wait()
	back := time.Since(begin)
	if err := l.tick(ctx, silent); err != nil {
		l.t.Fatal(err)
	}
	l.look(ctx, s, fmt.Sprintf("after dying at %s, passing %d", point, passing))
	if *crashLog {
		l.t.Logf("%s %d: dead after %.1fs, back after %.1fs, all well after %.1fs", point, passing, dead.Seconds(), back.Seconds(), time.Since(begin).Seconds())
	}
}

// madeOnce looks how often something was made for each task.
func (l *lane) madeOnce() {
	l.t.Helper()
	made, err := crash.MadeFor(l.makes)
	if err != nil {
		l.t.Fatal(err)
	}
	for task, keys := range made {
		if len(keys) != 1 {
			l.t.Errorf("task %s had %d keys made: %v", task, len(keys), keys)
		}
	}
	if len(made) < crashUnits {
		l.t.Errorf("only %d keys were made", len(made))
	}
}

// look waits for the end of everything and checks it.
func (l *lane) look(ctx context.Context, s scene, when string) {
	l.t.Helper()
	if !within(ctx, 30*time.Second, l.settled) {
		l.t.Errorf("%s: something did not end", when)
	}
	if s.after != nil && !s.after(l, ctx) {
		l.t.Errorf("%s: it was not made good", when)
	}
	e, since := l.quickly(l.since)
	l.since = since
	if found := checker.Check(e); len(found) > 0 {
		l.t.Errorf("%s:", when)
		complain(l.t, found)
	}
	l.told(ctx, e.Rotations)
}
