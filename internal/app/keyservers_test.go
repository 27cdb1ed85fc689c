//go:build linux

package app

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/retain"
	"github.com/keyturn/keyturn/storage/sqlite"
	"github.com/keyturn/keyturn/worker"
	"github.com/keyturn/keyturn/worker/kmip/kmiptest"
)

// auditEstate is a database with a unit for each key of a real KMIP server: each uses its key now.
type auditEstate struct {
	t      *testing.T
	kmip   *kmiptest.Server
	store  *sqlite.Store
	keeper *retain.Keeper
	target keyturn.Target

	mu    sync.Mutex
	ahead time.Duration
}

func (e *auditEstate) clock() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Now().Add(e.ahead)
}

func (e *auditEstate) Targets(context.Context) ([]keyturn.Target, error) {
	return []keyturn.Target{e.target}, nil
}

func (e *auditEstate) System(context.Context, string, int64) (worker.System, keyturn.Target, error) {
	return nil, e.target, nil
}

func newAuditEstate(t *testing.T, keys ...string) *auditEstate {
	t.Helper()
	e := &auditEstate{t: t, kmip: kmiptest.Start(t, 5)}
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "db"), Now: e.clock})
	e.ok(err)
	t.Cleanup(func() { _ = store.Close() })
	e.ok(store.Migrate(t.Context()))
	e.store = store
	e.target = keyturn.Target{Name: "om", System: keyturn.SystemOpsManager, URL: "https://om.example.com", KMIP: &keyturn.KMIP{
		Address: e.kmip.Address, CertFile: e.kmip.CertFile, KeyFile: e.kmip.KeyFile, CAFile: e.kmip.CAFile,
	}}
	spec, err := json.Marshal(e.target)
	e.ok(err)
	e.ok(store.ApplyResources(t.Context(), []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: "om", Spec: spec}}))
	k := e.kmip.Keys
	for i, key := range append([]string{k.PreActive, k.Active, k.Deactivated, k.Compromised, k.Destroyed, "9999"}, keys...) {
		e.uses(i, key)
	}
	e.keeper = retain.New(retain.Config{Owner: "one", Store: store, Targets: e, Systems: e, Servers: keyServers{}, Now: e.clock})
	return e
}

func (e *auditEstate) ok(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *auditEstate) uses(n int, key string) {
	e.t.Helper()
	id := fmt.Sprintf("om.p.c%d", n)
	e.ok(e.store.SaveUnits(e.t.Context(), []keyturn.Unit{{
		ID: id, Target: "om", System: keyturn.SystemOpsManager, ProjectID: "p", ClusterID: fmt.Sprint("c", n), Component: keyturn.ComponentReplicaSet, Rotatable: true,
	}}))
	_, err := e.store.Observe(e.t.Context(), []keyturn.Observation{{Unit: id, KeyID: key}})
	e.ok(err)
}

func (e *auditEstate) audit() keyturn.KeyAudit {
	e.t.Helper()
	e.ok(e.store.AskKeyJob(e.t.Context(), "om", keyturn.JobAudit))
	done, err := e.keeper.Next(e.t.Context(), keyturn.JobAudit)
	e.ok(err)
	audits, err := e.keeper.Audits(e.t.Context(), "om")
	e.ok(err)
	if !done || len(audits) != 1 {
		e.t.Fatalf("audits are %+v", audits)
	}
	return audits[0]
}

func (e *auditEstate) facts() []string {
	e.t.Helper()
	facts, err := e.keeper.Facts(e.t.Context(), e.clock())
	e.ok(err)
	var out []string
	for _, f := range facts {
		out = append(out, fmt.Sprintf("%s %s %s", f.Severity, f.Kind, strings.TrimPrefix(f.Subject, "om/")))
	}
	slices.Sort(out)
	return out
}

// TestAuditOfARealServer asks PyKMIP about keys in every state, and follows one through its life.
func TestAuditOfARealServer(t *testing.T) {
	t.Parallel()
	e := newAuditEstate(t)
	k := e.kmip.Keys
	a := e.audit()
	want := map[keyturn.KeyLife]int{
		keyturn.KeyPreActive: 1, keyturn.KeyActive: 1, keyturn.KeyDeactivated: 1, keyturn.KeyCompromised: 1, keyturn.KeyMissing: 2, // PyKMIP forgets what was destroyed
	}
	if a.Trouble != "" || a.Keys != 6 || fmt.Sprint(a.States) != fmt.Sprint(want) || !strings.Contains(a.Server, "PyKMIP") || a.RoundTrips > 6+3 {
		t.Errorf("audit is %+v, want %v", a, want)
	}
	bad := []string{
		"critical key.deactivated " + k.Compromised, "critical key.deactivated " + k.Deactivated, "critical key.missing " + k.Destroyed, "critical key.missing 9999",
	}
	slices.Sort(bad)
	if got := e.facts(); !slices.Equal(got, bad) {
		t.Errorf("facts are %q, want %q", got, bad)
	}
	units, _, err := e.store.Units(t.Context(), keyturn.UnitFilter{})
	e.ok(err)
	for _, u := range units {
		exists := u.KeyID != k.Destroyed && u.KeyID != "9999"
		if u.KeySinceExact != exists {
			t.Errorf("age of key %s of %s is exact: %v", u.KeyID, u.ID, u.KeySinceExact)
		}
	}
	life := k.Many[0]
	e.uses(100, life)
	e.kmip.Activate(t, life)
	if e.audit(); !slices.Equal(e.facts(), bad) {
		t.Errorf("facts are %q", e.facts())
	}
	e.kmip.Deactivate(t, life)
	if e.audit(); !slices.Contains(e.facts(), "critical key.deactivated "+life) {
		t.Errorf("facts are %q", e.facts())
	}
	e.kmip.Destroy(t, life)
	if e.audit(); !slices.Contains(e.facts(), "critical key.missing "+life) || slices.Contains(e.facts(), "critical key.deactivated "+life) {
		t.Errorf("facts are %q", e.facts())
	}
}

func TestOrphansOfARealServer(t *testing.T) {
	t.Parallel()
	e := newAuditEstate(t)
	e.target.KMIP.NamePattern = "many-[12]"
	if a := e.audit(); a.Orphans != 2 {
		t.Fatalf("audit is %+v", a)
	}
	before := e.facts()
	e.mu.Lock()
	e.ahead = 25 * time.Hour // a key that was just made may be in the history soon
	e.mu.Unlock()
	after := e.facts()
	want := []string{"info key.orphan " + e.kmip.Keys.Many[1], "info key.orphan " + e.kmip.Keys.Many[2]}
	if len(after) != len(before)+2 || !slices.Contains(after, want[0]) || !slices.Contains(after, want[1]) {
		t.Errorf("facts are %q", after)
	}
}

func TestAuditSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	e := newAuditEstate(t)
	for name, test := range map[string]struct {
		change func(*keyturn.KMIP)
		says   string
	}{
		"no certificate":      {func(k *keyturn.KMIP) { k.CertFile = "" }, "spec.kmip has no certFile"},
		"no such file":        {func(k *keyturn.KMIP) { k.KeyFile = "/nowhere" }, "spec.kmip: reading certFile and keyFile: open /nowhere"},
		"no authority":        {func(k *keyturn.KMIP) { k.CAFile = k.KeyFile }, "holds no certificate"},
		"another authority":   {func(k *keyturn.KMIP) { k.CAFile = "" }, "certificate signed by unknown authority"},
		"another server name": {func(k *keyturn.KMIP) { k.ServerName = "other.example.com" }, "other.example.com"},
		"nobody there":        {func(k *keyturn.KMIP) { k.Address = "127.0.0.1:1" }, "connection refused"},
	} {
		right := *e.target.KMIP
		test.change(e.target.KMIP)
		if a := e.audit(); !strings.Contains(a.Trouble, test.says) || a.DoneAt != nil {
			t.Errorf("%s: %+v, want %q", name, a, test.says)
		}
		*e.target.KMIP = right
	}
}
