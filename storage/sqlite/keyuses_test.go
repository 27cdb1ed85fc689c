package sqlite_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/keyturn/keyturn"
)

// Far more records than one transaction enters are found from the first to the last.
func TestWhoUsedAKeyIsEnteredToTheLastRecord(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyturn.db")
	s := openAt(t, path, nil)
	units := planned(t, s, 1)
	err := contract{Store: s, path: path}.Exec(t.Context(), `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12001)
		INSERT INTO key_records (id, unit_id, key_id, previous_key_id, used_from, origin)
		SELECT printf('%036d', i), '`+units[0].Unit+`', 'key-' || i, '', i, 'observed' FROM n`)
	if err != nil {
		t.Fatal(err)
	}
	asked := []string{"key-1", "key-5000", "key-5001", "key-12001", "key-12002"}
	for range 2 { // entered, and found so
		known, err := s.KnownKeysAmong(t.Context(), "om", asked)
		if err != nil || len(known) != 4 {
			t.Fatalf("known are %v of %v, %v", known, asked, err)
		}
	}
	turn(t, s, units)
	users, err := s.UsersOfKey(t.Context(), "after-"+units[0].Unit, 10)
	if err != nil || len(users) != 1 {
		t.Errorf("users of the key that was made since are %v, %v", users, err)
	}
}

// A key is found as soon as its record is durable, however much is recorded meanwhile; and no reader waits for a pause.
func TestWhoUsesAKeyIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	tasks := planned(t, s, 300)
	var turning sync.WaitGroup
	recorded := make(chan keyturn.Task, len(tasks))
	turning.Go(func() {
		defer close(recorded)
		for _, task := range tasks {
			turn(t, s, []keyturn.Task{task})
			recorded <- task
		}
	})
	defer turning.Wait()
	for task := range recorded {
		users, err := s.UsersOfKey(t.Context(), "after-"+task.Unit, 10)
		if err != nil || len(users) != 1 || users[0] != task.Unit {
			t.Fatalf("users of the key of unit %s are %v, %v", task.Unit, users, err)
		}
		old, _, err := s.RetainedPage(t.Context(), keyturn.KeyFilter{Key: "after-" + task.Unit, Old: true})
		if err != nil || len(old) != 0 {
			t.Fatalf("the key that unit %s uses counts as old: %v, %v", task.Unit, old, err)
		}
	}
}

func TestWhoUsedAKeyIsNotForgotten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyturn.db")
	s := openAt(t, path, nil)
	tasks := planned(t, s, 1)
	turn(t, s, tasks)
	if _, err := s.UsersOfKey(t.Context(), "after-"+tasks[0].Unit, 10); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`DELETE FROM key_uses`,
		`UPDATE key_uses SET key_id = 'other'`,
		`UPDATE key_uses_entered SET seq = 0`,
		`UPDATE key_uses_entered SET seq = seq + 1`,
		`DELETE FROM key_uses_entered`,
	} {
		if err := (contract{Store: s, path: path}).Exec(t.Context(), statement); err == nil {
			t.Errorf("%s is allowed", statement)
		}
	}
}
