package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// blocked returns a store with n planned tasks whose writes wait until the returned release.
func blocked(t *testing.T, n int, before string) (s contract, tasks []keyturn.Task, release func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyturn.db")
	s = contract{Store: openAt(t, path, nil), path: path}
	tasks = planned(t, s.Store, n)
	if err := s.Exec(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, tasks, func() {
		if err := errors.Join(tx.Rollback(), other.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func intent(task keyturn.Task, before string) []keyturn.IntentWrite {
	return []keyturn.IntentWrite{{
		Task: task.ID, Owner: "w", Intent: keyturn.Intent{Before: before}, ApplyFor: time.Minute, Lease: time.Minute,
	}}
}

// What shares a transaction with something that can't be written is written all the same, and once.
func TestSharedTransactionOfWhichOneFails(t *testing.T) {
	t.Parallel()
	const refuse = `CREATE TRIGGER refuse BEFORE UPDATE ON tasks WHEN new.key_before = 'bad' BEGIN SELECT RAISE(ABORT, 'no room for it'); END`
	s, tasks, release := blocked(t, 6, refuse)
	out, errs := make([][]keyturn.IntentOutcome, len(tasks)), make([]error, len(tasks))
	var writing sync.WaitGroup
	for i, task := range tasks {
		before := fmt.Sprint("key-", i)
		if i == 3 {
			before = "bad"
		}
		writing.Go(func() { out[i], errs[i] = s.Intend(t.Context(), intent(task, before)) })
	}
	time.AfterFunc(100*time.Millisecond, release) // most of them wait for the writer by then; it is true in any order
	writing.Wait()
	for i := range tasks {
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
}

// Nobody waits for a database longer than he wants to.
func TestSharedTransactionThatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	s, tasks, release := blocked(t, 2, "SELECT 1")
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
