package main

import (
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

func TestAlerts(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	a := keyturn.Alert{
		ID: keyturn.NewID(apitest.Epoch()), Kind: keyturn.AlertKeyAge, Severity: keyturn.SeverityWarning, State: keyturn.AlertFiring,
		Subject: "om-prod.p1.c1", Message: "key of orders is old", Since: apitest.Epoch().Add(-keyturn.Day),
	}
	c.store.AddAlert(a, keyturn.AlertChange{At: apitest.Epoch(), State: keyturn.AlertFiring, Severity: keyturn.SeverityWarning})
	c.store.AddResource(keyturn.KindSilence, "move", `{"endsAt":"2026-12-01T00:00:00Z","match":{"kinds":["key.*"]},"reason":"moving"}`)
	id := a.ID.String()
	for _, tc := range []struct {
		args string
		code int
		want []string
	}{
		{"alerts", 0, []string{"key.age", "warning", "firing", "24h", "key of orders is old"}},
		{"alerts --state resolved", 0, nil},
		{"alerts -o json", 0, []string{`"lastNotifiedAt": null`, `"subject": "om-prod.p1.c1"`}},
		{"alerts " + id, 0, []string{"key.age, warning", "om-prod.p1.c1", "2026-03-28 12:00:00"}},
		{"alerts " + id + " -o json", 0, []string{`"history": [`}},
		{"alerts --state odd", 2, nil},
		{"alerts none", 2, nil},
		{"alerts " + keyturn.NewID(apitest.Epoch()).String(), 4, nil},
		{"alerts ack", 2, nil},
		{"alerts ack " + id + " --until tomorrow", 2, nil},
		{"alerts ack " + id + " --until 4h --note hm", 0, []string{"acknowledged"}},
		{"alerts " + id, 0, []string{"token:", "until 2026-03-28 16:00:00 UTC", "hm"}},
		{"get silences", 0, []string{"move", "active", "2026-12-01", "key.*", "moving"}},
		{"get silences move -o yaml", 0, []string{"kind: Silence", "endsAt"}},
	} {
		got := c.run(t, strings.Fields(tc.args)...)
		if got.code != tc.code {
			t.Errorf("%s: exit code %d, want %d: %s", tc.args, got.code, tc.code, got.stderr)
		}
		for _, want := range tc.want {
			if !strings.Contains(got.stdout, want) {
				t.Errorf("%s: no %q in\n%s", tc.args, want, got.stdout)
			}
		}
	}
}
