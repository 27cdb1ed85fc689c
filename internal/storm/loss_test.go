package storm_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn/internal/checker"
	"github.com/keyturn/keyturn/storage/pgtest"
)

// outage is two servers whose bus and database can be taken away for good.
type outage struct {
	world
	head, hands *server // scheduler and API; worker
	postgres    *pgtest.Server
	bus         *natsProcess
	database    *proxy
}

const (
	outageUnits  = 200
	outagePlaces = 4 // at the target
)

func newOutage(t *testing.T) *outage {
	t.Helper()
	o := &outage{world: world{t: t, sim: simulate(t, outageUnits, 20*time.Millisecond)}}
	var err error
	if o.postgres, err = startPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.postgres.Stop(); err != nil {
			t.Error(err)
		}
	})
	if o.bus, err = startNATS(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.bus.kill() })
	database, err := url.Parse(o.postgres.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	if o.database, err = newProxy(database.Host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.database.close)
	database.Host = o.database.addr()
	set := map[string]string{}
	(&lane{world: world{t: t}, kind: "embedded"}).useBus(set) // for the file of the password
	delete(set, "KEYTURN_NATS_LISTEN")
	set["KEYTURN_DATABASE_URL"], set["KEYTURN_NATS_URL"] = database.String(), "nats://"+o.bus.addr()
	set["KEYTURN_TEST_WAITS"] = stormWaits
	as := func(name, roles string) *server {
		mine := maps.Clone(set)
		mine["KEYTURN_ROLES"] = roles
		s := newServer(t, name, mine)
		s.begin()
		return s
	}
	o.head, o.hands = as("head", "scheduler,api"), as("hands", "worker")
	o.connect([]string{o.head.url}, filepath.Join(dataDir(o.head), "admin-token"))
	o.schedule("")
	return o
}

// schedule gives the policy "ticks" a schedule, or takes it away.
func (o *outage) schedule(cron string) {
	o.t.Helper()
	if cron != "" {
		cron = fmt.Sprintf(", schedule: {cron: %q}", cron)
	}
	until(o.t, 30*time.Second, "the policies to be applied", func() bool {
		return o.apply(o.t.Context(), estate{
			timeouts: stormTimeouts, concurrency: outagePlaces,
			policies: "---\napiVersion: keyturn/v1\nkind: Policy\nname: ticks\nspec: {target: om" + cron + "}\n",
		}) == nil
	})
}

// turned waits until so many keys have turned.
func (o *outage) turned(n int) {
	o.t.Helper()
	until(o.t, 60*time.Second, fmt.Sprintf("%d keys to be turned", n), func() bool { return len(o.sim.truth(o.t)) >= n })
}

// still waits until no key has turned for longer than a change may be under way after its intent, and returns how many have.
func (o *outage) still() int {
	o.t.Helper()
	turned, since := len(o.sim.truth(o.t)), time.Now()
	until(o.t, 30*time.Second, "keys not to be turned any more", func() bool {
		if now := len(o.sim.truth(o.t)); now != turned {
			turned, since = now, time.Now()
		}
		return time.Since(since) > stormSend+time.Second // the simulator's latency, on a busy machine
	})
	return turned
}

// end waits for the end of everything, and checks it.
func (o *outage) end() checker.Evidence {
	o.t.Helper()
	if !within(o.t.Context(), 90*time.Second, o.settled) {
		o.t.Error("something did not end")
	}
	e := o.evidence()
	complain(o.t, checker.Check(e))
	return e
}

// complaint returns what /readyz of a server says about one part.
func complaint(t *testing.T, s *server, part string) string {
	t.Helper()
	var last string
	until(t, 30*time.Second, fmt.Sprintf("%s to say that its %s is away", s.name, part), func() bool {
		status, body := fetch(t.Context(), s.url+"/readyz")
		var answer struct {
			Problems []struct {
				Check, Error, Do string
				Since            time.Time
			}
		}
		if status != 503 || json.Unmarshal(body, &answer) != nil {
			return false
		}
		for _, p := range answer.Problems {
			if p.Check == part && !p.Since.IsZero() && p.Do != "" {
				last = p.Error
				return true
			}
		}
		return false
	})
	return last
}

// TestLossOfTheBus takes every stream away in the middle of a rotation, and then the whole
// server while slots come due.
func TestLossOfTheBus(t *testing.T) {
	t.Parallel()
	alone(t)
	o := newOutage(t)
	if err := o.ask(t.Context(), "all"); err != nil {
		t.Fatal(err)
	}
	o.turned(20)
	if err := deleteStreams(t.Context(), "nats://"+o.bus.addr()); err != nil {
		t.Fatal(err)
	}
	o.turned(60)
	o.bus.kill()
	for _, s := range []*server{o.head, o.hands} {
		// Whoever was asking it when it went says that it does not answer.
		until(t, 30*time.Second, s.name+" to say that it is not connected to its bus", func() bool {
			return strings.Contains(complaint(t, s, "nats"), "not connected")
		})
	}
	// Slots go on firing, into the database only. A request is kept as well.
	o.schedule("*/2 * * * * *")
	if err := o.ask(t.Context(), "all"); err != nil {
		t.Fatal(err)
	}
	until(t, 30*time.Second, "three slots to fire", func() bool {
		fired, err := o.fired()
		return err == nil && fired >= 3
	})
	o.schedule("")
	if fired, err := o.fired(); err != nil || fired > 30 {
		t.Fatalf("%d slots fired, %v", fired, err)
	}
	if err := o.bus.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.head.ready()
	o.hands.ready()
	e := o.end()
	slots := map[string]bool{}
	for _, r := range e.Rotations {
		if r.Policy == "ticks" {
			slots[r.Slot] = true
		}
	}
	if len(slots) < 3 {
		t.Errorf("%d slots fired, want 3 at least", len(slots))
	}
	o.events(e)
}

// fired is how many slots have fired.
func (o *outage) fired() (int, error) {
	all, err := o.front().Rotations(o.t.Context(), "ticks", "", 0)
	return len(all), err
}

// events holds what was announced to what ended since the streams were deleted.
func (o *outage) events(e checker.Evidence) {
	o.t.Helper()
	nc, err := nats.Connect("nats://"+o.bus.addr(), nats.UserInfo(natsUser, natsPassword))
	if err != nil {
		o.t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		o.t.Fatal(err)
	}
	sub, err := js.SubscribeSync("keyturn.event.>", nats.DeliverAll(), nats.AckNone())
	if err != nil {
		o.t.Fatal(err)
	}
	seen := map[string]int{}
	missing := func() bool {
		return slices.ContainsFunc(e.Rotations, func(r checker.Rotation) bool { return seen["rotation.completed/"+r.ID] == 0 })
	}
	until(o.t, 30*time.Second, "the end of each rotation to be announced", func() bool {
		for {
			message, err := sub.NextMsg(200 * time.Millisecond)
			if err != nil {
				return !missing()
			}
			event, err := checker.Parse[struct{ ID string }]("an event", message.Data)
			if err != nil {
				o.t.Fatal(err)
			}
			seen[event.ID]++
		}
	})
	for id, n := range seen {
		if n > 1 {
			o.t.Errorf("event %s was stored %d times", id, n)
		}
	}
}

// TestLossOfTheDatabase takes the database away in the middle of a rotation, by a
// crash, and then so that connections hang and nothing answers.
func TestLossOfTheDatabase(t *testing.T) {
	t.Parallel()
	alone(t)
	o := newOutage(t)
	if err := o.ask(t.Context(), "all"); err != nil {
		t.Fatal(err)
	}
	o.turned(20)
	away := map[string]func() (back func()){
		"crash": func() func() {
			if err := o.postgres.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := o.postgres.Up(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		},
		"freeze": o.database.freeze,
	}
	for _, way := range []string{"crash", "freeze"} {
		if !o.postgres.Private() && way == "crash" {
			way = "freeze"
		}
		back := away[way]()
		lost := len(o.sim.truth(t))
		for _, s := range []*server{o.head, o.hands} {
			if complaint(t, s, "database") == "" {
				t.Errorf("%s: %s does not say what is wrong", way, s.name)
			}
		}
		// What had its intent may still be applied, one change at each place; then nothing is, however long it takes.
		before := o.still()
		if before-lost > outagePlaces {
			t.Errorf("%s: %d keys were turned after the database went away, want one for each of %d places at most", way, before-lost, outagePlaces)
		}
		pause(t.Context(), 4*time.Second)
		if now := len(o.sim.truth(t)); now != before {
			t.Errorf("%s: %d keys were turned without a database", way, now-before)
		}
		back()
		o.head.ready()
		o.hands.ready()
		o.turned(before + 10)
	}
	o.end()
}
