package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

// newKeyCLI is a server that knows of a current key, an old one and one that is gone.
func newKeyCLI(t *testing.T) (*cli, *apitest.Keeper) {
	t.Helper()
	at := func(year int) *time.Time { day := time.Date(year, 2, 11, 12, 0, 0, 0, time.UTC); return &day }
	use := []keyturn.RetainedUse{{Unit: "om-prod.p1.c1", Name: "orders-0", ProjectName: "payments"}, {Unit: "om-prod.p1.c2", Name: "orders-1", ProjectName: "payments"}}
	k := &apitest.Keeper{Known: []keyturn.RetainedKey{
		{KeyID: "key-new", Target: "om-prod", InUse: true, From: at(2026), Units: use[:1], Sure: keyturn.SureExact},
		{
			KeyID: "key-old", Target: "om-prod", From: at(2024), Until: at(2026), Units: use, Snapshots: 14, Clusters: 3, NeededUntil: at(2027), Sure: keyturn.SureByTime,
			SafeToRetireAt: at(2027), State: &keyturn.KeyState{State: keyturn.KeyActive},
		},
		{KeyID: "key-gone\x1b[31m", Target: "om-prod", From: at(2023), Until: at(2024), Snapshots: 1, Sure: keyturn.SureUnknown, State: &keyturn.KeyState{State: keyturn.KeyMissing}},
	}}
	c := newCLI(t)
	c.api = api.New(api.Config{Store: c.store, Now: apitest.Epoch, Retained: k})
	return c, k
}

func TestKeysTable(t *testing.T) {
	t.Parallel()
	c, k := newKeyCLI(t)
	out := c.run(t, "keys", "--old", "--target", "om-prod").want(t, exitDone).stdout
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var fields [][]string
	for _, line := range lines {
		fields = append(fields, strings.Fields(line))
	}
	if len(lines) != 4 || strings.Contains(out, "\x1b") ||
		!slices.Equal(fields[2], []string{"key-old", "om-prod", "payments/orders-1", "+1", "2024-02-11", "2026-02-11", "active", "14", "2027-02-11", "by-time", "2027-02-11"}) ||
		!slices.Contains(fields[1], "missing") || !strings.Contains(lines[1], "no end") || !slices.Contains(fields[3], "now") {
		t.Errorf("printed\n%s", out)
	}
	if !k.Filter.Old || k.Filter.Target != "om-prod" {
		t.Errorf("asked for %+v", k.Filter)
	}
	for _, format := range []string{"json", "yaml"} {
		if out := c.run(t, "keys", "-o", format).want(t, exitDone).stdout; !strings.Contains(out, "safeToRetireAt") || !strings.Contains(out, "neededUntil") {
			t.Errorf("%s is %s", format, out)
		}
	}
}

func TestKeysOfAnUnknownUnit(t *testing.T) {
	t.Parallel()
	c, k := newKeyCLI(t)
	k.Known = nil
	c.run(t, "keys", "nobody").want(t, exitNotFound)
}

func TestAuditKeysWaits(t *testing.T) {
	t.Parallel()
	c, k := newKeyCLI(t)
	now := apitest.Epoch()
	k.Found = []keyturn.KeyAudit{{Target: "om-prod", Keys: 1204, States: map[keyturn.KeyLife]int{keyturn.KeyActive: 1203, keyturn.KeyMissing: 1}, AskedAt: &now, Server: "PyKMIP"}}
	k.Known = k.Known[2:]
	looks := 0
	c.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/key-audits") {
			if looks++; looks == 4 {
				k.Found[0].AskedAt, k.Found[0].DoneAt = nil, &now
			}
		}
		return false
	}
	r := c.run(t, "audit", "keys").want(t, exitFailed)
	if !strings.Contains(r.stdout, "1,204") || !strings.Contains(r.stdout, "missing") || !strings.Contains(r.stderr, "1 key is gone") || looks != 4 || len(k.Asked) != 1 {
		t.Errorf("printed %s %s after %d looks, asked %v", r.stdout, r.stderr, looks, k.Asked)
	}
	if !k.Filter.Bad {
		t.Errorf("asked for %+v", k.Filter)
	}
	if out := c.run(t, "audit", "keys", "om-prod", "--last", "-o", "json").stdout; !strings.Contains(out, `"audits"`) || len(k.Asked) != 1 {
		t.Errorf("printed %s, asked %v", out, k.Asked)
	}
}

func TestAuditKeysFailures(t *testing.T) {
	t.Parallel()
	c, k := newKeyCLI(t)
	if r := c.run(t, "audit", "keys").want(t, exitFailed); !strings.Contains(r.stderr, "no target has a KMIP server") {
		t.Errorf("said %s", r.stderr)
	}
	c.run(t, "audit", "keys", "nobody").want(t, exitNotFound)
	k.Known = nil
	k.Found = []keyturn.KeyAudit{{Target: "om-prod", Trouble: "connection refused"}}
	if r := c.run(t, "audit", "keys").want(t, exitFailed); !strings.Contains(r.stderr, "connection refused") {
		t.Errorf("said %s", r.stderr)
	}
	now := apitest.Epoch()
	k.Found = []keyturn.KeyAudit{{Target: "om-prod", AskedAt: &now}}
	if r := c.run(t, "audit", "keys", "--timeout", "20ms").want(t, exitFailed); !strings.Contains(r.stderr, "did not end") {
		t.Errorf("said %s", r.stderr)
	}
}

func TestKeysRetire(t *testing.T) {
	t.Parallel()
	c, k := newKeyCLI(t)
	k.Retirements = []keyturn.Retirement{{
		Key: k.Known[1], Message: "needed by 14 snapshots of 3 clusters until 2027-02-11", Needs: []string{"needed by 14 snapshots of 3 clusters until 2027-02-11"}, Able: true,
	}}
	if r := c.run(t, "keys", "retire", "key-old").want(t, exitDone); !strings.Contains(r.stdout, "key key-old of om-prod stays: needed by 14 snapshots of 3 clusters until 2027-02-11") || k.Done {
		t.Errorf("printed %s", r.stdout)
	}
	now := apitest.Epoch()
	k.Retirements = []keyturn.Retirement{{Key: k.Known[1], Able: true, DisabledAt: &now, Message: "disabled"}}
	r := c.run(t, "keys", "retire", "key-old", "--confirm", "--accept-unknown", "--reason", "tidy").want(t, exitDone)
	if !strings.Contains(r.stdout, "is disabled") || !k.Done || !k.Query.AcceptUnknown || k.Query.Reason != "tidy" {
		t.Errorf("printed %s, asked %+v", r.stdout, k.Query)
	}
	k.Err = &keyturn.ConflictError{Reason: "key key-old stays: it is in use by unit om-prod.p1.c1"}
	if r := c.run(t, "keys", "retire", "key-old", "--confirm").want(t, exitFailed); !strings.Contains(r.stderr, "it is in use by unit om-prod.p1.c1") {
		t.Errorf("said %s", r.stderr)
	}
	c.run(t, "keys", "retire", "key-old", "--reason", "tidy").want(t, exitUsage)
	c.run(t, "keys", "retire").want(t, exitUsage)
}
