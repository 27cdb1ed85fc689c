package app_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator/atlas"
	"github.com/keyturn/keyturn/internal/simulator/cloud"
	"github.com/keyturn/keyturn/internal/simulator/kms"
)

func startCloud(t *testing.T, cfg cloud.Config) *cloud.Cloud {
	t.Helper()
	cfg.Dir = t.TempDir()
	c, err := cloud.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// applyCloud makes target "atlas" and policy "keys".
func (r *running) applyCloud(t *testing.T, c *cloud.Cloud, change func(target string) string) {
	t.Helper()
	dir := t.TempDir()
	for name, secret := range c.Secrets() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	target := change(c.Target("atlas", func(secret string) string { return "file:" + filepath.Join(dir, secret) }))
	_, err := r.client.Apply(t.Context(), client.ApplyRequest{Documents: []client.Document{{
		Name: "atlas.yaml", Content: target + "---\napiVersion: keyturn/v1\nkind: Policy\nname: keys\nspec: {target: atlas}\n",
	}}})
	if err != nil {
		t.Fatal(err)
	}
}

// turnsAtlas: answers of Atlas and of all three key services get lost, and still one key is made for each task, each
// PATCH holds nothing but a key, and the history is what happened.
func (w *world) turnsAtlas(t *testing.T, kind string) {
	c := startCloud(t, cloud.Config{Projects: 2, Atlas: atlas.Config{
		ValidAfter: 200 * time.Millisecond, ClustersAfter: 100 * time.Millisecond, UpdatingFor: 400 * time.Millisecond,
		Faults: atlas.Faults{Seed: 7, PATCH: atlas.Rates{ResetAfter: 0.4, ErrorAfter: 0.2, ErrorBefore: 0.1}, GET: atlas.Rates{ErrorBefore: 0.05}},
	}})
	c.AWS.Fail("CreateKey", kms.FaultLost)
	c.Azure.Fail("RotateKey", kms.FaultLost)
	c.GCP.Fail("CreateCryptoKeyVersion", kms.FaultLost)
	core, logs := observer.New(zapcore.DebugLevel)
	r := startWith(t, w.settings(t, kind), zap.New(core))
	r.applyCloud(t, c, func(target string) string { return target })

	rotation, err := r.client.Rotate(t.Context(), client.RotationRequest{Policy: "keys", ID: "one"})
	if err != nil {
		t.Fatal(err)
	}
	last := r.await(t, rotation.ID)
	if last.State != keyturn.RotationSucceeded || last.Counts.Succeeded != 6 {
		t.Errorf("rotation %s: %+v %+v", last.State, last.Counts, last.Tasks)
	}
	tasks, err := r.client.Tasks(t.Context(), rotation.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	byUnit := map[string]atlas.Change{}
	for _, change := range c.Atlas.Truth() {
		unit := "atlas." + change.ProjectID + "." + change.Provider
		if _, twice := byUnit[unit]; twice {
			t.Errorf("unit %s was turned twice", unit)
		}
		byUnit[unit] = change
	}
	made := 0
	for _, task := range tasks {
		truth := byUnit[task.Unit]
		if task.KeyBefore != truth.KeyBefore || task.KeyAfter != truth.KeyAfter || task.KeyAfter == "" {
			t.Errorf("task of %s: %s to %s, %q, truth %+v", task.Unit, task.KeyBefore, task.KeyAfter, task.Reason, truth)
		}
		if strings.HasSuffix(task.Unit, ".aws") {
			if keys := c.AWS.MadeFor(task.ID); len(keys) != 1 || keys[0] != task.KeyAfter {
				t.Errorf("task of %s made %v, uses %s", task.Unit, keys, task.KeyAfter)
			}
		}
		made++
	}
	if made != 6 || len(c.AWS.Keys()) != 4 {
		t.Errorf("%d tasks, %d keys of AWS, want 6 and 4", made, len(c.AWS.Keys()))
	}
	for n := range 2 {
		azure, gcp := c.Azure.Versions(fmt.Sprintf("atlas-%d", n)), c.GCP.Versions(fmt.Sprintf("projects/demo/locations/europe-west1/keyRings/atlas/cryptoKeys/atlas-%d", n))
		if len(azure) != 2 || len(gcp) != 2 {
			t.Errorf("project %d has %d versions of Azure and %d of Google, want 2 each", n, len(azure), len(gcp))
		}
	}
	r.minimal(t, c)
	r.historyIs(t, byUnit)
	r.noSecrets(t, c, logs)
}

// minimal: each PATCH named one key, and nothing else.
func (r *running) minimal(t *testing.T, c *cloud.Cloud) {
	t.Helper()
	for _, p := range c.Atlas.Patches() {
		body := string(p.Body)
		if strings.Count(body, ":{") != 1 || strings.Count(body, `":`) != 2 || strings.Contains(body, "enabled") {
			t.Errorf("a PATCH says more than a key: %s", body)
		}
	}
}

func (r *running) historyIs(t *testing.T, truth map[string]atlas.Change) {
	t.Helper()
	history, err := r.client.History(t.Context(), keyturn.HistoryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	rotated := 0
	for _, k := range history {
		if k.Origin != keyturn.OriginRotated {
			continue
		}
		rotated++
		if want := truth[k.Unit]; k.KeyID != want.KeyAfter || k.PreviousKeyID != want.KeyBefore {
			t.Errorf("history of %s: %s after %s, truth %+v", k.Unit, k.KeyID, k.PreviousKeyID, want)
		}
	}
	if rotated != len(truth) {
		t.Errorf("%d keys in the history, %d changes", rotated, len(truth))
	}
}

// noSecrets looks through all that is logged and that the API tells.
func (r *running) noSecrets(t *testing.T, c *cloud.Cloud, logs *observer.ObservedLogs) {
	t.Helper()
	var all strings.Builder
	for _, e := range logs.All() {
		fmt.Fprintf(&all, "%s %v\n", e.Message, e.ContextMap())
	}
	for _, p := range c.Atlas.Patches() {
		all.Write(p.Body)
	}
	rotations, err := r.client.Rotations(t.Context(), "keys", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, rotation := range rotations {
		tasks, err := r.client.Tasks(t.Context(), rotation.ID.String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%+v %+v\n", rotation, tasks)
	}
	for name, secret := range c.Secrets() {
		if name != "ATLAS_CLIENT_ID" && name != "ATLAS_AWS_KEY_ID" && strings.Contains(all.String(), secret) {
			t.Errorf("the secret %s got out", name)
		}
	}
	if strings.Contains(all.String(), "Bearer") || strings.Contains(all.String(), "eyJ") {
		t.Error("a token got out")
	}
}

// usesProvidedKeys: what the trigger names is put into use, and nothing is made.
func (w *world) usesProvidedKeys(t *testing.T) {
	c := startCloud(t, cloud.Config{Projects: 1})
	r := start(t, w.settings(t, "embedded"))
	r.applyCloud(t, c, func(target string) string { return strings.Replace(target, "gcp: {", "gcp: {strategy: provided, ", 1) })
	r.wantAges(t, c)
	theirs := c.GCP.Add("projects/demo/locations/europe-west1/keyRings/atlas/cryptoKeys/atlas-0", time.Now())
	unit := "atlas.5f1000000000000000000001.gcp"
	rotation, err := r.client.Rotate(t.Context(), client.RotationRequest{
		Policy: "keys", ID: "theirs", Only: keyturn.Selection{Units: []string{unit}, Keys: map[string]string{unit: theirs}},
	})
	if err != nil {
		t.Fatal(err)
	}
	last := r.await(t, rotation.ID)
	if last.State != keyturn.RotationSucceeded || c.Atlas.Key("5f1000000000000000000001", "gcp") != theirs || c.GCP.Calls("CreateCryptoKeyVersion") != 0 {
		t.Errorf("rotation %s %+v; Atlas uses %s", last.State, last.Counts, c.Atlas.Key("5f1000000000000000000001", "gcp"))
	}
}

// wantAges: keys that nobody turned here are as old as their key service says.
func (r *running) wantAges(t *testing.T, c *cloud.Cloud) {
	t.Helper()
	if _, err := r.client.Observe(t.Context(), "atlas"); err != nil {
		t.Fatal(err)
	}
	until(t, "the keys in use to be seen", func() bool {
		units, err := r.client.Units(t.Context(), keyturn.UnitFilter{})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, u := range units {
			if u.KeyID == "" {
				continue
			}
			seen++
			if age := time.Since(*u.KeySince); !u.KeySinceExact || age < 99*keyturn.Day || u.KeyID != c.Atlas.Key(u.ProjectID, u.ClusterID) {
				t.Errorf("unit %s has key %s for %s, exact %v", u.ID, u.KeyID, age, u.KeySinceExact)
			}
		}
		return seen == 3
	})
}
