package worker

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestRecorded(t *testing.T) {
	t.Parallel()
	of := func(tasks int) keyturn.Told {
		return keyturn.Told{ID: keyturn.NewID(time.Now()), Tasks: make([]keyturn.Task, tasks)}
	}
	t.Run("GivesWhatItHasOnce", func(t *testing.T) {
		t.Parallel()
		var r recorded
		what := of(3)
		r.add(what)
		if got, ok := r.take(what.ID); !ok || len(got.Tasks) != 3 {
			t.Errorf("got %+v, %v", got, ok)
		}
		if _, ok := r.take(what.ID); ok { // a repetition reads the database: the row may have changed
			t.Error("it is there a second time")
		}
	})
	t.Run("KeepsNothingWithoutAnAnnouncement", func(t *testing.T) {
		t.Parallel()
		var r recorded
		r.add(keyturn.Told{})
		if _, ok := r.take(keyturn.ID{}); ok {
			t.Error("it is there")
		}
	})
	t.Run("ForgetsWhatOthersAnnounce", func(t *testing.T) {
		t.Parallel()
		var r recorded
		first := of(100)
		r.add(first)
		var last keyturn.Told
		for range 10 * recordedMost / 100 {
			last = of(100)
			r.add(last)
			kept := 0
			for _, some := range []map[keyturn.ID]keyturn.Told{r.newer, r.older} {
				for _, what := range some {
					kept += len(what.Tasks)
				}
			}
			if kept > recordedMost {
				t.Fatalf("%d tasks are kept, want %d at most", kept, recordedMost)
			}
		}
		if _, ok := r.take(first.ID); ok {
			t.Error("the first is still there")
		}
		if _, ok := r.take(last.ID); !ok {
			t.Error("the last is gone")
		}
	})
}
