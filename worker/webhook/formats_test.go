package webhook_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/webhook"
	"github.com/keyturn/keyturn/worker/webhook/webhooktest"
)

func notice(state keyturn.AlertState) keyturn.Notice {
	n := keyturn.Notice{
		Group: "key.age/quarterly/om-prod", Kind: keyturn.AlertKeyAge, Severity: keyturn.SeverityWarning, State: state,
		Policy: "quarterly", Target: "om-prod", Message: "2 of 40 keys in 1 cluster are past 90d <b>&",
		Since: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), At: time.Date(2026, 3, 1, 12, 0, 5, 0, time.UTC), Count: 2,
		Alerts: []keyturn.Alert{
			{Subject: "om-prod.p1.c1", Message: "its key is 91 days old", Severity: keyturn.SeverityWarning},
			{Subject: "om-prod.p1.c2", Message: "its key is 90 days old", Severity: keyturn.SeverityWarning},
		},
	}
	if state == keyturn.AlertResolved {
		n.Count, n.Alerts = 0, nil
	}
	return n
}

// sent sends one event and returns what arrived.
func sent(t *testing.T, hook keyturn.Webhook, event string, data any) webhooktest.Message {
	t.Helper()
	r := webhooktest.New(t, "")
	hook.Name, hook.URL = "w", r.URL
	s := webhook.New(webhook.Config{AllowLoopback: true, Now: func() time.Time { return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) }})
	t.Cleanup(s.Close)
	if got := s.Send(t.Context(), hook, delivery(t, event, data)); got.Err != nil {
		t.Fatal(got.Err)
	}
	return r.Messages()[0]
}

func object(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

func want(t *testing.T, got map[string]any, fields map[string]any) {
	t.Helper()
	for name, value := range fields {
		if !reflect.DeepEqual(got[name], value) {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
}

func TestPagerDutyOpensAcknowledgesAndResolvesTheSame(t *testing.T) {
	t.Parallel()
	hook := keyturn.Webhook{Format: keyturn.FormatPagerDuty, Secret: reference(t, "routing-key-1")}
	key := map[string]any{"routing_key": "routing-key-1", "dedup_key": "key.age/quarterly/om-prod"}
	fired := object(t, sent(t, hook, "alert.firing", notice(keyturn.AlertFiring)).Body)
	want(t, fired, key)
	want(t, fired, map[string]any{"event_action": "trigger"})
	payload, _ := fired["payload"].(map[string]any)
	want(t, payload, map[string]any{
		"summary": "2 of 40 keys in 1 cluster are past 90d <b>&", "severity": "warning", "source": "om-prod", "timestamp": "2026-03-01T12:00:05Z",
	})
	for state, action := range map[keyturn.AlertState]string{keyturn.AlertAcknowledged: "acknowledge", keyturn.AlertResolved: "resolve"} {
		got := object(t, sent(t, hook, "alert."+string(state), notice(state)).Body)
		want(t, got, key)
		want(t, got, map[string]any{"event_action": action})
	}
	long := notice(keyturn.AlertFiring)
	long.Group = strings.Repeat("g", 400)
	other := long
	other.Group += "x"
	one, _ := object(t, sent(t, hook, "alert.firing", long).Body)["dedup_key"].(string)
	two, _ := object(t, sent(t, hook, "alert.firing", other).Body)["dedup_key"].(string)
	if len(one) > 255 || one == two {
		t.Errorf("long groups became %d characters, alike: %v", len(one), one == two)
	}
}

func TestOpsgenieOpensAndClosesTheSame(t *testing.T) {
	t.Parallel()
	hook := keyturn.Webhook{Format: keyturn.FormatOpsgenie, Secret: reference(t, "key-1")}
	fired := sent(t, hook, "alert.firing", notice(keyturn.AlertFiring))
	if fired.Path != "/v2/alerts" || fired.Header.Get("Authorization") != "GenieKey key-1" {
		t.Errorf("sent to %s with %s", fired.Path, fired.Header.Get("Authorization"))
	}
	want(t, object(t, fired.Body), map[string]any{"alias": "key.age:quarterly:om-prod", "priority": "P3", "entity": "om-prod"})
	if got := sent(t, hook, "alert.resolved", notice(keyturn.AlertResolved)).Path; got != "/v2/alerts/key.age:quarterly:om-prod/close?identifierType=alias" {
		t.Errorf("closed by %s", got)
	}
	if got := sent(t, hook, "alert.acknowledged", notice(keyturn.AlertAcknowledged)).Path; got != "/v2/alerts/key.age:quarterly:om-prod/acknowledge?identifierType=alias" {
		t.Errorf("acknowledged by %s", got)
	}
}

type amAlert struct {
	Labels, Annotations map[string]string
	StartsAt, EndsAt    time.Time
}

func TestAlertmanagerEndsWhatItOpened(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	open := func(state keyturn.AlertState) (open map[string]bool, labels map[string]map[string]string) {
		m := sent(t, keyturn.Webhook{Format: keyturn.FormatAlertmanager}, "alert."+string(state), notice(state))
		if m.Path != "/api/v2/alerts" {
			t.Errorf("sent to %s", m.Path)
		}
		var alerts []amAlert
		if err := json.Unmarshal(m.Body, &alerts); err != nil {
			t.Fatal(err)
		}
		open, labels = map[string]bool{}, map[string]map[string]string{}
		for _, a := range alerts {
			severity := a.Labels["severity"]
			open[severity], labels[severity] = a.EndsAt.After(now), a.Labels
			if a.Annotations["summary"] == "" || !a.StartsAt.Equal(notice(state).Since) {
				t.Errorf("the alert is %+v", a)
			}
		}
		return open, labels
	}
	fired, named := open(keyturn.AlertFiring)
	if !reflect.DeepEqual(fired, map[string]bool{"info": false, "warning": true, "critical": false}) {
		t.Errorf("open are %v, want warning only", fired)
	}
	if named["warning"]["alertname"] != "KeyturnKeyAge" || named["warning"]["group"] != "key.age/quarterly/om-prod" {
		t.Errorf("labels are %v", named["warning"])
	}
	if acknowledged, _ := open(keyturn.AlertAcknowledged); !acknowledged["warning"] {
		t.Errorf("acknowledged ended it: %v", acknowledged)
	}
	over, same := open(keyturn.AlertResolved)
	if over["warning"] || over["critical"] || !reflect.DeepEqual(named, same) {
		t.Errorf("open are %v under %v, want none under %v", over, same, named)
	}
}

func TestChatShowsWhatHappened(t *testing.T) {
	t.Parallel()
	rotation := keyturn.Rotation{
		Policy: "quarterly", Target: "om-prod", State: keyturn.RotationPartial, Trigger: keyturn.TriggerSchedule,
		Counts: keyturn.Counts{Total: 10, Succeeded: 8, Failed: 2},
	}
	task := keyturn.Task{Unit: "om.p.c", State: keyturn.TaskParked, Reason: "the outcome is unknown"}
	record := keyturn.KeyRecord{Unit: "om.p.c", KeyID: "new-key", Origin: keyturn.OriginRotated}
	tests := []struct {
		event string
		data  any
		want  []string
	}{
		{"alert.firing", notice(keyturn.AlertFiring), []string{"WARNING: key.age", "2 of 40 keys", "om-prod.p1.c1: its key is 91 days old"}},
		{"alert.resolved", notice(keyturn.AlertResolved), []string{"Resolved: key.age"}},
		{"rotation.completed", rotation, []string{"Rotation of quarterly: partial", "8 of 10 units turned, 0 skipped, 2 failed"}},
		{"rotation.requested", keyturn.Rotation{Policy: "quarterly", State: keyturn.RotationRequested}, []string{"Rotation of quarterly requested"}},
		{"task.parked", task, []string{"Unit om.p.c: parked", "the outcome is unknown"}},
		{"key.rotated", record, []string{"Unit om.p.c uses a new key", "new-key"}},
		{"webhook.test", map[string]string{"message": "a test"}, []string{"webhook.test", "a test"}},
	}
	for _, tc := range tests {
		t.Run(tc.event, func(t *testing.T) {
			t.Parallel()
			for _, format := range []keyturn.WebhookFormat{keyturn.FormatSlack, keyturn.FormatTeams} {
				m := sent(t, keyturn.Webhook{Format: format}, tc.event, tc.data)
				if m.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%s: content type %s", format, m.Header.Get("Content-Type"))
				}
				shown := string(m.Body)
				for _, text := range tc.want {
					if !strings.Contains(shown, text) {
						t.Errorf("%s does not show %q: %s", format, text, shown)
					}
				}
			}
		})
	}
	slack := object(t, sent(t, keyturn.Webhook{Format: keyturn.FormatSlack}, "alert.firing", notice(keyturn.AlertFiring)).Body)
	attachments, _ := slack["attachments"].([]any)
	first, _ := attachments[0].(map[string]any)
	if text, _ := first["text"].(string); !strings.Contains(text, "&lt;b&gt;&amp;") || first["color"] != "#f9a825" {
		t.Errorf("slack is sent %v", first)
	}
}

func TestFormatsOfAlertsRefuseTheRest(t *testing.T) {
	t.Parallel()
	s := newSender(t, true)
	r := webhooktest.New(t, "")
	for _, format := range []keyturn.WebhookFormat{keyturn.FormatPagerDuty, keyturn.FormatOpsgenie, keyturn.FormatAlertmanager} {
		got := s.Send(t.Context(), keyturn.Webhook{Name: "w", URL: r.URL, Format: format}, delivery(t, "rotation.completed", nil))
		if got.Err == nil {
			t.Errorf("%s took a rotation", format)
		}
		if (keyturn.Webhook{Format: format}).Wants("rotation.completed") {
			t.Errorf("%s wants rotations", format)
		}
	}
	if n := len(r.Messages()); n != 0 {
		t.Errorf("%d were sent", n)
	}
}
