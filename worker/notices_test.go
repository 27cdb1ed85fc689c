package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/storage/sqlite"
	"github.com/keyturn/keyturn/worker/webhook"
	"github.com/keyturn/keyturn/worker/webhook/webhooktest"
)

// crowd is an estate of many keys, on a database whose clock is moved, while everything else is real.
type crowd struct {
	*bundle
	passed atomic.Int64 // what was added to the time
	keys   map[string]string
	e      *alerts.Evaluator
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{keys: map[string]string{}}
	store, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "keyturn.db"), Now: func() time.Time { return time.Now().Add(time.Duration(c.passed.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.bundle = &bundle{t: t, store: store, queue: newMemoryQueue(), system: newFakeSystem(0)}
	c.one = &oneSystem{sys: c.system, target: keyturn.Target{Name: "om", Generation: 1, System: keyturn.SystemOpsManager, URL: "https://om.example.com"}}
	c.applyPolicy(`{"target":"om"}`)
	c.e = alerts.New(alerts.Config{Owner: "w1", Store: store})
	return c
}

func (c *crowd) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// turn turns the keys of n units in one rotation.
func (c *crowd) turn(n int, key string) {
	c.t.Helper()
	units := make([]keyturn.Unit, n)
	for i := range units {
		cluster := fmt.Sprintf("c%05d", i)
		units[i] = keyturn.Unit{
			ID: "om.p1." + cluster, Target: "om", System: keyturn.SystemOpsManager, ProjectID: "p1", ProjectName: "p1", ClusterID: cluster,
			ClusterName: cluster, Component: keyturn.ComponentReplicaSet, Name: cluster, Rotatable: true,
		}
	}
	ctx := c.t.Context()
	r := c.request(key)
	_, _, err := c.store.ClaimRotation(ctx, r.ID, "w1", time.Minute)
	c.ok(err)
	c.ok(c.store.SavePlan(ctx, r.ID, "w1", units))
	for page := (keyturn.Page{Limit: 1000}); ; {
		tasks, next, err := c.store.Tasks(ctx, r.ID, page)
		c.ok(err)
		writes, results := make([]keyturn.IntentWrite, len(tasks)), make([]keyturn.TaskResult, len(tasks))
		for i, task := range tasks {
			before := c.keys[task.Unit]
			if before == "" {
				before = "first-" + task.Unit
			}
			writes[i] = keyturn.IntentWrite{Task: task.ID, Unit: task.Unit, Owner: "w1", Intent: keyturn.Intent{Before: before}, ApplyFor: time.Minute, Lease: time.Hour}
		}
		out, err := c.store.Intend(ctx, writes)
		c.ok(err)
		for i, task := range tasks {
			c.keys[task.Unit] = key + "-" + task.Unit
			results[i] = keyturn.TaskResult{
				Task: task.ID, From: keyturn.TaskIntended, Epoch: out[i].Epoch, State: keyturn.TaskSucceeded,
				Resolution: keyturn.ResolutionConfirmed, KeyAfter: c.keys[task.Unit],
			}
		}
		_, err = c.store.Finish(ctx, results)
		c.ok(err)
		if page.After = next; next == "" {
			break
		}
	}
	_, err = c.store.FinishRotations(ctx)
	c.ok(err)
}

// after lets days pass and evaluates alerts until groups have gathered.
func (c *crowd) after(d time.Duration) {
	c.t.Helper()
	for _, wait := range []time.Duration{d, 10 * time.Second, 10 * time.Second} {
		c.passed.Add(int64(wait))
		c.ok(c.e.Pass(c.t.Context()))
	}
}

// TestTenThousandOldKeysAreOneMessageAndItsEnd has a real receiver, which verifies signatures, is away at
// first, and takes one message that 10,000 keys are old and one that it is over.
func TestTenThousandOldKeysAreOneMessageAndItsEnd(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	secret := filepath.Join(t.TempDir(), "secret")
	key := webhooktest.NewSecret()
	c.ok(os.WriteFile(secret, []byte(key), 0o600))
	receiver := webhooktest.New(t, key)
	receiver.Answer(webhooktest.Fail())
	sender := webhook.New(webhook.Config{AllowLoopback: true})
	defer sender.Close()
	h := &hooked{bundle: c.bundle, deliveries: c.store, receivers: &receivers{}, sender: sender}
	h.webhooks(keyturn.Webhook{Name: "security", URL: receiver.URL, Secret: "file:" + secret, Events: []string{"alert.*"}})

	const keys = 10000
	c.turn(keys, "one")
	c.after(90 * keyturn.Day)
	stop := h.run("w1")
	arrived := func(n int, of func() []webhooktest.Message) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c.ok(receiver.Wait(ctx, func([]webhooktest.Message) bool { return len(of()) >= n }))
	}
	arrived(1, receiver.Messages)
	stop()
	c.turn(keys, "two")
	c.after(10 * time.Second)
	receiver.Answer(webhooktest.OK())
	stop = h.run("w2")
	defer stop()
	arrived(2, receiver.Taken)

	taken := receiver.Taken()
	for i, want := range []struct {
		kind, message string
		count         int
	}{
		{"keyturn.alert.firing", "10,000 of 10,000 keys in 10,000 clusters are past 90d", keys},
		{"keyturn.alert.resolved", "resolved: no key of policy quarterly on target om is past 90d any more", 0},
	} {
		var body struct{ Data keyturn.Notice }
		c.ok(json.Unmarshal(taken[i].Body, &body))
		n := body.Data
		if !taken[i].Valid || taken[i].Type != want.kind || n.Message != want.message || n.Count != want.count ||
			n.Group != "key.age/quarterly/om" || !strings.HasSuffix(taken[i].EventID, n.ID.String()) {
			t.Errorf("message %d is %s (signature valid: %v): %q of %d in group %s", i, taken[i].Type, taken[i].Valid, n.Message, n.Count, n.Group)
		}
	}
	ds, _, err := c.store.Deliveries(t.Context(), keyturn.DeliveryFilter{})
	c.ok(err)
	if len(ds) != 2 || ds[0].Order != "alert:key.age/quarterly/om" || ds[1].Order != ds[0].Order {
		t.Errorf("deliveries are %+v, want one that it began and one that it ended, in order", ds)
	}
}
