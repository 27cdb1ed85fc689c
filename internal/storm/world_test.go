package storm_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/checker"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
)

// simulated is `keyturn simulate`, which is never killed: it knows what really happened.
type simulated struct {
	*process
	url    string
	keys   [2]string        // files of the public and the private key
	agents simulator.Agents // how they behave, whatever else fails
}

// agentsTake is how long the agents of modern deployments take for a replica set.
const agentsTake = 300 * time.Millisecond

// simulateModern is simulate with so many projects, each with one replica set whose key agents turn.
func simulateModern(t testing.TB, projects int, latency time.Duration) *simulated {
	t.Helper()
	s := simulateWith(t, latency, "--projects", fmt.Sprint(projects), "--clusters", "0", "--replica-sets", "0", "--modern-replica-sets", "1",
		"--agents-take", agentsTake.String())
	s.agents.Takes = keyturn.Duration(agentsTake)
	return s
}

func simulate(t testing.TB, units int, latency time.Duration) *simulated {
	t.Helper()
	return simulateWith(t, latency, "--units", fmt.Sprint(units))
}

func simulateWith(t testing.TB, latency time.Duration, estate ...string) *simulated {
	t.Helper()
	binary, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	// The shell ends the simulator when this process ends.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/sh", "-c", //nolint:gosec // what we have built
		`"$@" & pid=$!; cat >/dev/null; kill -9 $pid`, "sh",
		binary, "simulate", "--listen", "127.0.0.1:0", "--key", "public:private", "--latency", latency.String())
	cmd.Args = append(cmd.Args, estate...)
	cmd.Stderr = os.Stderr
	s := &simulated{}
	if s.process, err = start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.in.Close()
		<-s.ended
	})
	for s.out.Scan() {
		if _, rest, ok := strings.Cut(s.out.Text(), "Simulated Ops Manager at "); ok {
			s.url, _, _ = strings.Cut(rest, " ")
			break
		}
	}
	if s.url == "" {
		t.Fatal("the simulator did not say where it is")
	}
	go func() {
		for s.out.Scan() { // so that it never waits for a reader
		}
	}()
	dir := t.TempDir()
	for i, key := range []string{"public", "private"} {
		s.keys[i] = filepath.Join(dir, key)
		if err := os.WriteFile(s.keys[i], []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// faults makes the simulator fail from now on.
func (s *simulated) faults(ctx context.Context, f simulator.Faults) error {
	f.Agents = s.agents
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if status, answer := call(ctx, "PUT", s.url+"/simulator/faults", body); status != 200 {
		return fmt.Errorf("setting the simulator's faults: %d %s", status, answer)
	}
	return nil
}

func (s *simulated) stats(t testing.TB) simulator.Stats {
	t.Helper()
	_, body := fetch(t.Context(), s.url+"/simulator/stats")
	stats, err := checker.Parse[simulator.Stats]("the simulator's counts", body)
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

func (s *simulated) truth(t testing.TB) []checker.Change {
	t.Helper()
	_, body := fetch(t.Context(), s.url+"/simulator/truth")
	truth, err := checker.Parse[struct{ Records []simulator.Record }]("the truth", body)
	if err != nil {
		t.Fatal(err)
	}
	changes := make([]checker.Change, len(truth.Records))
	for i, r := range truth.Records {
		changes[i] = checker.Change{
			Seq: r.Seq, Time: r.Time, ProjectID: r.ProjectID, ClusterID: r.ClusterID, KeyBefore: r.KeyBefore, KeyAfter: r.KeyAfter, By: string(r.By),
		}
		if r.By == simulator.ByAutomation { // nothing tells the ids of these keys: the history knows them by their times
			changes[i].By = string(simulator.ByRequest)
			changes[i].KeyAfter = keyturn.KeyMarkerPrefix + r.Timestamp
			changes[i].KeyBefore = keyturn.KeyMarkerPrefix + cmp.Or(r.Earlier, "never")
		}
	}
	return changes
}

// world is an estate and what is needed to ask for rotations of it.
type world struct {
	t     testing.TB
	sim   *simulated
	front func() *client.Client // any API that answers
	url   string
	token string
	run   atomic.Int64

	mu    sync.Mutex
	asked []string                    // rotations that were acknowledged
	ended map[string]checker.Rotation // what quickly has read of rotations that had ended
}

// connect reads the token of a server that has started.
func (w *world) connect(urls []string, tokenFile string) {
	w.t.Helper()
	until(w.t, 30*time.Second, "the administrator's token", func() bool {
		token, err := os.ReadFile(tokenFile)
		w.token = strings.TrimSpace(string(token))
		return err == nil && w.token != ""
	})
	var clients []*client.Client
	for _, url := range urls {
		c, err := client.New(client.Config{Server: url, Token: w.token, Tries: 1})
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(c.Close)
		clients = append(clients, c)
	}
	var next atomic.Int64
	w.url, w.front = urls[0], func() *client.Client { return clients[int(next.Add(1))%len(clients)] }
}

// estate is what is applied.
type estate struct {
	url         string // of the target, if it is not the simulator's own
	timeouts    string
	concurrency int
	policies    string // more documents
}

func (w *world) apply(ctx context.Context, e estate) error {
	if e.url == "" {
		e.url = w.sim.url
	}
	content := fmt.Sprintf(`
apiVersion: keyturn/v1
kind: Target
name: om
spec:
  system: ops-manager
  url: %s
  credentials: {publicKey: "file:%s", privateKey: "file:%s"}
  limits: {concurrency: %d}
  timeouts: %s
---
apiVersion: keyturn/v1
kind: Policy
name: all
spec: {target: om}
%s`, e.url, w.sim.keys[0], w.sim.keys[1], e.concurrency, e.timeouts, e.policies)
	_, err := w.front().Apply(ctx, client.ApplyRequest{Documents: []client.Document{{Name: "storm.yaml", Content: content}}})
	return err
}

// ask asks for a rotation until it is acknowledged, under one id.
func (w *world) ask(ctx context.Context, policy string) error {
	id := fmt.Sprintf("%s-%d", policy, w.run.Add(1))
	for {
		r, err := w.front().Rotate(ctx, client.RotationRequest{Policy: policy, ID: id})
		if err == nil {
			w.mu.Lock()
			w.asked = append(w.asked, r.ID.String())
			w.mu.Unlock()
			return nil
		}
		if problem, ok := errors.AsType[*client.Problem](err); ok && problem.Status < 500 && problem.Status != 429 && problem.Status != 401 {
			return fmt.Errorf("asking for a rotation of %s: %w", policy, err)
		}
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("asking for a rotation of %s: %w", policy, err)
		}
	}
}

// settled reports whether every rotation that was asked for is there and has ended.
func (w *world) settled() bool {
	all, err := w.front().Rotations(w.t.Context(), "", "", 0)
	if err != nil {
		return false
	}
	ended := map[string]bool{}
	for _, r := range all {
		if !r.State.Final() {
			return false
		}
		ended[r.ID.String()] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.asked {
		if !ended[id] {
			return false
		}
	}
	return true
}

// command runs a command of the real program and returns what it prints.
func (w *world) command(args ...string) []byte {
	w.t.Helper()
	binary, err := kit.binary()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.t.Context(), binary, append(args, "--server", w.url, "--token", w.token)...) //nolint:gosec // what we have built
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("keyturn %s: %v: %s", strings.Join(args, " "), err, complaint.String())
	}
	return out
}

// evidence is what the checker looks at: the truth of the simulator, and what the commands export.
func (w *world) evidence() checker.Evidence {
	w.t.Helper()
	e := checker.Evidence{Truth: w.sim.truth(w.t), Whole: []string{"all"}, Units: w.units()}
	var err error
	if e.History, err = checker.Parse[[]checker.Record]("the history", w.command("history", "-o", "json")); err != nil {
		w.t.Fatal(err)
	}
	list, err := checker.Parse[[]checker.Rotation]("the rotations", w.command("rotations", "-o", "json"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, short := range list {
		whole, err := checker.Parse[checker.Rotation]("a rotation", w.command("rotations", short.ID, "-o", "json"))
		if err != nil {
			w.t.Fatal(err)
		}
		e.Rotations = append(e.Rotations, whole)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Asked = append(e.Asked, w.asked...)
	return e
}

// units returns the units that really exist.
func (w *world) units() (units []checker.Unit) {
	w.t.Helper()
	_, lines := fetch(w.t.Context(), w.sim.url+"/simulator/units")
	for line := range strings.Lines(string(lines)) {
		u, err := checker.Parse[checker.Unit]("a unit", []byte(line))
		if err != nil {
			w.t.Fatal(err)
		}
		units = append(units, u)
	}
	return units
}

// quickly is the same from the API, which the commands print as it is: for looking again and again.
func (w *world) quickly(since int) (e checker.Evidence, rotations int) {
	w.t.Helper()
	e = checker.Evidence{Truth: w.sim.truth(w.t)}
	c := w.front()
	history, err := c.History(w.t.Context(), keyturn.HistoryFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	e.History = as[[]checker.Record](w.t, history)
	all, err := c.Rotations(w.t.Context(), "", "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range all {
		e.Rotations = append(e.Rotations, w.whole(r))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Asked = append(e.Asked, w.asked[since:]...)
	return e, len(w.asked)
}

// whole returns a rotation with its tasks. One that has ended is read once: nothing changes it, which evidence sees at last.
func (w *world) whole(r keyturn.Rotation) checker.Rotation {
	w.t.Helper()
	if known, ok := w.ended[r.ID.String()]; ok {
		return known
	}
	var err error
	if r.Tasks, err = w.front().Tasks(w.t.Context(), r.ID.String()); err != nil {
		w.t.Fatal(err)
	}
	read := as[checker.Rotation](w.t, r)
	if r.State.Final() {
		if w.ended == nil {
			w.ended = map[string]checker.Rotation{}
		}
		w.ended[read.ID] = read
	}
	return read
}

func as[T any](t testing.TB, v any) T {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := checker.Parse[T]("JSON of our own", raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// publish publishes a message until NATS has acknowledged it.
func publish(ctx context.Context, url, subject, message string) error {
	for {
		err := publishOnce(url, subject, message)
		if err == nil {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

func publishOnce(url, subject, message string) error {
	nc, err := nats.Connect(url, nats.UserInfo(natsUser, natsPassword), nats.Timeout(2*time.Second))
	if err != nil {
		return err
	}
	defer nc.Close()
	reply, err := nc.Request(subject, []byte(message), 2*time.Second)
	if err != nil {
		return err
	}
	if !strings.Contains(string(reply.Data), `"stream"`) || strings.Contains(string(reply.Data), `"error"`) {
		return fmt.Errorf("publishing to %s: %s", subject, reply.Data)
	}
	return nil
}

// complain reports findings, the first few of them in full.
func complain(t testing.TB, found []checker.Finding) {
	t.Helper()
	for i, f := range found {
		if i == 20 {
			t.Errorf("and %d more findings", len(found)-i)
			return
		}
		t.Error(f)
	}
}
