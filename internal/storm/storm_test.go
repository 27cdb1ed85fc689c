package storm_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/checker"
	"github.com/keyturn/keyturn/internal/simulator"
	"github.com/keyturn/keyturn/storage/pgtest"
)

var (
	stormFor   = flag.Duration("storm.for", 2*time.Minute, "how long a storm rages")
	stormSeed  = flag.Uint64("storm.seed", 0, "which storm; 0: another one each day")
	stormUnits = flag.Int("storm.units", 2000, "how many units there are")
	stormReal  = flag.Bool("storm.real", false, "with the waits of a release, and not with short ones")
	stormLog   = flag.Bool("storm.log", false, "print each step")
)

const (
	stormWaits    = "sendSlack=1s leaseMargin=1s planLease=3s requeueAfter=5s announceLease=3s ackWait=3s"
	stormTimeouts = "{request: 1s, settle: 4s, verify: 10s}"
	// stormSend is how long after its intent a change may still be under way: sendSlack and request.
	stormSend = 2 * time.Second
	// quietMost is how long everything may take to complete when the storm is over.
	quietMost = 3 * time.Minute
)

// storm is five servers on one database and one bus that others run, and what happens to them.
type storm struct {
	world
	steps    []step
	servers  []*server
	postgres *pgtest.Server
	bus      *natsProcess
	proxies  [3]*proxy
	busy     map[string]*sync.Mutex // by what a step does something to
	asking   sync.WaitGroup         // requests that go on until they are answered
	patient  context.Context
	mu       sync.Mutex
	done     map[string]int // steps by kind
	messages []string       // that NATS has acknowledged
}

// TestStorm lets everything go wrong at once for a while, and then looks
// whether everything completed and the history is what really happened.
func TestStorm(t *testing.T) {
	t.Parallel()
	alone(t)
	seed := *stormSeed
	if seed == 0 {
		seed = uint64(time.Now().UTC().Unix() / 86400) //nolint:gosec // G115: not negative
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat this storm with: go test ./internal/storm -run 'TestStorm$' -storm.seed=%d -storm.for=%s -storm.log", seed, *stormFor)
		}
	})
	s := newStorm(t, seed)
	supervised, stop := context.WithCancel(t.Context())
	var supervisors sync.WaitGroup
	for _, each := range s.servers {
		supervisors.Go(func() { s.supervise(supervised, each) })
	}
	begin := time.Now()
	s.rage(seed)
	s.calmDown()
	if t.Failed() {
		stop()
		supervisors.Wait()
		return
	}
	for _, each := range s.servers {
		until(t, time.Minute, each.name+" to be ready", func() bool { status, _ := fetch(t.Context(), each.url+"/readyz"); return status == 200 })
	}
	if !within(t.Context(), quietMost, func() bool { return s.heard() && s.settled() }) {
		t.Errorf("something did not end within %s after the storm", quietMost)
	}
	if err := s.ask(t.Context(), "all"); err != nil { // and now with nothing in its way
		t.Error(err)
	}
	if !within(t.Context(), quietMost, s.settled) {
		t.Errorf("a rotation after the storm did not end within %s", quietMost)
	}
	e := s.evidence()
	e.Whole, e.Triggers = append(e.Whole, "scheduled"), s.messages
	complain(t, checker.Check(e))
	stats := s.sim.stats(t)
	t.Logf("seed %d: %d steps %v in %s; %d rotations, %d keys turned, %d requests, parked %d",
		seed, len(s.steps), s.done, time.Since(begin).Round(time.Second), len(e.Rotations), len(e.Truth), stats.Requests, parked(e))
	stop()
	supervisors.Wait()
}

// heard reports whether every message that NATS has acknowledged has made a rotation.
func (s *storm) heard() bool {
	all, err := s.front().Rotations(s.t.Context(), "part", "", 0)
	return err == nil && !slices.ContainsFunc(s.messages, func(id string) bool {
		return !slices.ContainsFunc(all, func(r keyturn.Rotation) bool { return r.TriggerID == id })
	})
}

func parked(e checker.Evidence) (n int) {
	for _, r := range e.Rotations {
		n += r.Counts.Parked
	}
	return n
}

func newStorm(t *testing.T, seed uint64) *storm {
	t.Helper()
	s := &storm{world: world{t: t, sim: simulate(t, *stormUnits, 5*time.Millisecond)}, done: map[string]int{}, busy: map[string]*sync.Mutex{}, patient: t.Context()}
	set := s.surroundings()
	if !*stormReal {
		set["KEYTURN_TEST_WAITS"] = stormWaits
	}
	var urls []string
	for i, roles := range []string{"scheduler,api", "scheduler,api", "worker", "worker", "worker"} {
		mine := maps.Clone(set)
		mine["KEYTURN_ROLES"] = roles
		each := newServer(t, fmt.Sprintf("%s-%d", strings.ReplaceAll(roles, ",", "-"), i), mine)
		each.begin()
		s.servers = append(s.servers, each)
		if i < 2 {
			urls = append(urls, each.url)
		}
	}
	s.steps = plan(seed, *stormFor, len(s.servers))
	s.connect(urls, filepath.Join(dataDir(s.servers[0]), "admin-token"))
	if err := s.policies(t.Context(), `, schedule: {cron: "0,30 * * * * *"}`); err != nil {
		t.Fatal(err)
	}
	return s
}

// surroundings starts what the servers need, with a proxy before each.
func (s *storm) surroundings() map[string]string {
	s.t.Helper()
	var err error
	if s.postgres, err = startPostgres(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.postgres.Stop(); err != nil {
			s.t.Error(err)
		}
	})
	if s.bus, err = startNATS(s.t.Context(), s.t.TempDir()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.bus.kill() })
	database, err := url.Parse(s.postgres.Empty(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	target, err := url.Parse(s.sim.url)
	if err != nil {
		s.t.Fatal(err)
	}
	for i, upstream := range []string{database.Host, s.bus.addr(), target.Host} {
		if s.proxies[i], err = newProxy(upstream); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(s.proxies[i].close)
	}
	database.Host = s.proxies[toDatabase].addr()
	l := &lane{world: world{t: s.t}, kind: "embedded"} // for the file of the password only
	set := map[string]string{}
	l.useBus(set)
	delete(set, "KEYTURN_NATS_LISTEN")
	set["KEYTURN_DATABASE_URL"], set["KEYTURN_NATS_URL"] = database.String(), "nats://"+s.proxies[toBus].addr()
	return set
}

// policies applies the policies, one of them with a schedule or none.
func (s *storm) policies(ctx context.Context, schedule string) error {
	truth := s.projects()
	return s.apply(ctx, estate{
		url: "http://" + s.proxies[toTarget].addr(), timeouts: stormTimeouts, concurrency: 64,
		policies: fmt.Sprintf(`
---
apiVersion: keyturn/v1
kind: Policy
name: scheduled
spec: {target: om%s}
---
apiVersion: keyturn/v1
kind: Policy
name: part
spec: {target: om, select: {projects: [%s]}}
`, schedule, strings.Join(truth[:max(1, len(truth)/20)], ", ")),
	})
}

// projects returns the ids of all projects.
func (s *storm) projects() []string {
	var ids []string
	_, lines := fetch(s.t.Context(), s.sim.url+"/simulator/units")
	for line := range strings.Lines(string(lines)) {
		u, err := checker.Parse[checker.Unit]("a unit", []byte(line))
		if err == nil && !slices.Contains(ids, u.ProjectID) {
			ids = append(ids, u.ProjectID)
		}
	}
	return ids
}

// supervise starts a server again whenever it has ended, as an init system does.
func (s *storm) supervise(ctx context.Context, each *server) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-each.now().ended:
		}
		if !pause(ctx, 200*time.Millisecond) {
			return
		}
		if err := each.launch(); err != nil {
			s.t.Errorf("starting %s again: %v", each.name, err)
			return
		}
	}
}

// rage carries out the steps and waits until each of them is over.
func (s *storm) rage(seed uint64) {
	s.ask(s.t.Context(), "all") //nolint:errcheck // it says so at the end
	begin := time.Now()
	var under sync.WaitGroup
	for i, next := range s.steps {
		if !pause(s.t.Context(), time.Until(begin.Add(next.at))) {
			break
		}
		if *stormLog {
			s.t.Log(next)
		}
		s.mu.Lock()
		s.done[next.kind]++
		s.mu.Unlock()
		under.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)+2)) //nolint:gosec // G115: not negative
			if err := s.take(next, r, begin.Add(*stormFor)); err != nil {
				s.t.Errorf("%s: %v", next, err)
			}
		})
	}
	under.Wait()
}

// calmDown ends what still goes wrong. Steps have cleaned up after themselves.
func (s *storm) calmDown() {
	s.t.Helper()
	if err := s.sim.faults(s.t.Context(), simulator.Faults{}); err != nil {
		s.t.Fatal(err)
	}
	until(s.t, time.Minute, "the schedule to be taken away", func() bool { return s.policies(s.t.Context(), "") == nil })
	s.asking.Wait()
}

// whatOf names what a step does something to.
func whatOf(next step) string {
	switch next.kind {
	case "kill", "stop":
		return fmt.Sprint("server ", next.victim)
	case "cut", "half-close", "delay", "freeze", "refuse":
		return fmt.Sprint("proxy ", next.victim)
	case "restart bus", "delete streams":
		return "bus"
	case "restart database":
		return "database"
	case "misbehave", "outage":
		return "target"
	default:
		return fmt.Sprint("request ", next.at) // they get in nobody's way
	}
}

// lock waits until no other step does something to the same thing.
func (s *storm) lock(what string) (unlock func()) {
	s.mu.Lock()
	mu := s.busy[what]
	if mu == nil {
		mu = new(sync.Mutex)
		s.busy[what] = mu
	}
	s.mu.Unlock()
	mu.Lock()
	return mu.Unlock
}

// take carries out one step, or leaves it out when its turn comes after the end.
func (s *storm) take(next step, r *rand.Rand, end time.Time) error {
	ctx := s.t.Context()
	unlock := s.lock(whatOf(next))
	defer unlock()
	if time.Now().After(end) {
		return nil
	}
	switch next.kind {
	case "kill":
		_ = s.servers[next.victim].now().signal(syscall.SIGKILL) // it may have ended already
	case "stop":
		life := s.servers[next.victim].now()
		if life.signal(syscall.SIGSTOP) == nil {
			pause(ctx, next.length)
			_ = life.signal(syscall.SIGCONT)
		}
	case "cut", "half-close", "delay", "freeze", "refuse":
		s.disturb(ctx, s.proxies[next.victim], next, r)
	case "restart bus":
		s.bus.kill()
		pause(ctx, next.length)
		return s.bus.start(ctx)
	case "restart database":
		if !s.postgres.Private() {
			s.proxies[toDatabase].cut(1, r)
			return nil
		}
		if err := s.postgres.Down(ctx); err != nil {
			return err
		}
		pause(ctx, next.length)
		return s.postgres.Up(ctx)
	case "delete streams":
		return deleteStreams(ctx, "nats://"+s.bus.addr())
	case "misbehave", "outage":
		if err := s.sim.faults(ctx, next.faults); err != nil {
			return err
		}
		pause(ctx, next.length)
		return s.sim.faults(ctx, simulator.Faults{})
	case "rotate":
		s.later(func() error { return s.ask(s.patient, "part") })
	case "message":
		id := fmt.Sprintf("message-%d", s.run.Add(1))
		s.later(func() error {
			if err := publish(s.patient, "nats://"+s.bus.addr(), "keyturn.trigger", fmt.Sprintf(`{"policy":"part","id":%q}`, id)); err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.messages = append(s.messages, id)
			return nil
		})
	}
	return nil
}

// later does what goes on until it is answered, at the latest after the storm.
func (s *storm) later(do func() error) {
	s.asking.Go(func() {
		if err := do(); err != nil {
			s.t.Error(err)
		}
	})
}

func (s *storm) disturb(ctx context.Context, p *proxy, next step, r *rand.Rand) {
	switch next.kind {
	case "cut":
		p.cut(next.share, r)
	case "half-close":
		p.halfClose(next.share, r)
	case "delay":
		p.delay.Store(int64(150 * time.Millisecond))
		pause(ctx, next.length)
		p.delay.Store(0)
	case "freeze":
		thaw := p.freeze()
		pause(ctx, next.length)
		thaw()
	case "refuse":
		p.refusing.Store(true)
		p.cut(1, r)
		pause(ctx, next.length)
		p.refusing.Store(false)
	}
}

// deleteStreams deletes all that Keyturn has in a NATS server but for triggers: a request that
// NATS has acknowledged and that nobody has read yet exists nowhere else.
func deleteStreams(ctx context.Context, url string) error {
	nc, err := nats.Connect(url, nats.UserInfo(natsUser, natsPassword), nats.Timeout(5*time.Second))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for _, name := range []string{"KEYTURN_ROTATION", "KEYTURN_TASK", "KEYTURN_EVENT", "KEYTURN_DEADLETTER"} {
		if err := js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("deleting stream %s: %w", name, err)
		}
	}
	return nil
}
