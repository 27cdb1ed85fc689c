package resource_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

func TestSilences(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: keyturn/v1\nkind: Silence\nname: s\nspec:\n"
	docs := parse(t, head+"  match: {kinds: [\"key.*\"], clusters: [\"orders-*\"]}\n  startsAt: 2026-12-20T18:00:00Z\n  endsAt: 2027-01-06T06:00:00+01:00\n  reason: moving\n")
	s, err := resource.SilenceOf(keyturn.Resource{Kind: docs[0].Kind, Name: docs[0].Name, Spec: docs[0].Spec})
	if err != nil || s.Name != "s" || len(s.Match.Kinds) != 1 || !s.EndsAt.Equal(time.Date(2027, 1, 6, 5, 0, 0, 0, time.UTC)) || s.StartsAt == nil {
		t.Errorf("got %+v, %v", s, err)
	}
	for spec, want := range map[string]string{
		"  match: {}\n":        "endsAt is missing",
		"  endsAt: tomorrow\n": "is no time",
		"  endsAt: 2026-12-31T00:00:00Z\n  startsAt: 2027-01-01T00:00:00Z\n": "later than startsAt",
		"  endsAt: 2026-12-31T00:00:00Z\n  match: {kinds: [\"key.old\"]}\n":  "matches no kind",
		"  endsAt: 2026-12-31T00:00:00Z\n  match: {clusters: [\"[\"]}\n":     "is no glob",
		"  endsAt: 2026-12-31T00:00:00Z\n  match: {cluster: [\"a\"]}\n":      "unknown field cluster",
	} {
		if _, err := resource.Parse("f", []byte(head+spec), resource.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want %q in it", spec, err, want)
		}
	}
}

func TestPolicyAlertsAreChecked(t *testing.T) {
	t.Parallel()
	for alerts, want := range map[string]string{
		"{warnAfter: 30d, dueSoon: 30d}": "must be shorter than warnAfter",
		"{repeat: 1m}":                   "at least 5m",
		"{dueSoon: soon}":                "is not a duration",
	} {
		text := "apiVersion: keyturn/v1\nkind: Policy\nname: p\nspec: {target: t, alerts: " + alerts + "}\n"
		if _, err := resource.Parse("f", []byte(text), resource.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q in it", alerts, err, want)
		}
	}
}
