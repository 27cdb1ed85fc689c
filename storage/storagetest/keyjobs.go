package storagetest

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func keyJobTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"EveryTargetHasBoth":                jobsListed,
		"OneReplicaAtATime":                 jobsClaimed,
		"AJobThatWasDoneIsNotClaimedAgain":  jobsStale,
		"LeaseThatEndedIsTakenOver":         jobsTakenOver,
		"AskedForSinceItBeganStaysDue":      jobsAsked,
		"BrokenOneIsDueAgainLater":          jobsBroken,
		"RotationMakesItBusy":               jobsBusy,
		"ResultsAreKept":                    jobsResult,
		"UnknownTargetCantBeAsked":          jobsUnknown,
		"AskingIsAudited":                   jobsAudited,
		"RetirementIsRecordedWithItsAudit":  jobsRetirement,
		"RetirementOfANeverAskedIsNotFound": jobsNotRetired,
	}
}

func (f *fixture) job(kind keyturn.KeyJobKind) keyturn.KeyJob {
	f.t.Helper()
	jobs, err := f.KeyJobs(f.ctx(), "om", 2*time.Minute)
	f.ok(err)
	i := slices.IndexFunc(jobs, func(j keyturn.KeyJob) bool { return j.Kind == kind })
	if i < 0 || len(jobs) != 2 {
		f.t.Fatalf("jobs are %+v", jobs)
	}
	return jobs[i]
}

func (f *fixture) claimJob(kind keyturn.KeyJobKind) keyturn.KeyJob {
	f.t.Helper()
	job, err := f.ClaimKeyJob(f.ctx(), f.job(kind), owner, lease)
	f.ok(err)
	return job
}

func jobsListed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.target("om-2")
	jobs, err := f.KeyJobs(f.ctx(), "", 0)
	f.ok(err)
	var got []string
	for _, j := range jobs {
		got = append(got, fmt.Sprintf("%s %s %d", j.Target, j.Kind, j.Turn))
		if !j.CreatedAt.Equal(f.clock.Now()) || j.AskedAt != nil || j.DoneAt != nil || j.Taken || j.Busy || j.HeldUntil != nil {
			t.Errorf("job is %+v", j)
		}
	}
	if want := []string{"om audit 0", "om snapshots 0", "om-2 audit 0", "om-2 snapshots 0"}; !slices.Equal(got, want) {
		t.Errorf("jobs are %v, want %v", got, want)
	}
	f.ok(f.Hold(f.ctx(), "om", "429", time.Minute))
	if j := f.job(keyturn.JobAudit); j.HeldUntil == nil || !j.HeldUntil.Equal(f.clock.Now().Add(time.Minute)) {
		t.Errorf("job is %+v", j)
	}
}

func jobsClaimed(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	for range 3 {
		job := f.job(keyturn.JobAudit)
		var won atomic.Int32
		together(6, func(i int) {
			if _, err := f.ClaimKeyJob(f.ctx(), job, fmt.Sprint("worker-", i), lease); err == nil {
				won.Add(1)
			}
		})
		if won.Load() != 1 {
			t.Fatalf("%d replicas claimed it", won.Load())
		}
		if !f.job(keyturn.JobAudit).Taken || f.job(keyturn.JobSnapshots).Taken {
			t.Error("the wrong job is taken")
		}
		f.clock.Advance(lease)
	}
}

func jobsStale(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	read := f.job(keyturn.JobAudit)
	job := f.claimJob(keyturn.JobAudit)
	f.ok(f.EndKeyJob(f.ctx(), job, owner, keyturn.KeyJobEnd{Done: true}))
	_, err := f.ClaimKeyJob(f.ctx(), read, "worker-2", lease)
	f.is(err, keyturn.ErrNotFound)
	if j := f.job(keyturn.JobAudit); j.Taken || j.DoneAt == nil || !j.DoneAt.Equal(f.clock.Now()) {
		t.Errorf("job is %+v", j)
	}
}

func jobsTakenOver(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	old := f.claimJob(keyturn.JobSnapshots)
	f.clock.Advance(lease / 2)
	_, err := f.RenewKeyJob(f.ctx(), old, owner, lease)
	f.ok(err)
	f.clock.Advance(lease - time.Second)
	if !f.job(keyturn.JobSnapshots).Taken {
		t.Error("the renewed lease has ended")
	}
	f.clock.Advance(time.Second)
	taken, err := f.ClaimKeyJob(f.ctx(), f.job(keyturn.JobSnapshots), owner, lease) // by the same name
	f.ok(err)
	_, err = f.RenewKeyJob(f.ctx(), old, owner, lease)
	f.is(err, keyturn.ErrNotFound)
	f.is(f.EndKeyJob(f.ctx(), old, owner, keyturn.KeyJobEnd{Done: true}), keyturn.ErrNotFound)
	f.ok(f.EndKeyJob(f.ctx(), taken, owner, keyturn.KeyJobEnd{Done: true}))
}

func jobsAsked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.ok(f.AskKeyJob(f.ctx(), "om", keyturn.JobAudit))
	asked := f.clock.Now()
	if j := f.job(keyturn.JobAudit); j.AskedAt == nil || !j.AskedAt.Equal(asked) {
		t.Fatalf("job is %+v", j)
	}
	job := f.claimJob(keyturn.JobAudit)
	f.clock.Advance(time.Second)
	f.ok(f.AskKeyJob(f.ctx(), "om", keyturn.JobAudit))
	f.ok(f.EndKeyJob(f.ctx(), job, owner, keyturn.KeyJobEnd{Done: true}))
	if j := f.job(keyturn.JobAudit); j.AskedAt == nil || j.AskedAt.Equal(asked) {
		t.Errorf("job is %+v: what was asked for since it began is due", j)
	}
	f.ok(f.EndKeyJob(f.ctx(), f.claimJob(keyturn.JobAudit), owner, keyturn.KeyJobEnd{Done: true}))
	if j := f.job(keyturn.JobAudit); j.AskedAt != nil {
		t.Errorf("job is %+v", j)
	}
}

func jobsBroken(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.ok(f.AskKeyJob(f.ctx(), "om", keyturn.JobAudit))
	f.ok(f.EndKeyJob(f.ctx(), f.claimJob(keyturn.JobAudit), owner, keyturn.KeyJobEnd{Retry: time.Minute, Trouble: "refused"}))
	j := f.job(keyturn.JobAudit)
	if j.NotBefore == nil || !j.NotBefore.Equal(f.clock.Now().Add(time.Minute)) || j.Trouble != "refused" || j.AskedAt == nil || j.DoneAt != nil || j.Taken {
		t.Errorf("job is %+v", j)
	}
	f.ok(f.AskKeyJob(f.ctx(), "om", keyturn.JobAudit))
	if j := f.job(keyturn.JobAudit); j.NotBefore != nil || j.Trouble != "" {
		t.Errorf("job is %+v: somebody asks for it", j)
	}
}

func jobsBusy(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	job := f.claimJob(keyturn.JobSnapshots)
	if busy, err := f.RenewKeyJob(f.ctx(), job, owner, lease); err != nil || busy {
		t.Fatalf("busy %v, %v", busy, err)
	}
	f.request("quarterly")
	if !f.job(keyturn.JobSnapshots).Busy {
		t.Error("a rotation waits, and nobody sees it")
	}
	if busy, err := f.RenewKeyJob(f.ctx(), job, owner, lease); err != nil || busy {
		t.Errorf("busy %v, %v: it does not work yet", busy, err)
	}
	f.running("quarterly", makeUnit("om", "p1", 1))
	if busy, err := f.RenewKeyJob(f.ctx(), job, owner, lease); err != nil || !busy {
		t.Errorf("busy %v, %v: a rotation works", busy, err)
	}
	f.target("om-2")
	f.ok(f.Hold(f.ctx(), "om-2", "429", time.Minute))
	jobs, err := f.KeyJobs(f.ctx(), "om-2", 0)
	f.ok(err)
	other, err := f.ClaimKeyJob(f.ctx(), jobs[1], owner, lease)
	f.ok(err)
	if busy, err := f.RenewKeyJob(f.ctx(), other, owner, lease); err != nil || !busy {
		t.Errorf("busy %v, %v: the target is held", busy, err)
	}
}

func jobsResult(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	want := keyturn.KeyAudit{Server: "kmip 2.0", Keys: 7, Orphans: 2, RoundTrips: 3, States: map[keyturn.KeyLife]int{keyturn.KeyActive: 7}}
	f.ok(f.EndKeyJob(f.ctx(), f.claimJob(keyturn.JobAudit), owner, keyturn.KeyJobEnd{Done: true, Result: &want}))
	f.ok(f.EndKeyJob(f.ctx(), f.claimJob(keyturn.JobAudit), owner, keyturn.KeyJobEnd{Trouble: "away"}))
	got := f.job(keyturn.JobAudit).Audit()
	if got.Server != want.Server || got.Keys != 7 || got.Orphans != 2 || got.RoundTrips != 3 || got.States[keyturn.KeyActive] != 7 ||
		got.Trouble != "away" || got.Target != "om" || got.DoneAt == nil {
		t.Errorf("audit is %+v", got)
	}
}

func jobsUnknown(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.is(f.AskKeyJob(f.ctx(), "nobody", keyturn.JobAudit), keyturn.ErrNotFound)
	if jobs, err := f.KeyJobs(f.ctx(), "", 0); err != nil || len(jobs) != 0 {
		t.Errorf("jobs are %+v, %v", jobs, err)
	}
}

func jobsAudited(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	ctx := keyturn.WithAudit(f.ctx(), keyturn.AuditEntry{Actor: "ann", Action: "target.audit-keys", Subject: "om"})
	f.ok(f.AskKeyJob(ctx, "om", keyturn.JobAudit))
	f.is(f.AskKeyJob(ctx, "nobody", keyturn.JobAudit), keyturn.ErrNotFound)
	entries, _, err := f.Audit(f.ctx(), keyturn.AuditFilter{})
	f.ok(err)
	if len(entries) != 1 || entries[0].Actor != "ann" {
		t.Errorf("entries are %+v", entries)
	}
}

func jobsRetirement(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.turnedTwice()
	ctx := keyturn.WithAudit(f.ctx(), keyturn.AuditEntry{Actor: "ann", Action: "key.retire", Subject: "om/k1"})
	f.ok(f.AskRetirement(ctx, key("k1"), "ann", "spring cleaning"))
	f.ok(f.AskRetirement(ctx, key("k1"), "ann", "again, after a crash"))
	f.ok(f.AskRetirement(ctx, key("k1"), "ann", "again, after a crash"))
	f.clock.Advance(time.Minute)
	at, err := f.NoteRetired(f.ctx(), key("k1"))
	f.ok(err)
	states, err := f.KeyStates(f.ctx(), []keyturn.KeyRef{key("k1")})
	f.ok(err)
	if s := states[key("k1")]; s.State != keyturn.KeyDisabled || !s.SeenAt.Equal(f.clock.Now()) || !at.Equal(f.clock.Now()) {
		t.Errorf("state is %+v, at %v", s, at)
	}
	entries, _, err := f.Audit(f.ctx(), keyturn.AuditFilter{})
	f.ok(err)
	if len(entries) != 2 {
		t.Errorf("entries are %+v, want one for each reason", entries)
	}
	notes := f.drain()
	last := notes[len(notes)-1]
	if last.Type != "retired" || len(last.Retired) != 1 {
		t.Fatalf("announced %+v", last)
	}
	told, err := f.AnnouncedRetired(f.ctx(), last.Retired)
	f.ok(err)
	if len(told) != 1 || told[0].KeyID != "k1" || told[0].By != "ann" || told[0].Reason != "again, after a crash" || !told[0].DisabledAt.Equal(at) || told[0].Target != om {
		t.Errorf("told %+v", told)
	}
	f.ok(f.AskRetirement(ctx, key("k1"), "ann", "again, after a crash")) // it may have been enabled since
	entries, _, err = f.Audit(f.ctx(), keyturn.AuditFilter{})
	f.ok(err)
	if len(entries) != 3 {
		t.Errorf("entries are %+v, want one more for a key that was retired before", entries)
	}
}

func jobsNotRetired(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.turnedTwice()
	_, err := f.NoteRetired(f.ctx(), key("k1"))
	f.is(err, keyturn.ErrNotFound)
}
