package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api/apitest"
	"github.com/keyturn/keyturn/internal/app"
	"github.com/keyturn/keyturn/worker/webhook/webhooktest"
)

// serving is a cli whose server is a real one, with the embedded database and bus.
func serving(t *testing.T) *cli {
	t.Helper()
	c := &cli{dir: t.TempDir()}
	cfg, err := app.LoadConfig("", func() []string { return nil }, map[string]any{"data_dir": c.dir, "listen": "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	server, err := app.Open(t.Context(), cfg, "test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c.vars = map[string]string{"KEYTURN_SERVER": server.URL(), "KEYTURN_DATA_DIR": c.dir}
	return c
}

// until polls until what returns true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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

// TestWebhooks goes the way of an operator: a webhook is tried, its receiver wants nothing any more, and
// what it did not take is sent again.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	c := serving(t)
	key := webhooktest.NewSecret()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	receiver := webhooktest.New(t, key)
	c.run(t, "webhooks").want(t, exitDone).says(t, "no webhooks yet")
	c.stdin = fmt.Sprintf(`
apiVersion: keyturn/v1
kind: Webhook
name: security
spec: {url: %q, secret: "file:%s", events: ["rotation.*"]}
---
apiVersion: keyturn/v1
kind: Target
name: om
spec: {system: ops-manager, url: "http://127.0.0.1:1", credentials: {publicKey: "file:%[2]s", privateKey: "file:%[2]s"}}
---
apiVersion: keyturn/v1
kind: Policy
name: all
spec: {target: om}
`, receiver.URL, secret)
	c.run(t, "apply", "-f", "-").want(t, exitDone)

	c.run(t, "webhooks", "test", "security").want(t, exitDone).says(t, "security took it: 200")
	if got := receiver.Messages(); len(got) != 1 || !got[0].Valid || got[0].Type != "keyturn.webhook.test" {
		t.Errorf("the receiver got %+v", got)
	}
	receiver.Answer(webhooktest.Gone())
	c.run(t, "webhooks", "test", "security").want(t, exitFailed).says(t, "did not take it", "410")
	c.run(t, "webhooks", "test", "nobody").want(t, exitNotFound)

	c.run(t, "rotate", "all").want(t, exitDone)
	c.run(t, "cancel", fromJSON[[]keyturn.Rotation](t, c.run(t, "rotations", "-o", "json"))[0].ID.String()).want(t, exitDone)
	parked := func() []keyturn.Delivery {
		return fromJSON[[]keyturn.Delivery](t, c.run(t, "webhooks", "deliveries", "security", "--state", "parked", "-o", "json").want(t, exitDone))
	}
	until(t, "both messages given up", func() bool { return len(parked()) == 2 })
	c.run(t, "webhooks").want(t, exitDone).says(t, "security", "gone", "410")
	c.run(t, "webhooks", "deliveries").want(t, exitDone).says(t, "rotation.requested/", "rotation.completed/", "parked")
	c.run(t, "webhooks", "deliveries", "nobody").want(t, exitNotFound)
	c.run(t, "webhooks", "deliveries", "--state", "lost").want(t, exitUsage)

	receiver.Answer(webhooktest.OK())
	last := parked()[1] // newest first
	c.run(t, "webhooks", "replay", last.ID.String()).want(t, exitDone).says(t, last.EventID+" is sent to security anew")
	until(t, "the first message", func() bool { return len(parked()) == 1 })
	c.run(t, "webhooks", "replay", "--failed", "security").want(t, exitDone).says(t, "1 delivery of security sent anew")
	until(t, "the second message", func() bool {
		return len(fromJSON[[]keyturn.Delivery](t, c.run(t, "webhooks", "deliveries", "--state", "delivered", "-o", "json"))) == 2
	})
	c.run(t, "webhooks", "deliveries", "--state", "parked").want(t, exitDone).wantError(t, "no deliveries match")
	c.run(t, "webhooks", "replay").want(t, exitUsage)
	c.run(t, "webhooks", "replay", "nonsense").want(t, exitUsage)
	c.run(t, "webhooks", "replay", keyturn.NewID(apitest.Epoch()).String()).want(t, exitNotFound)
	c.run(t, "webhooks", "replay", "--failed", "nobody").want(t, exitNotFound)

	c.run(t, "observe", "om").want(t, exitDone)
	var actions []string
	for _, e := range fromJSON[[]keyturn.AuditEntry](t, c.run(t, "audit", "-o", "json").want(t, exitDone)) {
		actions = append(actions, e.Action+" "+e.Subject)
	}
	all := strings.Join(actions, "\n")
	for _, want := range []string{"webhook.test security", "delivery.replay " + last.ID.String(), "webhook.replay security", "target.observe om"} {
		if !strings.Contains(all, want) {
			t.Errorf("the audit lacks %q:\n%s", want, all)
		}
	}
}

func TestPauseUntil(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.run(t, "pause", "quarterly", "--until", "12h", "--note", "moving").want(t, exitDone).says(t, "is paused until 2026-03-29T00:00:00Z", "keyturn resume quarterly")
	p := fromJSON[keyturn.Resource](t, c.run(t, "get", "policies", "quarterly", "-o", "json").want(t, exitDone))
	if p.Status.PausedUntil == nil || !p.Status.PausedUntil.Equal(apitest.Epoch().Add(12*time.Hour)) || p.Status.PauseNote != "moving" || !p.Status.Paused {
		t.Errorf("status is %+v", p.Status)
	}
	c.run(t, "pause", "quarterly", "--until", "2026-04-01T08:00:00+02:00").want(t, exitDone).says(t, "until 2026-04-01T06:00:00Z")
	c.run(t, "resume", "quarterly").want(t, exitDone).says(t, "goes on; next at")
	if p := fromJSON[keyturn.Resource](t, c.run(t, "get", "policies", "quarterly", "-o", "json")); p.Status.Paused || p.Status.PausedUntil != nil {
		t.Errorf("after resume the status is %+v", p.Status)
	}
	c.run(t, "pause", "quarterly", "--until", "2020-01-01T00:00:00Z").want(t, exitFailed).says(t, "not after now")
	for _, wrong := range []string{"tomorrow", "-3h", "0"} {
		c.run(t, "pause", "quarterly", "--until="+wrong).want(t, exitUsage)
	}
	c.run(t, "pause", "nobody", "--until", "3h").want(t, exitNotFound)
}
