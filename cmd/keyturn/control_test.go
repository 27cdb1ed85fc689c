package main

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

// has adds a rotation with tasks.
func (c *cli) has(state keyturn.RotationState, tasks ...keyturn.Task) keyturn.Rotation {
	start := apitest.Epoch().Add(-time.Hour)
	r := keyturn.Rotation{
		ID: keyturn.NewID(apitest.Epoch()), Policy: "quarterly", Target: "om-prod", Trigger: keyturn.TriggerManual, State: state,
		RequestedAt: start, StartedAt: &start, Counts: keyturn.Counts{Total: len(tasks)},
	}
	if state.Final() {
		end := start.Add(time.Minute)
		r.FinishedAt = &end
	}
	for i := range tasks {
		tasks[i].Rotation = r.ID
		count(&r.Counts, tasks[i].State)
	}
	c.store.AddRotation(r, tasks...)
	return r
}

func TestCancelStopsARotation(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	r := c.has(keyturn.RotationRunning)
	c.run(t, "cancel", r.ID.String(), "--reason", "wrong window").want(t, exitDone).
		says(t, "is cancelled: cancelled by admin: wrong window", "rotate --resume "+r.ID.String())
	if got := fromJSON[keyturn.Rotation](t, c.run(t, "cancel", r.ID.String(), "-o", "json").want(t, exitDone)); got.CancelledBy != "admin" {
		t.Errorf("cancelled twice: %+v", got)
	}
	ended := c.has(keyturn.RotationSucceeded)
	c.run(t, "cancel", ended.ID.String()).want(t, exitFailed).says(t, "ended already: succeeded")
	c.run(t, "cancel", keyturn.NewID(apitest.Epoch()).String()).want(t, exitNotFound)
	c.run(t, "cancel").want(t, exitUsage)
	audit := c.run(t, "audit").want(t, exitDone)
	audit.says(t, "admin", "127.0.0.1", "rotation.cancel", "wrong window")
	if entries := fromJSON[[]keyturn.AuditEntry](t, c.run(t, "audit", "-o", "json").want(t, exitDone)); len(entries) != 1 ||
		entries[0].Subject != r.ID.String() {
		t.Errorf("audit is %+v", entries)
	}
}

func TestRotateResumesARotation(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	r := c.has(keyturn.RotationPartial, task("om-prod.p1.c1", keyturn.TaskFailed, "403"), task("om-prod.p1.c2", keyturn.TaskParked, "unknown"))
	first := c.run(t, "rotate", "--resume", r.ID.String(), "--reason", "mended", "-o", "json").want(t, exitDone)
	first.says(t, "1 parked unit left out")
	retry := fromJSON[keyturn.Rotation](t, first)
	if retry.RetryOf == nil || *retry.RetryOf != r.ID || retry.Trigger != keyturn.TriggerRetry || retry.Reason != "mended" || retry.RequestedBy != "token:admin" {
		t.Errorf("the retry is %+v", retry)
	}
	if again := fromJSON[keyturn.Rotation](t, c.run(t, "rotate", "--resume", r.ID.String(), "-o", "json").want(t, exitDone)); again.ID != retry.ID {
		t.Errorf("resumed twice: %s and %s", retry.ID, again.ID)
	}
	c.finishes(task("om-prod.p1.c1", keyturn.TaskSucceeded, ""))
	c.run(t, "rotate", "--resume", r.ID.String(), "--wait").want(t, exitDone).says(t, "succeeded after")
	for _, args := range [][]string{
		{"quarterly"}, {"--id", "x"}, {"--unit", "u"}, {"--project", "p"}, {"--cluster", "c"},
	} {
		c.run(t, append([]string{"rotate", "--resume", r.ID.String()}, args...)...).want(t, exitUsage)
	}
	c.run(t, "rotate").want(t, exitUsage)
	whole := c.has(keyturn.RotationSucceeded)
	c.run(t, "rotate", "--resume", whole.ID.String()).want(t, exitFailed).says(t, "nothing is missing")
	c.run(t, "rotate", "--resume", "nonsense").want(t, exitUsage)
	c.run(t, "rotate", "--resume", keyturn.NewID(apitest.Epoch()).String()).want(t, exitNotFound)
}

func TestTaskIsResolved(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	parked := task("om-prod.p1.c1", keyturn.TaskParked, "outcome unknown")
	parked.KeyBefore = "key-1"
	other := task("om-prod.p1.c2", keyturn.TaskParked, "outcome unknown")
	r := c.has(keyturn.RotationPartial, parked, other)
	id := parked.ID.String()
	c.run(t, "task", id).want(t, exitDone).says(t, "parked", "outcome unknown", "key-1", "keyturn task resolve "+id)
	c.run(t, "rotations", r.ID.String()).want(t, exitDone).says(t, "PARKED TASK", id, "keyturn task resolve ID")
	for _, args := range [][]string{
		{id},
		{id, "--as", "failed"},
		{id, "--as", "maybe", "--reason", "x"},
		{id, "--reason", "x"},
		{id, "--as", "failed", "--reason", " "},
		{id, "--as", "retry", "--reason", "x", "--key", "k"},
		{"nonsense", "--as", "failed", "--reason", "x"},
	} {
		c.run(t, append([]string{"task", "resolve"}, args...)...).want(t, exitUsage)
	}
	c.run(t, "task", "resolve", id, "--as", "succeeded", "--reason", "seen", "--key", "key-2").want(t, exitDone).
		says(t, "task "+id+" is succeeded with key key-2")
	c.run(t, "task", "resolve", id, "--as", "failed", "--reason", "x").want(t, exitFailed).says(t, "only what is parked")
	c.run(t, "task", "resolve", other.ID.String(), "--as", "retry", "--reason", "not turned").want(t, exitDone).says(t, "tries it again")
	got := fromJSON[keyturn.Task](t, c.run(t, "task", id, "-o", "json").want(t, exitDone))
	if got.Reason != "resolved by admin: seen" || got.Resolution != keyturn.ResolutionByPerson {
		t.Errorf("task is %+v", got)
	}
	c.run(t, "task", keyturn.NewID(apitest.Epoch()).String()).want(t, exitNotFound)
	c.vars["KEYTURN_TOKEN"] = apitest.Secret(keyturn.RoleViewer)
	c.run(t, "task", "resolve", id, "--as", "failed", "--reason", "x").want(t, exitUnauthorized)
	c.run(t, "cancel", r.ID.String()).want(t, exitUnauthorized)
	c.run(t, "audit").want(t, exitUnauthorized)
}

func TestMixedClustersAreShownFirst(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	r := c.has(keyturn.RotationPartial, task("om-prod.p1.c1", keyturn.TaskSucceeded, ""), task("om-prod.p1.c2", keyturn.TaskFailed, "403"))
	since := apitest.Epoch().Add(-3 * time.Hour)
	c.store.SetRotation(r.ID, func(r *keyturn.Rotation) {
		r.Clusters = []keyturn.ClusterCounts{{
			ProjectName: "payments", Cluster: "orders", Mixed: true, MixedSince: &since, Counts: keyturn.Counts{Total: 2, Succeeded: 1, Failed: 1},
		}}
		for range 30 {
			r.Clusters = append(r.Clusters, keyturn.ClusterCounts{ProjectName: "payments", Cluster: "whole", Counts: keyturn.Counts{Total: 1, Succeeded: 1}})
		}
	})
	shown := c.run(t, "rotations", r.ID.String()).want(t, exitDone)
	shown.says(t, "MIXED FOR", "payments/orders", "mixed", "3h", "and 11 more clusters, none of them mixed")
	if strings.Index(shown.stdout, "payments/orders ") > strings.Index(shown.stdout, "payments/whole") {
		t.Errorf("the mixed cluster is not the first:\n%s", shown.stdout)
	}
	if got := fromJSON[keyturn.Rotation](t, c.run(t, "rotations", r.ID.String(), "-o", "json").want(t, exitDone)); len(got.Clusters) != 31 {
		t.Errorf("JSON has %d clusters", len(got.Clusters))
	}
}

// says checks that the output, of either kind, contains all the words.
func (r result) says(t *testing.T, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(r.stdout+r.stderr, word) {
			t.Errorf("%q is not said in\n%s%s", word, r.stdout, r.stderr)
		}
	}
}
