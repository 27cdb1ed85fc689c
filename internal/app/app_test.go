package app_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/app"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
	"github.com/keyturn/keyturn/storage/pgtest"
)

// world is what the tests of this package have in common.
type world struct {
	postgres *pgtest.Server
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// TestServer holds all tests with servers, so that one Postgres serves them.
func TestServer(t *testing.T) {
	t.Parallel()
	pg, err := pgtest.Start(t.Context(), func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := &world{postgres: pg}
	for _, kind := range []string{"embedded", "separate"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			t.Run("TurnsEveryUnitOnceWithThreeRequests", func(t *testing.T) { w.turnsOnce(t, kind) })
			t.Run("TurnsEveryUnitOnceWhateverTheTargetDoes", func(t *testing.T) { w.survivesFaults(t, kind) })
			t.Run("GoesOnAfterARestart", func(t *testing.T) { w.goesOn(t, kind) })
			t.Run("ManualTriggerMessages", func(t *testing.T) { w.triggers(t, kind) })
			t.Run("TurnsTheKeysOfAtlasOnceWhateverGetsLost", func(t *testing.T) { w.turnsAtlas(t, kind) })
			t.Run("CronPolicyFires", func(t *testing.T) { w.fires(t, kind) })
			t.Run("ModernUnitsAreTurnedThroughAutomation", func(t *testing.T) { w.turnsModern(t, kind) })
			t.Run("ModernUnitsAreTurnedOnceWhateverOthersDo", func(t *testing.T) { w.survivesOthers(t, kind) })
		})
	}
	t.Run("NewKeyInTheSameFileIsUsed", func(t *testing.T) { w.newCredentials(t) })
	t.Run("KeysThatOthersMadeAreUsed", func(t *testing.T) { w.usesProvidedKeys(t) })
	t.Run("OldKeysOfAtlasAreRetiredAndNoSecretGetsOut", func(t *testing.T) { w.retiresAtlas(t) })
	t.Run("MaxAgeAloneTurnsOldKeys", func(t *testing.T) { w.turnsOldKeys(t) })
	t.Run("AlertsOfOthersBeginAndEnd", func(t *testing.T) { w.alertsOfOthers(t) })
	t.Run("separate/RolesSharedByThreeProcesses", func(t *testing.T) { w.sharesRoles(t) })
}

// settings returns the configuration of a server, embedded or on a Postgres
// and a NATS of their own.
func (w *world) settings(t *testing.T, kind string) map[string]any {
	t.Helper()
	set := map[string]any{"data_dir": filepath.Join(t.TempDir(), "data"), "listen": "127.0.0.1:0", "shutdown_grace": "20s"}
	password := filepath.Join(t.TempDir(), "nats-password")
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	set["nats_user"], set["nats_password"] = "outside", "file:"+password
	if kind == "embedded" {
		set["nats_listen"] = "127.0.0.1:0"
		return set
	}
	set["database_url"] = w.postgres.Empty(t)
	set["nats_url"] = startNATS(t)
	return set
}

type running struct {
	*app.Server
	client *client.Client
	stop   func()
}

func start(t *testing.T, set map[string]any) *running {
	t.Helper()
	return startWith(t, set, zap.NewNop())
}

func startWith(t *testing.T, set map[string]any, log *zap.Logger) *running {
	t.Helper()
	cfg, err := app.LoadConfig("", func() []string { return nil }, set)
	if err != nil {
		t.Fatal(err)
	}
	server, err := app.Open(t.Context(), cfg, "test", log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stopped := false
	r := &running{Server: server, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}}
	t.Cleanup(r.stop)
	token, err := os.ReadFile(server.AdminTokenFile())
	if err != nil {
		return r // a server without the API has none
	}
	if r.client, err = client.New(client.Config{Server: server.URL(), Token: strings.TrimSpace(string(token))}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

func simulate(t *testing.T, units int, faults simulator.Faults, latency time.Duration) *simulator.Server {
	t.Helper()
	sim, err := simulator.Start(t.Context(), simulator.Config{Estate: simulator.EstateOf(units), Faults: faults, Latency: latency})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return sim
}

// apply makes a target and a policy "all" for the simulator; schedule is a cron line or empty.
// It returns the file of the private key.
func (r *running) apply(t *testing.T, sim *simulator.Server, schedule string) string {
	t.Helper()
	dir := t.TempDir()
	public, private := filepath.Join(dir, "public"), filepath.Join(dir, "private")
	for file, key := range map[string]string{public: sim.PublicKey, private: sim.PrivateKey} {
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if schedule != "" {
		schedule = fmt.Sprintf(", schedule: {cron: %q}", schedule)
	}
	_, err := r.client.Apply(t.Context(), client.ApplyRequest{Documents: []client.Document{{Name: "test.yaml", Content: fmt.Sprintf(`
apiVersion: keyturn/v1
kind: Target
name: om
spec:
  system: ops-manager
  url: %s
  credentials: {publicKey: "file:%s", privateKey: "file:%s"}
  limits: {concurrency: 32}
  timeouts: {request: 2s, settle: 1s, verify: 10s}
---
apiVersion: keyturn/v1
kind: Policy
name: all
spec: {target: om%s}
`, sim.URL, public, private, schedule)}}})
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// until polls until what returns true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited for: %s", what)
		case <-ticker.C:
		}
	}
}

func (r *running) await(t *testing.T, id keyturn.ID) keyturn.Rotation {
	t.Helper()
	var last keyturn.Rotation
	until(t, "the end of rotation "+id.String(), func() bool {
		var err error
		last, err = r.client.Rotation(t.Context(), id.String())
		if err != nil {
			t.Fatal(err)
		}
		return last.State.Final()
	})
	return last
}

// checkTruth compares the history, key by key, with the record of the simulator.
func (r *running) checkTruth(t *testing.T, sim *simulator.Server, each int) {
	t.Helper()
	history, err := r.client.History(t.Context(), keyturn.HistoryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	count := map[string]int{}
	for _, k := range history {
		if k.Origin == keyturn.OriginRotated {
			_, _, cluster, err := keyturn.SplitUnitID(k.Unit)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, cluster+" "+k.PreviousKeyID+" "+k.KeyID)
		}
	}
	for _, change := range sim.Truth() {
		want = append(want, change.ClusterID+" "+change.KeyBefore+" "+change.KeyAfter)
		count[change.ClusterID]++
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the history has %d turns, the truth %d, and they differ", len(got), len(want))
	}
	for _, u := range sim.Estate().Units() {
		if count[u.ClusterID] != each {
			t.Errorf("unit %s was turned %d times, want %d", u.Name, count[u.ClusterID], each)
		}
	}
}

func (w *world) turnsOnce(t *testing.T, kind string) {
	const units = 1000
	sim := simulate(t, units, simulator.Faults{}, 0)
	r := start(t, w.settings(t, kind))
	r.apply(t, sim, "")
	rotation, err := r.client.Rotate(t.Context(), client.RotationRequest{Policy: "all", ID: "once"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.client.Rotate(t.Context(), client.RotationRequest{Policy: "all", ID: "once"})
	if err != nil || again.ID != rotation.ID {
		t.Fatalf("the same id is another rotation: %s and %s, %v", rotation.ID, again.ID, err)
	}
	rotation = r.await(t, rotation.ID)
	if rotation.State != keyturn.RotationSucceeded || rotation.Counts.Succeeded != units {
		t.Fatalf("%s %+v", rotation.State, rotation.Counts)
	}
	r.checkTruth(t, sim, 1)
	if perUnit := float64(sim.Stats().Requests) / units; perUnit > 3.05 {
		t.Errorf("%.3f requests a unit, want at most 3.05", perUnit)
	}
	if sim.Stats().MaxInFlight > 32+16 { // the target's limit, and the planner's projects
		t.Errorf("%d requests at once", sim.Stats().MaxInFlight)
	}
}

func (w *world) survivesFaults(t *testing.T, kind string) {
	sim := simulate(t, 300, simulator.Faults{
		Seed: 7,
		PUT: simulator.Rates{
			ErrorBefore: .04, ErrorAfter: .04, ResetBefore: .04, ResetAfter: .04, TooMany: .02, Truncated: .03, Late: .02, Hidden: .05,
		},
		GET:       simulator.Rates{ErrorBefore: .02, ResetBefore: .02, TooMany: .005, Truncated: .01},
		LateAfter: keyturn.Duration(300 * time.Millisecond), HiddenFor: keyturn.Duration(300 * time.Millisecond),
	}, 0)
	r := start(t, w.settings(t, kind))
	r.apply(t, sim, "")
	rotation, err := r.client.Rotate(t.Context(), client.RotationRequest{Policy: "all"})
	if err != nil {
		t.Fatal(err)
	}
	rotation = r.await(t, rotation.ID)
	if rotation.State != keyturn.RotationSucceeded {
		t.Errorf("%s %+v", rotation.State, rotation.Counts)
	}
	r.checkTruth(t, sim, 1)
}

func (w *world) goesOn(t *testing.T, kind string) {
	sim := simulate(t, 400, simulator.Faults{}, 20*time.Millisecond)
	set := w.settings(t, kind)
	r := start(t, set)
	r.apply(t, sim, "")
	rotation, err := r.client.Rotate(t.Context(), client.RotationRequest{Policy: "all"})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "some keys to be turned", func() bool { return len(sim.Truth()) > 40 })
	r.stop()
	if n := len(sim.Truth()); n == 400 {
		t.Fatal("everything was turned before the restart: nothing is tested")
	}
	r = start(t, set)
	rotation = r.await(t, rotation.ID)
	if rotation.State != keyturn.RotationSucceeded || rotation.Counts.Succeeded != 400 {
		t.Errorf("%s %+v", rotation.State, rotation.Counts)
	}
	r.checkTruth(t, sim, 1)
}

func (w *world) fires(t *testing.T, kind string) {
	sim := simulate(t, 20, simulator.Faults{}, 0)
	r := start(t, w.settings(t, kind))
	r.apply(t, sim, "* * * * * *")
	until(t, "two scheduled rotations", func() bool {
		rotations, err := r.client.Rotations(t.Context(), "all", string(keyturn.RotationSucceeded), 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(rotations) >= 2
	})
	if _, err := r.client.Pause(t.Context(), "all", client.Pause{Note: "test"}); err != nil {
		t.Fatal(err)
	}
	rotations, err := r.client.Rotations(t.Context(), "all", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	slots := map[string]bool{}
	for _, rotation := range rotations {
		if rotation.Trigger != keyturn.TriggerSchedule || slots[rotation.Slot] {
			t.Errorf("rotation of slot %q by %s: want one for each slot", rotation.Slot, rotation.Trigger)
		}
		slots[rotation.Slot] = true
	}
}

// sharesRoles runs a scheduler, an API and two workers as servers of their own.
func (w *world) sharesRoles(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 300, simulator.Faults{}, 5*time.Millisecond)
	set := w.settings(t, "separate")
	as := func(roles ...string) *running {
		mine := map[string]any{}
		for k, v := range set {
			mine[k] = v
		}
		mine["roles"], mine["data_dir"] = roles, filepath.Join(t.TempDir(), "data")
		return start(t, mine)
	}
	front := as(app.RoleAPI, app.RoleScheduler)
	as(app.RoleWorker)
	as(app.RoleWorker)
	front.apply(t, sim, "")
	rotation, err := front.client.Rotate(t.Context(), client.RotationRequest{Policy: "all"})
	if err != nil {
		t.Fatal(err)
	}
	if rotation = front.await(t, rotation.ID); rotation.State != keyturn.RotationSucceeded {
		t.Errorf("%s %s", rotation.State, rotation.Reason)
	}
	front.checkTruth(t, sim, 1)
	if sim.Stats().MaxInFlight > 32+16 {
		t.Errorf("%d requests at once: the target's limit holds over all workers", sim.Stats().MaxInFlight)
	}
}

// startNATS starts a NATS server of its own, as one that others run.
func startNATS(t *testing.T) string {
	t.Helper()
	ns, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Username: "outside", Password: "secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS did not start")
	}
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	return ns.ClientURL()
}

// triggers publishes what people publish by hand, and reads what comes of it.
func (w *world) triggers(t *testing.T, kind string) {
	sim := simulate(t, 10, simulator.Faults{}, 0)
	set := w.settings(t, kind)
	r := start(t, set)
	r.apply(t, sim, "")
	url, _ := set["nats_url"].(string)
	if kind == "embedded" {
		url = "nats://" + r.NATSAddr()
	}
	nc, err := nats.Connect(url, nats.UserInfo("outside", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	dead, err := nc.SubscribeSync("keyturn.deadletter.trigger")
	if err != nil {
		t.Fatal(err)
	}
	completed, err := nc.SubscribeSync("keyturn.event.rotation.completed")
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{
		`{"policy":"all","reason":"by hand","id":"ticket-1"}`,
		`{"policy":"all","reason":"by hand","id":"ticket-1"}`, // the same id: the same rotation
		`{"specversion":"1.0","type":"keyturn.rotation.trigger","source":"/test","id":"1","data":{"policy":"all","reason":"by hand","id":"ticket-1"}}`,
		`{"policy":"all",`,
		`{"policy":"nobody's"}`,
		`{"specversion":"1.0","type":"keyturn.other","source":"/test","id":"1","data":{}}`,
	} {
		if reply, err := nc.Request("keyturn.trigger", []byte(message), 5*time.Second); err != nil || !strings.Contains(string(reply.Data), `"stream"`) {
			t.Fatalf("publishing %s: %v %v", message, reply, err)
		}
	}
	var reasons string
	for range 3 { // in any order
		message, err := dead.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("no dead letter: %v", err)
		}
		reasons += message.Header.Get("Keyturn-Reason") + "\n"
	}
	for _, part := range []string{"not a JSON object", `unknown policy "nobody's"`, `type "keyturn.other"`} {
		if !strings.Contains(reasons, part) {
			t.Errorf("no dead letter says %s; they say:\n%s", part, reasons)
		}
	}
	event, err := completed.NextMsg(30 * time.Second)
	if err != nil || !strings.Contains(string(event.Data), `"type":"keyturn.rotation.completed"`) {
		t.Fatalf("event %v, %v", event, err)
	}
	rotations, err := r.client.Rotations(t.Context(), "all", "", 10)
	if err != nil || len(rotations) != 1 || rotations[0].Reason != "by hand" {
		t.Errorf("rotations %+v, %v: want one", rotations, err)
	}
	r.checkTruth(t, sim, 1)
}

// newCredentials changes the API key in its file, as operators do, without telling the server.
func (w *world) newCredentials(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 5, simulator.Faults{}, 0)
	r := start(t, w.settings(t, "embedded"))
	right := sim.PrivateKey
	sim.PrivateKey = "wrong"
	private := r.apply(t, sim, "")
	rotation, err := r.client.Rotate(t.Context(), client.RotationRequest{Policy: "all"})
	if err != nil {
		t.Fatal(err)
	}
	if rotation = r.await(t, rotation.ID); rotation.State != keyturn.RotationFailed || !strings.Contains(rotation.Reason, "credentials") {
		t.Fatalf("with a wrong key: %s %s", rotation.State, rotation.Reason)
	}
	if err := os.WriteFile(private, []byte(right), 0o600); err != nil {
		t.Fatal(err)
	}
	if rotation, err = r.client.Rotate(t.Context(), client.RotationRequest{Policy: "all"}); err != nil {
		t.Fatal(err)
	}
	if rotation = r.await(t, rotation.ID); rotation.State != keyturn.RotationSucceeded {
		t.Errorf("with the new key: %s %s", rotation.State, rotation.Reason)
	}
}
