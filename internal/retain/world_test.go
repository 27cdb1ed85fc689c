package retain_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/retain"
	"github.com/keyturn/keyturn/storage/sqlite"
	"github.com/keyturn/keyturn/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = keyturn.Day

// world is a keeper on a real database, with a target and a KMIP server that say what the test wants.
type world struct {
	t      testing.TB
	store  *countingStore
	keeper *retain.Keeper
	sys    *fakeSystem
	kmip   *fakeServer
	target keyturn.Target

	mu  sync.Mutex
	now time.Time
}

// countingStore is the database, with what was asked of it.
type countingStore struct {
	*sqlite.Store
	mu       sync.Mutex
	most     int // snapshots saved at once
	noteFail bool
	known    int // questions which keys are known
	bad      int // and which are in a bad state
	slow     func()
}

func (s *countingStore) BadKeys(ctx context.Context, after keyturn.KeyRef, limit int) ([]keyturn.KeyState, error) {
	s.bad++
	if s.slow != nil {
		s.slow()
	}
	return s.Store.BadKeys(ctx, after, limit)
}

func (s *countingStore) KnownKeysAmong(ctx context.Context, target string, keys []string) ([]string, error) {
	s.mu.Lock()
	s.known++
	s.mu.Unlock()
	return s.Store.KnownKeysAmong(ctx, target, keys)
}

func (s *countingStore) SaveSnapshots(ctx context.Context, seen []keyturn.SeenSnapshot) error {
	s.mu.Lock()
	s.most = max(s.most, len(seen))
	s.mu.Unlock()
	return s.Store.SaveSnapshots(ctx, seen)
}

func (s *countingStore) NoteRetired(ctx context.Context, key keyturn.KeyRef) (time.Time, error) {
	if s.noteFail {
		return time.Time{}, errors.New("the process dies here")
	}
	return s.Store.NoteRetired(ctx, key)
}

func newWorld(t testing.TB, system keyturn.System) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), sys: &fakeSystem{keys: map[string]string{}}, kmip: &fakeServer{keys: map[string]keyturn.KeyState{}}}
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "db"), Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w.ok(db.Migrate(t.Context()))
	w.store = &countingStore{Store: db}
	w.target = keyturn.Target{Name: "om", System: system, URL: "https://om.example.com", KMIP: &keyturn.KMIP{Address: "kmip:5696"}}
	w.apply(keyturn.KindTarget, "om", w.target, 0)
	w.apply(keyturn.KindPolicy, "quarterly", keyturn.Policy{Target: "om"}, 0)
	w.keeper = w.newKeeper("one", w.sys)
	return w
}

func (w *world) newKeeper(owner string, sys worker.System) *retain.Keeper {
	return retain.New(retain.Config{Owner: owner, Store: w.store, Targets: w, Systems: systemOf{w, sys}, Servers: w, Now: w.clock})
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	w.now = w.now.Add(d)
	w.mu.Unlock()
}

func (w *world) ctx() context.Context { return w.t.Context() }

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(kind keyturn.ResourceKind, name string, spec any, generation int64) {
	w.t.Helper()
	raw, err := json.Marshal(spec)
	w.ok(err)
	w.ok(w.store.ApplyResources(w.ctx(), []keyturn.ResourceChange{{Kind: kind, Name: name, Spec: raw, Expect: generation}}))
}

// Targets implements worker.TargetLister.
func (w *world) Targets(context.Context) ([]keyturn.Target, error) {
	return []keyturn.Target{w.target}, nil
}

// KeyServer implements retain.KeyServers.
func (w *world) KeyServer(keyturn.Target) (retain.KeyServer, error) { return w.kmip, nil }

type systemOf struct {
	w   *world
	sys worker.System
}

func (s systemOf) System(context.Context, string, int64) (worker.System, keyturn.Target, error) {
	return s.sys, s.w.target, nil
}

// unit makes the n-th unit, which uses the keys one after the other, ten days each; the last one begins now.
func (w *world) unit(n int, keys ...string) string {
	w.t.Helper()
	id := fmt.Sprintf("om.p1.c%d", n)
	w.ok(w.store.SaveUnits(w.ctx(), []keyturn.Unit{{
		ID: id, Target: "om", System: w.target.System, ProjectID: "p1", ProjectName: "shop", ClusterID: fmt.Sprint("c", n), ClusterName: fmt.Sprint("cluster", n),
		Component: keyturn.ComponentReplicaSet, Name: fmt.Sprint("rs", n), Rotatable: true,
	}}))
	known := ""
	for i, key := range keys {
		if i > 0 {
			w.advance(10 * day)
		}
		got, err := w.store.Observe(w.ctx(), []keyturn.Observation{{Unit: id, Known: known, KeyID: key}})
		w.ok(err)
		if got[0] == keyturn.ObservedRefused {
			w.t.Fatalf("%s: key %s was refused", id, key)
		}
		known = key
	}
	w.sys.set(id, known)
	return id
}

func (w *world) snapshot(id, key string, created, expires time.Duration) keyturn.Snapshot {
	at := w.clock().Add(expires)
	return keyturn.Snapshot{ID: id, ClusterName: "cluster1", KeyID: key, CreatedAt: w.clock().Add(created), ExpiresAt: &at, Complete: true}
}

// do does the job of a kind now.
func (w *world) do(kind keyturn.KeyJobKind) keyturn.KeyJob {
	w.t.Helper()
	w.ok(w.store.AskKeyJob(w.ctx(), "om", kind))
	some, err := w.keeper.Next(w.ctx(), kind)
	w.ok(err)
	if !some {
		w.t.Fatalf("the %s was not due", kind)
	}
	return w.job(kind)
}

func (w *world) job(kind keyturn.KeyJobKind) keyturn.KeyJob {
	w.t.Helper()
	jobs, err := w.store.KeyJobs(w.ctx(), "om", 0)
	w.ok(err)
	i := slices.IndexFunc(jobs, func(j keyturn.KeyJob) bool { return j.Kind == kind })
	return jobs[i]
}

// key returns what is known of one key.
func (w *world) key(id string) keyturn.RetainedKey {
	w.t.Helper()
	keys, _, err := w.keeper.Keys(w.ctx(), keyturn.KeyFilter{Key: id})
	w.ok(err)
	if len(keys) != 1 {
		w.t.Fatalf("%d keys %s", len(keys), id)
	}
	return keys[0]
}

func (w *world) facts() []keyturn.AlertFact {
	w.t.Helper()
	facts, err := w.keeper.Facts(w.ctx(), w.clock())
	w.ok(err)
	return facts
}

// fakeSystem is a target that tells of snapshots and disables keys.
type fakeSystem struct {
	mu        sync.Mutex
	keys      map[string]string
	snapshots map[string][]keyturn.Snapshot
	fail      map[string]error // by unit; "": all
	asked     []string
	disabled  []string
	doubts    []string
	hang      chan struct{} // listings wait for it
	atWork    chan struct{}
}

func (s *fakeSystem) set(unit, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[unit] = key
}

func (s *fakeSystem) has(unit string, snapshots ...keyturn.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshots == nil {
		s.snapshots = map[string][]keyturn.Snapshot{}
	}
	s.snapshots[unit] = snapshots
}

func (s *fakeSystem) breaks(unit string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = map[string]error{unit: err}
}

func (*fakeSystem) Discover(context.Context, keyturn.Selection) ([]keyturn.Unit, error) {
	return nil, nil
}

func (*fakeSystem) Prepare(context.Context, string, keyturn.ID) (keyturn.Intent, error) {
	return keyturn.Intent{}, nil
}
func (*fakeSystem) Apply(context.Context, string, keyturn.Intent) error { return nil }

func (s *fakeSystem) Current(_ context.Context, unit string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[unit], s.fail[unit]
}

func (s *fakeSystem) Snapshots(ctx context.Context, unit string, yield func(keyturn.Snapshot) bool) error {
	s.mu.Lock()
	s.asked = append(s.asked, unit)
	snapshots, err, all := s.snapshots[unit], s.fail[unit], s.fail[""]
	hang, atWork := s.hang, s.atWork
	s.mu.Unlock()
	if hang != nil {
		atWork <- struct{}{}
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if all != nil {
		return all
	}
	for i, n := range snapshots {
		if err != nil && i == len(snapshots)/2 {
			return err
		}
		if !yield(n) {
			return nil
		}
	}
	return err
}

func (s *fakeSystem) disable(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disabled = append(s.disabled, key)
	return s.fail["disable"]
}

// retirer is a fakeSystem that disables keys.
type retirer struct{ *fakeSystem }

func (s retirer) DisableKey(_ context.Context, _, key string) error {
	return s.disable(key)
}

// doubter sees paused clusters too.
type doubter struct{ retirer }

func (s doubter) RetireDoubts(context.Context, string, string) ([]string, error) {
	return s.doubts, s.fail["doubts"]
}

// fakeServer is a KMIP server.
type fakeServer struct {
	mu    sync.Mutex
	keys  map[string]keyturn.KeyState
	life  keyturn.KeyLife // of keys that are none of those; empty: missing
	made  *time.Time
	fail  error
	asked int
	names []string
}

func (s *fakeServer) has(id string, life keyturn.KeyLife, made time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id] = keyturn.KeyState{KeyID: id, State: life, Name: "mongodb-" + id, InitialAt: &made}
}

func (s *fakeServer) lacks(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, id)
}

func (s *fakeServer) Describe(context.Context) (string, error) { return "a fake, KMIP 2.0", s.fail }

func (s *fakeServer) Keys(_ context.Context, ids []string) ([]keyturn.KeyState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make([]keyturn.KeyState, len(ids))
	for i, id := range ids {
		var ok bool
		if states[i], ok = s.keys[id]; !ok {
			states[i] = keyturn.KeyState{KeyID: id, State: cmp.Or(s.life, keyturn.KeyMissing), InitialAt: s.made}
		}
	}
	s.asked += len(ids)
	return states, s.fail
}

func (s *fakeServer) Locate(_ context.Context, name string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
	var ids []string
	for id, k := range s.keys {
		if name == "" || k.Name == name {
			ids = append(ids, id)
		}
	}
	return ids, s.fail
}

func (s *fakeServer) RoundTrips() int { return s.asked }
func (*fakeServer) Close()            {}
