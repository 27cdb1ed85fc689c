package storagetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func auditTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"RotationsAreAuditedWithTheirTransaction": auditRotations,
		"ResourcesAreAuditedWithTheirTransaction": auditResources,
		"WhatPeopleAskForIsAudited":               auditAsked,
		"PausesThatChangeNothingAreNotAudited":    auditPauses,
		"AuditPages":                              auditPages,
		"AuditIsAppendOnly":                       auditAppendOnly,
	}
}

// audited is a fixture with a context under which changes are recorded.
type audited struct {
	*fixture
	as      context.Context
	entries int
}

func newAudited(t *testing.T, newStore New) *audited {
	t.Helper()
	f := newFixture(t, newStore)
	f.estate()
	return &audited{fixture: f, as: keyturn.WithAudit(f.ctx(), keyturn.AuditEntry{
		Actor: "ann", Action: "x", Subject: "y", Remote: "192.0.2.1", Reason: "why", Detail: []byte(`{"a": "b"}`),
	})}
}

// wrote checks that a change left n entries.
func (f *audited) wrote(what string, n int, err error) {
	f.t.Helper()
	f.ok(err)
	f.entries += n
	entries, _, err := f.Audit(f.ctx(), keyturn.AuditFilter{})
	f.ok(err)
	if len(entries) != f.entries {
		f.t.Errorf("%s: %d entries, want %d", what, len(entries), f.entries)
	}
}

func auditRotations(t *testing.T, newStore New) {
	f := newAudited(t, newStore)
	ctx := f.as
	r, _, err := f.Request(ctx, keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: "1"})
	f.wrote("request", 1, err)
	_, _, err = f.Request(ctx, keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: "1"})
	f.wrote("the same request", 0, err)
	_, _, err = f.Request(ctx, keyturn.Request{Policy: "none", Trigger: keyturn.TriggerManual, TriggerID: "2"})
	f.is(err, keyturn.ErrNotFound)
	f.wrote("an unknown policy", 0, nil)
	_, err = f.StopRotation(ctx, r.ID, "ann", "", true)
	f.wrote("cancel", 1, err)
	_, err = f.StopRotation(ctx, r.ID, "ann", "", true)
	f.wrote("cancel again", 0, err)
	_, err = f.ResumeRotation(ctx, r.ID, "ann", "")
	f.wrote("resume", 1, err)
	_, err = f.ResumeRotation(ctx, r.ID, "ann", "")
	f.wrote("resume again", 0, err)
	_, tasks := f.running("quarterly", makeUnit("om", "p1", 1))
	f.park(tasks[0].ID)
	_, err = f.ResolveTask(ctx, keyturn.Decision{Task: tasks[0].ID, As: keyturn.TaskSucceeded, By: "ann", Reason: "x", Key: "a"})
	f.is(err, keyturn.ErrConflict)
	f.wrote("a refused decision", 0, nil)
	_, err = f.ResolveTask(ctx, keyturn.Decision{Task: tasks[0].ID, As: keyturn.TaskFailed, By: "ann", Reason: "x"})
	f.wrote("resolve", 1, err)
}

func auditResources(t *testing.T, newStore New) {
	f := newAudited(t, newStore)
	ctx := f.as
	f.wrote("pause", 1, f.SetPaused(ctx, "quarterly", true, "ann", "", nil))
	f.wrote("resume policy", 1, f.SetPaused(ctx, "quarterly", false, "ann", "", nil))
	f.is(f.SetPaused(ctx, "none", true, "ann", "", nil), keyturn.ErrNotFound)
	spec := encode(t, keyturn.Target{System: keyturn.SystemOpsManager, URL: "https://b"})
	f.wrote("apply", 1, f.ApplyResources(ctx, []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: "b", Spec: spec}}))
	f.is(f.ApplyResources(ctx, []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: "b", Spec: spec}}), keyturn.ErrConflict)
	token := keyturn.Token{ID: keyturn.NewID(f.clock.Now()), Name: "ci", Role: keyturn.RoleViewer, CreatedAt: f.clock.Now()}
	f.wrote("create token", 1, f.CreateToken(ctx, token, [32]byte{1}))
	f.wrote("revoke token", 1, f.RevokeToken(ctx, token.ID))
	f.wrote("revoke it again", 0, f.RevokeToken(ctx, token.ID))
	entries, _, err := f.Audit(f.ctx(), keyturn.AuditFilter{})
	f.ok(err)
	if e := entries[0]; e.Actor != "ann" || e.Action != "x" || e.Subject != "y" || e.Remote != "192.0.2.1" || e.Reason != "why" ||
		!e.At.Equal(f.clock.Now()) || e.ID.IsZero() || !strings.Contains(string(e.Detail), `"b"`) {
		t.Errorf("entry is %+v", e)
	}
}

func auditPauses(t *testing.T, newStore New) {
	f := newAudited(t, newStore)
	ctx, until := f.as, f.clock.Now().Add(time.Hour)
	next := f.resource(keyturn.KindPolicy, "quarterly").Status
	f.wrote("resume what is not paused", 0, f.SetPaused(ctx, "quarterly", false, "ann", "", f.slot(100*time.Hour)))
	if status := f.resource(keyturn.KindPolicy, "quarterly").Status; status.NextSlot != next.NextSlot {
		t.Errorf("its next slot is %s, want %s as before: it may be due", status.NextSlot, next.NextSlot)
	}
	f.wrote("pause", 1, f.SetPaused(ctx, "quarterly", true, "ann", "freeze", nil))
	f.wrote("pause again", 0, f.SetPaused(ctx, "quarterly", true, "ann", "freeze", nil))
	f.wrote("pause for another reason", 1, f.SetPaused(ctx, "quarterly", true, "ann", "holidays", nil))
	f.wrote("pause by somebody else", 1, f.SetPaused(ctx, "quarterly", true, "bob", "holidays", nil))
	f.wrote("pause until", 1, f.PauseUntil(ctx, "quarterly", "bob", "holidays", until))
	f.wrote("pause until the same end", 0, f.PauseUntil(ctx, "quarterly", "bob", "holidays", until))
	f.wrote("pause until another end", 1, f.PauseUntil(ctx, "quarterly", "bob", "holidays", until.Add(time.Hour)))
	f.wrote("pause without an end", 1, f.SetPaused(ctx, "quarterly", true, "bob", "holidays", nil))
	f.wrote("resume", 1, f.SetPaused(ctx, "quarterly", false, "bob", "", nil))
	f.wrote("resume again", 0, f.SetPaused(ctx, "quarterly", false, "bob", "", nil))
	f.is(f.PauseUntil(ctx, "none", "bob", "", until), keyturn.ErrNotFound)
	f.is(f.SetPaused(ctx, "none", false, "bob", "", nil), keyturn.ErrNotFound)
	f.wrote("what there is not", 0, nil)
}

func auditAsked(t *testing.T, newStore New) {
	f := newAudited(t, newStore)
	ctx := f.as
	f.wrote("observe", 1, f.AskLook(ctx, "om"))
	f.is(f.AskLook(ctx, "none"), keyturn.ErrNotFound)
	f.wrote("observe an unknown target", 0, nil)
	f.webhook("a")
	f.enqueue("a", "e1", "")
	f.result(f.wantClaim("e1")[0], parked)
	f.wrote("replay", 1, f.Replay(ctx, f.delivery("e1").ID))
	f.is(f.Replay(ctx, keyturn.NewID(f.clock.Now())), keyturn.ErrNotFound)
	_, err := f.ReplayParked(ctx, "a")
	f.wrote("replay of all", 1, err)
	f.external("lab/1")
	_, err = f.AckAlert(ctx, f.oneOpen(keyturn.AlertExternal).ID, keyturn.Ack{By: "ann"})
	f.wrote("acknowledge", 1, err)
	_, _, err = f.Request(ctx, keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerSchedule, Slot: f.slot(-time.Hour), Reason: "backfill"})
	f.wrote("backfill", 1, err)
	f.wrote("a message that tries something", 1, f.WriteAudit(ctx))
}

func auditPages(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for i := range 5 {
		f.clock.Advance(time.Second)
		ctx := keyturn.WithAudit(f.ctx(), keyturn.AuditEntry{Actor: "ann", Action: "policy.pause", Subject: fmt.Sprint(i)})
		f.ok(f.SetPaused(ctx, "quarterly", true, "ann", fmt.Sprint(i), nil))
	}
	var got string
	page := keyturn.Page{Limit: 2}
	for {
		entries, next, err := f.Audit(f.ctx(), keyturn.AuditFilter{Page: page})
		f.ok(err)
		for _, e := range entries {
			got += e.Subject
			if len(e.Detail) != 0 {
				t.Errorf("detail is %s, want none", e.Detail)
			}
		}
		if next == "" {
			break
		}
		page.After = next
	}
	if got != "43210" {
		t.Errorf("listed %s, want the newest first, each once", got)
	}
}

func auditAppendOnly(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	ctx := keyturn.WithAudit(f.ctx(), keyturn.AuditEntry{Actor: "ann", Action: "policy.pause"})
	f.ok(f.SetPaused(ctx, "quarterly", true, "ann", "", nil))
	for _, sql := range []string{`UPDATE audit SET actor = 'bob'`, `DELETE FROM audit`} {
		if err := f.Exec(f.ctx(), sql); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: error is %v, want that it is append-only", sql, err)
		}
	}
}
