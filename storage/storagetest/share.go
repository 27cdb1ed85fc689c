package storagetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// Held returns a fresh store on the real clock, and what makes everybody who writes to its tasks wait until release is called.
type Held func(t *testing.T) (store Store, hold func() (release func()))

// RunShared tests that intents and results that share a transaction are none of each other's business. refuse has statements, by
// name, that make the database refuse the key "bad" with the words "no room for it".
func RunShared(t *testing.T, newStore Held, refuse map[string]string) {
	t.Helper()
	for name, statement := range refuse {
		t.Run("OneFails/"+name, func(t *testing.T) {
			t.Parallel()
			sharedOneFails(t, newStore, statement)
		})
	}
	t.Run("NobodyWaitsForIt", func(t *testing.T) {
		t.Parallel()
		sharedGivenUp(t, newStore)
	})
}

// What shares a transaction with something that can't be written, or committed, is written all the same, and once.
func sharedOneFails(t *testing.T, newStore Held, refuse string) {
	t.Helper()
	const bad, ended = 3, 6
	store, hold := newStore(t)
	f := &fixture{Store: store, t: t, clock: &Clock{}}
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", ended+1)...)
	f.ok(f.Exec(f.ctx(), refuse))
	if out := f.intend(tasks[ended].ID, "key"); out.Verdict != keyturn.VerdictGo {
		t.Fatalf("an intent by itself: %+v", out)
	}
	release := hold()
	out, errs := make([][]keyturn.IntentOutcome, ended), make([]error, ended)
	var writing sync.WaitGroup
	for i := range out {
		before := fmt.Sprint("key-", i)
		if i == bad {
			before = "bad"
		}
		writing.Go(func() { out[i], errs[i] = f.Intend(t.Context(), []keyturn.IntentWrite{f.write(tasks[i].ID, before)}) })
	}
	var finished keyturn.Finished
	var finishErr error
	writing.Go(func() {
		finished, finishErr = f.Finish(t.Context(), []keyturn.TaskResult{succeeded(tasks[ended].ID, 1, "key-after")})
	})
	time.AfterFunc(100*time.Millisecond, release) // most of them wait by then; it is true in any order
	writing.Wait()
	if finishErr != nil || !finished.Taken[0] || len(finished.Told.Records) != 2 {
		t.Errorf("the result: %+v, %v; want it taken, with two key records", finished, finishErr)
	}
	for i := range out {
		switch {
		case i == bad:
			if errs[i] == nil || !strings.Contains(errs[i].Error(), "no room for it") {
				t.Errorf("the intent that can't be written: %+v, %v", out[i], errs[i])
			}
		case errs[i] != nil || out[i][0].Verdict != keyturn.VerdictGo || out[i][0].Epoch != 1:
			t.Errorf("intent %d: %+v, %v; want leave in the first epoch", i, out[i], errs[i])
		}
	}
	if again := f.intend(tasks[bad].ID, "good"); again.Epoch != 1 {
		t.Errorf("the refused one, again: %+v", again)
	}
}

// Nobody waits for a database longer than he wants to.
func sharedGivenUp(t *testing.T, newStore Held) {
	t.Helper()
	store, hold := newStore(t)
	f := &fixture{Store: store, t: t, clock: &Clock{}}
	f.estate()
	_, tasks := f.running("quarterly", makeUnits("om", "p1", 2)...)
	release := hold()
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		_, err := f.Intend(ctx, []keyturn.IntentWrite{f.write(tasks[0].ID, "a")})
		gaveUp <- err
	}()
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	release()
	if out := f.intend(tasks[1].ID, "a"); out.Verdict != keyturn.VerdictGo {
		t.Errorf("the next one: %+v", out)
	}
	// Whether the first was written or not, it is either or.
	if out := f.intend(tasks[0].ID, "a"); out.Verdict != keyturn.VerdictGo && out.Verdict != keyturn.VerdictTaken {
		t.Errorf("the one that was given up, again: %+v", out)
	}
}
