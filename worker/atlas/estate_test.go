package atlas_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn"
	simulator "github.com/keyturn/keyturn/internal/simulator/atlas"
	"github.com/keyturn/keyturn/worker"
	"github.com/keyturn/keyturn/worker/atlas"
)

var (
	_ worker.System          = (*atlas.Client)(nil)
	_ worker.Maker           = (*atlas.Client)(nil)
	_ worker.Confirmer       = (*atlas.Client)(nil)
	_ worker.SnapshotLister  = (*atlas.Client)(nil)
	_ worker.Examiner        = (*atlas.Client)(nil)
	_ worker.Checker         = (*atlas.Client)(nil)
	_ worker.ThresholdKeeper = (*atlas.Client)(nil)
	_ worker.KeyDater        = (*atlas.Client)(nil)
	_ worker.Retirer         = (*atlas.Client)(nil)
	_ worker.RetireDoubter   = (*atlas.Client)(nil)
)

const (
	projectID = "5f1000000000000000000001"
	target    = "atlas"
	awsUnit   = target + "." + projectID + ".aws"
	azureUnit = target + "." + projectID + ".azure"
	gcpUnit   = target + "." + projectID + ".gcp"

	awsKey   = "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000001"
	azureKey = "https://vault.vault.azure.net/keys/atlas/00000000000000000000000000000001"
	gcpKey   = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
)

// ring is a key service of all three providers, in memory.
type ring struct {
	mu    sync.Mutex
	keys  map[string]keyturn.KMSKey
	codes map[string]string // what Atlas says of a key that it can't use
	made  map[keyturn.ID]string
	n     int
	fail  error // the next call's
	left  int   // rotations in place
	off   []string
}

func newRing() *ring {
	r := &ring{keys: map[string]keyturn.KMSKey{}, codes: map[string]string{}, made: map[keyturn.ID]string{}, n: 1, left: 25}
	for _, key := range []string{awsKey, azureKey, gcpKey} {
		r.add(key)
	}
	return r
}

func (r *ring) add(key string) string {
	r.keys[key] = keyturn.KMSKey{ID: key, Version: key, State: "ENABLED", CreatedAt: time.Date(2026, 1, 1, 0, 0, r.n, 0, time.UTC)}
	return key
}

// atlas is what the simulated Atlas finds out about a key.
func (r *ring) atlas(_, key, _ string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if code := r.codes[key]; code != "" {
		return code
	}
	if _, ok := r.keys[key]; !ok {
		return "AWS_CUSTOMER_MASTER_KEY_NOT_FOUND"
	}
	return ""
}

func (r *ring) set(key, code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.codes[key] = code
}

func (r *ring) failure() error {
	err := r.fail
	r.fail = nil
	return err
}

func (r *ring) Make(_ context.Context, order keyturn.KMSOrder) (keyturn.KMSKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.failure(); err != nil {
		return keyturn.KMSKey{}, err
	}
	if key, ok := r.made[order.Task]; ok {
		return r.keys[key], nil
	}
	r.n++
	r.made[order.Task] = r.add(fmt.Sprintf("%s%d", order.Current.ID[:len(order.Current.ID)-1], r.n))
	return r.keys[r.made[order.Task]], nil
}

func (r *ring) Newest(_ context.Context, current keyturn.KMSRef) (keyturn.KMSKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	best := r.keys[current.ID]
	for id, key := range r.keys {
		if id[:10] == current.ID[:10] && key.CreatedAt.After(best.CreatedAt) {
			best = key
		}
	}
	return best, r.failure()
}

func (r *ring) Describe(_ context.Context, ref keyturn.KMSRef) (keyturn.KMSKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, ok := r.keys[ref.ID]
	if !ok {
		return key, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "key_not_found", Err: errors.New("key " + ref.ID + " does not exist")}
	}
	left := r.left
	key.RotationsLeft = &left
	return key, r.failure()
}

func (r *ring) Disable(_ context.Context, ref keyturn.KMSRef) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.off = append(r.off, ref.ID)
	return r.failure()
}

func (r *ring) Close() {}

// turning is a ring that can rotate in place.
type turning struct {
	*ring
	turns int
}

func (r *turning) Rotate(_ context.Context, ref keyturn.KMSRef) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turns++
	key := r.keys[ref.ID]
	key.Version = fmt.Sprintf("%s#%d", ref.ID, r.turns)
	r.keys[ref.ID] = key
	return r.failure()
}

func project() simulator.Project {
	return simulator.Project{
		ID: projectID, Name: "payments",
		Providers: []simulator.Provider{
			{ID: simulator.AWS, Key: awsKey, Region: "EU_WEST_1", Fields: map[string]string{"roleId": "32b6e34b3d91647abb20e7b8"}},
			{ID: simulator.Azure, Key: azureKey, Fields: map[string]string{
				"azureEnvironment": "AZURE", "clientID": "c", "tenantID": "t", "subscriptionID": "s", "resourceGroupName": "g", "keyVaultName": "vault", "secret": "the-azure-secret",
			}},
			{ID: simulator.GCP, Key: gcpKey, Fields: map[string]string{"serviceAccountKey": "the-google-secret"}},
		},
		Clusters: []simulator.Cluster{
			{Name: "orders", Provider: simulator.AWS},
			{Name: "stock", Provider: simulator.Azure, Sharded: true},
			{Name: "logs", Provider: simulator.GCP},
			{Name: "asleep", Provider: simulator.AWS, Paused: true},
			{Name: "plain"},
		},
	}
}

// world is a simulated Atlas, its keys and a client.
type world struct {
	*atlas.Client
	sim  *simulator.Server
	ring *ring
	logs *observer.ObservedLogs
	t    *testing.T
}

// setup changes what is simulated and how it is called.
type setup struct {
	cfg    simulator.Config
	target keyturn.Target
	keys   func(*ring) map[keyturn.KMSProvider]atlas.KeyService
	apiKey bool
	secret string // of the service account, if it is not the right one
	now    func() time.Time
	steady time.Duration
}

func newWorld(t *testing.T, change ...func(*setup)) *world {
	t.Helper()
	r := newRing()
	s := setup{
		cfg:    simulator.Config{Projects: []simulator.Project{project()}, Keys: r.atlas},
		target: keyturn.Target{Name: target, System: keyturn.SystemAtlas, Timeouts: keyturn.TargetTimeouts{Request: keyturn.Duration(5 * time.Second)}},
		keys: func(r *ring) map[keyturn.KMSProvider]atlas.KeyService {
			return map[keyturn.KMSProvider]atlas.KeyService{keyturn.KMSProviderAWS: r, keyturn.KMSProviderAzure: r, keyturn.KMSProviderGCP: r}
		},
		steady: time.Nanosecond,
	}
	for _, c := range change {
		c(&s)
	}
	sim, err := simulator.Start(t.Context(), "", s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	s.target.URL = sim.URL
	core, logs := observer.New(zap.DebugLevel)
	cfg := atlas.Config{Target: s.target, Keys: s.keys(r), Logger: zap.New(core), Version: "1.2.3", Steady: s.steady, Now: s.now}
	id, secret, public, private := sim.Credentials()
	if s.apiKey || s.target.API == "v1" {
		cfg.PublicKey, cfg.PrivateKey = public, private
	} else {
		cfg.ClientID, cfg.ClientSecret = id, secret
	}
	if s.secret != "" {
		cfg.ClientSecret, cfg.PrivateKey = s.secret, s.secret
		if cfg.ClientID == "" {
			cfg.ClientSecret = ""
		} else {
			cfg.PrivateKey = ""
		}
	}
	c, err := atlas.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &world{Client: c, sim: sim, ring: r, logs: logs, t: t}
	t.Cleanup(func() { w.noSecret(secret, private, "the-azure-secret", "the-google-secret", "eyJ") })
	return w
}

// noSecret looks through the logs, and the bodies of all PATCHes.
func (w *world) noSecret(secrets ...string) {
	var all strings.Builder
	for _, e := range w.logs.All() {
		fmt.Fprintf(&all, "%s %v\n", e.Message, e.ContextMap())
	}
	for _, p := range w.sim.Patches() {
		all.Write(p.Body)
	}
	for _, s := range secrets {
		if strings.Contains(all.String(), s) {
			w.t.Errorf("the secret %q got out: %s", s, all.String())
		}
	}
}

// turn takes a unit through the whole protocol, without its database.
func (w *world) turn(unit string, task keyturn.ID) (keyturn.Intent, error) {
	w.t.Helper()
	intent, err := w.Prepare(w.t.Context(), unit, task)
	if err != nil {
		return intent, err
	}
	if intent, err = w.Make(w.t.Context(), unit, keyturn.KeyOrder{Task: task}, intent); err != nil {
		return intent, err
	}
	return intent, w.Apply(w.t.Context(), unit, intent)
}

// done asks until the change is complete, and returns what was seen on the way.
func (w *world) done(unit string, intent keyturn.Intent) []keyturn.Sight {
	w.t.Helper()
	var seen []keyturn.Sight
	for tries := 0; ; tries++ {
		sight, err := w.Confirm(w.t.Context(), unit, intent)
		if err != nil || tries > 2000 {
			w.t.Fatalf("Confirm of %s: %+v, %v after %d tries", unit, sight, err, tries)
		}
		if len(seen) == 0 || seen[len(seen)-1] != sight {
			seen = append(seen, sight)
		}
		if sight.Progress == keyturn.ProgressDone {
			return seen
		}
		timer := time.NewTimer(2 * time.Millisecond)
		<-timer.C
	}
}

// kindOf is what an error means.
func kindOf(t *testing.T, err error) *keyturn.SystemError {
	t.Helper()
	e, ok := errors.AsType[*keyturn.SystemError](err)
	if !ok {
		t.Fatalf("got %v (%T), want a SystemError", err, err)
	}
	return e
}

func newID() keyturn.ID { return keyturn.NewID(time.Now()) }
