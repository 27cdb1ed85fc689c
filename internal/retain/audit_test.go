package retain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

// audited is a world whose key k0 was replaced by k1 ten days ago, with both at the KMIP server; k0 is needed by a
// snapshot for another month.
func auditedWorld(t *testing.T) (*world, string) {
	t.Helper()
	w := newWorld(t, keyturn.SystemOpsManager)
	unit := w.unit(1, "k0", "k1")
	w.advance(10 * day)
	w.kmip.has("k0", keyturn.KeyActive, w.clock().Add(-100*day))
	w.kmip.has("k1", keyturn.KeyActive, w.clock().Add(-11*day))
	w.sys.has(unit, w.snapshot("snap-1", "k0", -15*day, 30*day))
	w.do(keyturn.JobSnapshots)
	w.do(keyturn.JobAudit)
	return w, unit
}

func TestAuditKeepsStates(t *testing.T) {
	t.Parallel()
	w, unit := auditedWorld(t)
	a := w.job(keyturn.JobAudit).Audit()
	if a.Keys != 2 || a.States[keyturn.KeyActive] != 2 || a.Server != "a fake, KMIP 2.0" || a.DoneAt == nil || a.Running || a.AskedAt != nil {
		t.Errorf("audit is %+v", a)
	}
	if k := w.key("k0"); k.State == nil || k.State.State != keyturn.KeyActive || !k.State.SeenAt.Equal(w.clock()) {
		t.Errorf("k0 is %+v", k)
	}
	if facts := w.facts(); len(facts) != 0 {
		t.Errorf("facts are %+v", facts)
	}
	units, _, err := w.store.Units(w.ctx(), keyturn.UnitFilter{Name: unit})
	w.ok(err)
	if !units[0].KeySinceExact || !units[0].KeySince.Equal(w.clock().Add(-11*day)) {
		t.Errorf("unit is %+v, want the age that the KMIP server told", units[0])
	}
}

func TestFactsOfKeys(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change   func(w *world, unit string)
		kind     keyturn.AlertKind // empty: none
		severity keyturn.Severity
		says     []string
	}{
		"gone and needed": {
			func(w *world, _ string) { w.kmip.lacks("k0") }, keyturn.AlertKeyMissing, keyturn.SeverityCritical,
			[]string{"k0", "kmip:5696", "1 snapshot of 1 cluster", "can no longer be restored", "cluster1", "snap-1"},
		},
		"destroyed and needed": {
			func(w *world, _ string) { w.kmip.has("k0", keyturn.KeyDestroyed, w.clock()) }, keyturn.AlertKeyMissing, keyturn.SeverityCritical,
			[]string{"is destroyed", "snap-1"},
		},
		"gone and in use": {
			func(w *world, _ string) { w.kmip.lacks("k1") }, keyturn.AlertKeyMissing, keyturn.SeverityCritical, []string{"k1", "in use by om.p1.c1"},
		},
		"deactivated and needed": {
			func(w *world, _ string) { w.kmip.has("k0", keyturn.KeyDeactivated, w.clock()) }, keyturn.AlertKeyDeactivated, keyturn.SeverityCritical,
			[]string{"is deactivated", "1 snapshot of 1 cluster", "can only be restored with it"},
		},
		"compromised and in use": {
			func(w *world, _ string) { w.kmip.has("k1", keyturn.KeyCompromised, w.clock()) }, keyturn.AlertKeyDeactivated, keyturn.SeverityCritical,
			[]string{"is compromised", "in use"},
		},
		"deactivated, and nobody knows who needs it": {
			func(w *world, unit string) {
				w.kmip.has("k0", keyturn.KeyDeactivated, w.clock())
				w.sys.has(unit)
				w.advance(31 * day)
				w.do(keyturn.JobSnapshots)
				w.advance(10 * day) // since then nobody looked
			}, keyturn.AlertKeyDeactivated, keyturn.SeverityWarning, []string{"no snapshot is known to need it, but"},
		},
		"deactivated and needless": {
			func(w *world, unit string) {
				w.kmip.has("k0", keyturn.KeyDeactivated, w.clock())
				w.sys.has(unit)
				w.advance(31 * day)
				w.do(keyturn.JobSnapshots)
			}, "", "", nil,
		},
		"gone and needless": {
			func(w *world, unit string) {
				w.kmip.lacks("k0")
				w.sys.has(unit)
				w.advance(31 * day)
				w.do(keyturn.JobSnapshots)
			}, keyturn.AlertKeyMissing, keyturn.SeverityInfo, []string{"no known snapshot needs it"},
		},
		"pre-active": {func(w *world, _ string) { w.kmip.has("k1", keyturn.KeyPreActive, w.clock()) }, "", "", nil},
		"unclear": {func(w *world, _ string) {
			w.kmip.keys["k1"] = keyturn.KeyState{KeyID: "k1", State: keyturn.KeyUnclear, Detail: "refused"}
		}, "", "", nil},
		"only snapshots name it": {
			func(w *world, unit string) {
				w.sys.has(unit, w.snapshot("snap-9", "ancient", -300*day, 30*day))
				w.do(keyturn.JobSnapshots)
			}, keyturn.AlertKeyMissing, keyturn.SeverityCritical, []string{"ancient", "snap-9"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, unit := auditedWorld(t)
			test.change(w, unit)
			w.do(keyturn.JobAudit)
			facts := w.facts()
			if test.kind == "" {
				if len(facts) != 0 {
					t.Errorf("facts are %+v", facts)
				}
				return
			}
			if len(facts) != 1 || facts[0].Kind != test.kind || facts[0].Severity != test.severity || facts[0].Target != "om" || !strings.HasPrefix(facts[0].Subject, "om/") {
				t.Fatalf("facts are %+v, want %s %s", facts, test.severity, test.kind)
			}
			for _, words := range test.says {
				if !strings.Contains(facts[0].Message, words) {
					t.Errorf("%q does not say %q", facts[0].Message, words)
				}
			}
		})
	}
}

func TestFactsEndWhenTheStateHeals(t *testing.T) {
	t.Parallel()
	w, _ := auditedWorld(t)
	w.kmip.lacks("k0")
	w.do(keyturn.JobAudit)
	if len(w.facts()) != 1 {
		t.Fatal("nobody is told")
	}
	w.kmip.has("k0", keyturn.KeyActive, w.clock().Add(-100*day))
	w.do(keyturn.JobAudit)
	if facts := w.facts(); len(facts) != 0 {
		t.Errorf("facts are %+v", facts)
	}
	w.kmip.lacks("k0")
	w.do(keyturn.JobAudit)
	w.target.KMIP = nil
	if facts := w.facts(); len(facts) != 0 {
		t.Errorf("facts are %+v of a server that is nobody's any more", facts)
	}
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	w, _ := auditedWorld(t)
	w.kmip.has("lost", keyturn.KeyActive, w.clock().Add(-2*day))
	w.kmip.has("fresh", keyturn.KeyActive, w.clock())
	w.kmip.has("dead", keyturn.KeyDestroyed, w.clock().Add(-2*day))
	w.kmip.keys["other"] = keyturn.KeyState{KeyID: "other", State: keyturn.KeyActive, Name: "tape-robot"}
	w.do(keyturn.JobAudit)
	if len(w.facts()) != 0 || len(w.kmip.names) != 0 {
		t.Fatal("orphans were looked for without a pattern")
	}
	w.target.KMIP.NamePattern = "mongodb-*"
	if got := w.do(keyturn.JobAudit).Audit().Orphans; got != 2 {
		t.Errorf("%d orphans, want 2", got)
	}
	facts := w.facts()
	if len(facts) != 1 || facts[0].Kind != keyturn.AlertKeyOrphan || facts[0].Subject != "om/lost" || facts[0].Severity != keyturn.SeverityInfo {
		t.Fatalf("facts are %+v", facts)
	}
	w.target.KMIP.NamePattern = "mongodb-lost"
	w.do(keyturn.JobAudit)
	if !slices.Equal(w.kmip.names, []string{"", "mongodb-lost"}) {
		t.Errorf("located %q: the server finds an exact name itself", w.kmip.names)
	}
	w.unit(2, "lost")
	if facts := w.facts(); len(facts) != 0 {
		t.Errorf("facts are %+v of a key that is in the history now", facts)
	}
}

func TestManyOrphansAreLookedForAtOnce(t *testing.T) {
	t.Parallel()
	w, _ := auditedWorld(t)
	const orphans = 400
	for i := range orphans {
		w.kmip.has(fmt.Sprintf("lost-%03d", i), keyturn.KeyActive, w.clock().Add(-2*day))
	}
	w.target.KMIP.NamePattern = "mongodb-*"
	w.do(keyturn.JobAudit)
	w.store.known = 0
	if facts := w.facts(); len(facts) != orphans || w.store.known != 1 {
		t.Errorf("%d facts of %d orphans, by %d questions", len(facts), orphans, w.store.known)
	}
}

func TestFactsTakeAPartOfTheTime(t *testing.T) {
	t.Parallel()
	w, _ := auditedWorld(t)
	w.kmip.lacks("k1")
	w.do(keyturn.JobAudit)
	w.store.slow = func() { w.advance(3 * time.Second) }
	was := w.facts()
	if len(was) != 1 || w.store.bad != 1 {
		t.Fatalf("facts are %+v after %d looks", was, w.store.bad)
	}
	w.advance(56 * time.Second)
	if facts := w.facts(); len(facts) != 1 || facts[0] != was[0] || w.store.bad != 1 {
		t.Errorf("facts are %+v after %d looks", facts, w.store.bad)
	}
	w.advance(time.Second)
	if w.facts(); w.store.bad != 2 {
		t.Errorf("%d looks, want 2", w.store.bad)
	}
	w.advance(-time.Hour) // the clock was set back
	if w.facts(); w.store.bad != 3 {
		t.Errorf("%d looks, want 3", w.store.bad)
	}
}

func TestAuditThatBreaksTakesNothingBack(t *testing.T) {
	t.Parallel()
	w, _ := auditedWorld(t)
	was := w.job(keyturn.JobAudit).Audit()
	w.kmip.fail = errors.New("connection refused")
	w.advance(time.Hour)
	a := w.do(keyturn.JobAudit).Audit()
	if a.Trouble != "connection refused" || !a.DoneAt.Equal(*was.DoneAt) || a.Keys != 2 || a.AskedAt == nil {
		t.Errorf("audit is %+v", a)
	}
	if k := w.key("k0"); k.State.State != keyturn.KeyActive || len(w.facts()) != 0 {
		t.Errorf("k0 is %+v", k)
	}
	if some, err := w.keeper.Next(w.ctx(), keyturn.JobAudit); some || err != nil {
		t.Errorf("it is tried again at once: %v", err)
	}
	w.kmip.fail = nil
	w.advance(10 * time.Minute)
	if some, err := w.keeper.Next(w.ctx(), keyturn.JobAudit); !some || err != nil || w.job(keyturn.JobAudit).Trouble != "" {
		t.Errorf("it is not tried again: %v", err)
	}
}

func TestAskingForAnAudit(t *testing.T) {
	t.Parallel()
	w, _ := auditedWorld(t)
	ctx := keyturn.WithAudit(w.ctx(), keyturn.AuditEntry{Actor: "ann", Action: "target.audit-keys", Subject: "om"})
	w.ok(w.keeper.AskAudit(ctx, "om"))
	audits, err := w.keeper.Audits(w.ctx(), "")
	if err != nil || len(audits) != 1 || audits[0].AskedAt == nil || audits[0].Keys != 2 {
		t.Errorf("audits are %+v, %v", audits, err)
	}
	if entries, _, err := w.store.Audit(w.ctx(), keyturn.AuditFilter{}); err != nil || len(entries) != 1 {
		t.Errorf("audit entries are %+v, %v, want one", entries, err)
	}
	if err := w.keeper.AskAudit(w.ctx(), "nobody"); !errors.Is(err, keyturn.ErrNotFound) {
		t.Errorf("asking for an unknown target's: %v", err)
	}
	w.target.KMIP = nil
	if err := w.keeper.AskAudit(w.ctx(), "om"); !errors.Is(err, keyturn.ErrConflict) {
		t.Errorf("asking for that of a target without a server: %v", err)
	}
}
