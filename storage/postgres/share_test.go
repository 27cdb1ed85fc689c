package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
)

// planned returns the tasks of a running rotation of n units.
func planned(t *testing.T, s testStore, n int) []keyturn.Task {
	t.Helper()
	applyOne(t, s, keyturn.ResourceChange{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{"system":"ops-manager","url":"https://om.example.com"}`)})
	applyOne(t, s, keyturn.ResourceChange{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: []byte(`{"target":"om"}`)})
	r, _, err := s.Request(t.Context(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ClaimRotation(t.Context(), r.ID, "planner", time.Minute); err != nil {
		t.Fatal(err)
	}
	units := make([]keyturn.Unit, n)
	for i := range units {
		cluster := fmt.Sprintf("6a9b8c7d6e5f4a3b%08d", i)
		units[i] = keyturn.Unit{
			ID: "om.5f8e1a2b3c4d5e6f7a8b0000." + cluster, Target: "om", System: keyturn.SystemOpsManager, ProjectID: "5f8e1a2b3c4d5e6f7a8b0000",
			ProjectName: "project", ClusterID: cluster, ClusterName: "cluster", Component: keyturn.ComponentShard, Name: "shard-0", FCV: "4.0", Rotatable: true,
		}
	}
	if err := s.SavePlan(t.Context(), r.ID, "planner", units); err != nil {
		t.Fatal(err)
	}
	tasks, _, err := s.Tasks(t.Context(), r.ID, keyturn.Page{Limit: n})
	if err != nil || len(tasks) != n {
		t.Fatalf("%d tasks, %v; want %d", len(tasks), err, n)
	}
	return tasks
}

// hold makes everybody who writes to tasks wait until the returned release.
func (s testStore) hold(t *testing.T) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE tasks IN EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close(context.Background()) }
}

func intent(task keyturn.Task, before string) []keyturn.IntentWrite {
	return []keyturn.IntentWrite{{
		Task: task.ID, Owner: "w", Intent: keyturn.Intent{Before: before}, ApplyFor: time.Minute, Lease: time.Minute,
	}}
}

// refuseBad makes the database refuse a key, at once or not before the commit.
func (s testStore) refuseBad(t *testing.T, how, when string) {
	t.Helper()
	err := s.Exec(t.Context(), fmt.Sprintf(`
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room for it'; END $$;
CREATE %s refuse %s FOR EACH ROW WHEN (new.key_before = 'bad') EXECUTE FUNCTION refuse()`, how, when))
	if err != nil {
		t.Fatal(err)
	}
}

// What shares a transaction with something that can't be written, or committed, is written all the same, and once.
func TestSharedTransaction_OneFails(t *testing.T) {
	t.Parallel()
	for how, when := range map[string]string{
		"TRIGGER": "BEFORE UPDATE ON tasks", "CONSTRAINT TRIGGER": "AFTER UPDATE ON tasks DEFERRABLE INITIALLY DEFERRED",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, nil)
			tasks := planned(t, s, 8)
			s.refuseBad(t, how, when)
			ended, err := s.Intend(t.Context(), intent(tasks[6], "key-6"))
			if err != nil || ended[0].Verdict != keyturn.VerdictGo {
				t.Fatalf("%+v, %v", ended, err)
			}
			release := s.hold(t)
			out, errs := make([][]keyturn.IntentOutcome, 6), make([]error, 6)
			var writing sync.WaitGroup
			for i, task := range tasks[:6] {
				before := fmt.Sprint("key-", i)
				if i == 3 {
					before = "bad"
				}
				writing.Go(func() { out[i], errs[i] = s.Intend(t.Context(), intent(task, before)) })
			}
			var finished keyturn.Finished
			var finishErr error
			writing.Go(func() {
				finished, finishErr = s.Finish(t.Context(), []keyturn.TaskResult{{
					Task: tasks[6].ID, From: keyturn.TaskIntended, Epoch: 1, State: keyturn.TaskSucceeded,
					Resolution: keyturn.ResolutionConfirmed, KeyAfter: "key-after",
				}})
			})
			time.AfterFunc(100*time.Millisecond, release) // most of them wait by then; it is true in any order
			writing.Wait()
			if finishErr != nil || !finished.Taken[0] || len(finished.Told.Records) != 2 {
				t.Errorf("the result: %+v, %v; want it taken, with two key records", finished, finishErr)
			}
			for i := range out {
				switch {
				case i == 3:
					if errs[i] == nil || !strings.Contains(errs[i].Error(), "no room for it") {
						t.Errorf("the intent that can't be written: %+v, %v", out[i], errs[i])
					}
				case errs[i] != nil || out[i][0].Verdict != keyturn.VerdictGo || out[i][0].Epoch != 1:
					t.Errorf("intent %d: %+v, %v; want leave in the first epoch", i, out[i], errs[i])
				}
			}
			done, err := s.Intend(t.Context(), intent(tasks[3], "good"))
			if err != nil || done[0].Epoch != 1 {
				t.Errorf("the refused one, again: %+v, %v", done, err)
			}
		})
	}
}

// Nobody waits for a database longer than he wants to.
func TestSharedTransaction_NobodyWaitsForIt(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	tasks := planned(t, s, 2)
	release := s.hold(t)
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		_, err := s.Intend(ctx, intent(tasks[0], "a"))
		gaveUp <- err
	}()
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	release()
	out, err := s.Intend(t.Context(), intent(tasks[1], "a"))
	if err != nil || out[0].Verdict != keyturn.VerdictGo {
		t.Errorf("the next one: %+v, %v", out, err)
	}
	// Whether the first was written or not, it is either or.
	out, err = s.Intend(t.Context(), intent(tasks[0], "a"))
	if err != nil || out[0].Verdict != keyturn.VerdictGo && out[0].Verdict != keyturn.VerdictTaken {
		t.Errorf("the one that was given up, again: %+v, %v", out, err)
	}
}
