package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite"
	"github.com/keyturn/keyturn/storage/storagetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T, now func() time.Time) storagetest.Store {
		t.Helper()
		path := filepath.Join(t.TempDir(), "keyturn.db")
		return contract{Store: openAt(t, path, now), path: path}
	})
}

// contract is a store that the contract can get behind.
type contract struct {
	*sqlite.Store
	path string
}

// Exec implements storagetest.Store.
func (c contract) Exec(ctx context.Context, statement string) (err error) {
	db, err := sql.Open("sqlite", "file:"+c.path+"?_pragma=foreign_keys(1)&_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, statement)
	return err
}

// open returns a store on a fresh, migrated database; now nil: the real clock.
func open(t testing.TB, now func() time.Time) *sqlite.Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "keyturn.db"), now)
}

func openAt(t testing.TB, path string, now func() time.Time) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// estate makes the target om and its policy quarterly, unless they are there.
func estate(t testing.TB, s *sqlite.Store) {
	t.Helper()
	known, err := s.Resources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(known) > 0 {
		return
	}
	if err := s.ApplyResources(t.Context(), []keyturn.ResourceChange{
		{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{"system":"ops-manager","url":"https://om.example.com"}`)},
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: []byte(`{"target":"om"}`)},
	}); err != nil {
		t.Fatal(err)
	}
}

// planned returns the tasks of a new rotation of n units in 50 projects.
func planned(t testing.TB, s *sqlite.Store, n int) []keyturn.Task {
	t.Helper()
	estate(t, s)
	r, _, err := s.Request(t.Context(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ClaimRotation(t.Context(), r.ID, "planner", time.Minute); err != nil {
		t.Fatal(err)
	}
	units := make([]keyturn.Unit, n)
	for i := range units {
		project, cluster := fmt.Sprintf("5f8e1a2b3c4d5e6f7a8b%04d", i%50), fmt.Sprintf("6a9b8c7d6e5f4a3b%08d", i)
		units[i] = keyturn.Unit{
			ID: "om." + project + "." + cluster, Target: "om", System: keyturn.SystemOpsManager, ProjectID: project, ProjectName: "project",
			ClusterID: cluster, ClusterName: "cluster", Component: keyturn.ComponentShard, Name: "shard-0", FCV: "4.0", Rotatable: true,
		}
	}
	if err := s.SavePlan(t.Context(), r.ID, "planner", units); err != nil {
		t.Fatal(err)
	}
	var tasks []keyturn.Task
	for page := (keyturn.Page{Limit: 1000}); ; {
		some, next, err := s.Tasks(t.Context(), r.ID, page)
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, some...)
		if next == "" {
			return tasks
		}
		page.After = next
	}
}

// turn records an intent and a success for each task: the unit's key is after-<unit> then.
func turn(t testing.TB, s *sqlite.Store, tasks []keyturn.Task) {
	t.Helper()
	writes := make([]keyturn.IntentWrite, len(tasks))
	for i, task := range tasks {
		writes[i] = keyturn.IntentWrite{
			Task: task.ID, Unit: task.Unit, Owner: "worker-1", Intent: keyturn.Intent{Before: "before-" + task.Unit}, ApplyFor: time.Second, Lease: time.Minute,
		}
	}
	outcomes, err := s.Intend(t.Context(), writes)
	if err != nil {
		t.Fatal(err)
	}
	results := make([]keyturn.TaskResult, len(tasks))
	for i, task := range tasks {
		results[i] = keyturn.TaskResult{
			Task: task.ID, From: keyturn.TaskIntended, Epoch: outcomes[i].Epoch, State: keyturn.TaskSucceeded,
			Resolution: keyturn.ResolutionConfirmed, KeyAfter: "after-" + task.Unit,
		}
	}
	accepted, err := s.Finish(t.Context(), results)
	if err != nil {
		t.Fatal(err)
	}
	for i, ok := range accepted.Taken {
		if !ok {
			t.Fatalf("result of task %s was refused", results[i].Task)
		}
	}
}
