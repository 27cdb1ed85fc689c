package webtest_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	_ "modernc.org/sqlite" // the driver

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/app"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
)

// world is a server with an estate that has lived for a while: a rotation that went well, one with a task
// that is parked, and the alert about it.
type world struct {
	server *app.Server
	data   string // folder of its database
	client *client.Client
	sim    *simulator.Server
	url    string
	admin  string // tokens
	oper   string
	viewer string

	done   keyturn.Rotation // succeeded
	parked keyturn.Rotation // one of its tasks is parked
	task   keyturn.Task     // that one
}

// resources are what the world has: `quarterly` turns everything, `careful` one cluster, and asks a person
// when it does not know what became of a key.
const resources = `apiVersion: keyturn/v1
kind: Target
name: om-prod
spec:
  system: ops-manager
  url: %s
  credentials: {publicKey: "file:%s", privateKey: "file:%s"}
  limits: {concurrency: 4}
  timeouts: {request: 5s, settle: 1s, verify: 2s}
---
apiVersion: keyturn/v1
kind: Policy
name: quarterly
spec:
  target: om-prod
  select: {projects: ["*"], clusters: ["*"], components: [shard, config, replica-set]}
  schedule: {cron: "0 2 1 */3 *", timezone: Europe/Berlin}
---
apiVersion: keyturn/v1
kind: Policy
name: careful
spec:
  target: om-prod
  select: {projects: ["project-001"], clusters: ["rs-000"]}
  uncertain: park
  schedule: {cron: "0 3 1 */6 *", timezone: Europe/Berlin}
---
apiVersion: keyturn/v1
kind: Webhook
name: security
spec: {url: "http://127.0.0.1:9/keyturn", secret: "env:KEYTURN_TEST_HOOK", format: standard, events: ["alert.*"]}
`

func newWorld(t *testing.T) *world {
	t.Helper()
	sim, err := simulator.Start(t.Context(), simulator.Config{
		Estate: simulator.NewEstate(simulator.EstateConfig{
			Seed: 7, Projects: 3, ClustersPerProject: 3, ShardsPerCluster: 3, ReplicaSetsPerProject: 3,
			LeftOut: simulator.LeftOut{BackupOff: 1, FCVUnknown: 1},
		}),
		Latency: 5 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{sim: sim}
	w.start(t)
	w.apply(t)
	w.live(t)
	return w
}

// serve starts a server that ends with the test, and earlier by the function returned.
func serve(t *testing.T, settings map[string]any) (server *app.Server, stop func()) {
	t.Helper()
	all := map[string]any{"data_dir": filepath.Join(t.TempDir(), "data"), "listen": "127.0.0.1:0", "shutdown_grace": "20s"}
	maps.Copy(all, settings)
	cfg, err := app.LoadConfig("", func() []string { return nil }, all)
	if err != nil {
		t.Fatal(err)
	}
	if server, err = app.Open(t.Context(), cfg, "v1.0.0", zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return server, stop
}

func (w *world) start(t *testing.T) {
	t.Helper()
	w.data = filepath.Join(t.TempDir(), "data")
	w.server, _ = serve(t, map[string]any{"data_dir": w.data})
	raw, err := os.ReadFile(w.server.AdminTokenFile())
	if err != nil {
		t.Fatal(err)
	}
	w.url, w.admin = w.server.URL(), strings.TrimSpace(string(raw))
	if w.client, err = client.New(client.Config{Server: w.url, Token: w.admin}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.oper, w.viewer = w.token(t, "ann", keyturn.RoleOperator), w.token(t, "bob", keyturn.RoleViewer)
}

// token makes a token and returns its secret.
func (w *world) token(t *testing.T, name string, role keyturn.Role) string {
	t.Helper()
	made, err := w.client.CreateToken(t.Context(), name, role, 0)
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret
}

func (w *world) apply(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	public, private := filepath.Join(dir, "public"), filepath.Join(dir, "private")
	for file, key := range map[string]string{public: w.sim.PublicKey, private: w.sim.PrivateKey} {
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.client.Apply(t.Context(), client.ApplyRequest{Documents: []client.Document{{
		Name: "test.yaml", Content: fmt.Sprintf(resources, w.sim.URL, public, private),
	}}})
	if err != nil {
		t.Fatal(err)
	}
}

// live lets the world have a past.
func (w *world) live(t *testing.T) {
	t.Helper()
	w.done = w.ended(t, w.rotate(t, "quarterly", "first rotation"))
	if w.done.State != keyturn.RotationSucceeded {
		t.Fatalf("the first rotation ended as %s: %s", w.done.State, w.done.Trouble)
	}
	w.age(t)
	w.parked = w.park(t)
	for _, task := range w.tasks(t, w.parked.ID) {
		if task.State == keyturn.TaskParked {
			w.task = task
		}
	}
	w.waitFor(t, "the alert about the parked task", func() bool {
		alerts, err := w.client.Alerts(t.Context(), keyturn.AlertFilter{State: keyturn.AlertFiring, Kind: keyturn.AlertTaskParked}, 10)
		return err == nil && len(alerts) > 0
	})
}

// age makes the keys as old as those of an estate that is turned every quarter: a few are overdue.
func (w *world) age(t *testing.T) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.data, "keyturn.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(t.Context(), `UPDATE unit_keys SET key_since = key_since - 86400000 *
		((unicode(substr(unit_id, -1)) * 7 + unicode(substr(unit_id, -2)) * 13 + unicode(substr(unit_id, -30)) * 5) % 97) WHERE key_since IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
}

// park rotates `careful` while every PUT is lost, so that nobody knows what became of the key.
func (w *world) park(t *testing.T) keyturn.Rotation {
	t.Helper()
	if err := w.sim.SetFaults(simulator.Faults{PUT: simulator.Rates{ResetBefore: 1}}); err != nil {
		t.Fatal(err)
	}
	r := w.ended(t, w.rotate(t, "careful", "while the network is bad"))
	if err := w.sim.SetFaults(simulator.Faults{}); err != nil {
		t.Fatal(err)
	}
	if r.Counts.Parked == 0 {
		t.Fatalf("nothing is parked: %+v", r)
	}
	return r
}

func (w *world) rotate(t *testing.T, policy, reason string) keyturn.ID {
	t.Helper()
	r, err := w.client.Rotate(t.Context(), client.RotationRequest{Policy: policy, Reason: reason})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func (w *world) tasks(t *testing.T, rotation keyturn.ID) []keyturn.Task {
	t.Helper()
	tasks, err := w.client.Tasks(t.Context(), rotation.String())
	if err != nil {
		t.Fatal(err)
	}
	return tasks
}

// ended waits until a rotation has ended.
func (w *world) ended(t *testing.T, id keyturn.ID) keyturn.Rotation {
	t.Helper()
	var r keyturn.Rotation
	w.waitFor(t, "the end of a rotation", func() bool {
		var err error
		r, err = w.client.Rotation(t.Context(), id.String())
		return err == nil && r.State.Final()
	})
	return r
}

// waitFor waits for something that happens by itself.
func (w *world) waitFor(t *testing.T, what string, happened func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
