package worker_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite"
)

// The database's clock is set forward by an hour while a change is under way: leases seem to have ended, and systems to have settled.
func TestFlights(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		takes, shows time.Duration // how long the call takes, and how long after it the key is turned
		answer       error
		want         keyturn.Resolution
	}{
		"the call goes on":          {takes: 9 * time.Second, want: keyturn.ResolutionConfirmed},
		"the call goes on for long": {takes: 9 * time.Second, answer: errAmbiguous, want: keyturn.ResolutionInferred},
		"the answer was lost":       {takes: time.Second, shows: 20 * time.Second, answer: errAmbiguous, want: keyturn.ResolutionInferred},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, clock := setup(t, 1), &steppedClock{}
				b.close()
				store, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "keyturn.db"), Logger: zaptest.NewLogger(t), Now: clock.now})
				if err != nil {
					t.Fatal(err)
				}
				if err := store.Migrate(t.Context()); err != nil {
					t.Fatal(err)
				}
				b.store = store
				defer b.close()
				b.applyPolicy(`{"target":"om"}`)
				b.system.apply = func(_ string, turn func()) error {
					pass(tt.takes / 2)
					clock.step(time.Hour)
					pass(tt.takes / 2)
					time.AfterFunc(tt.shows, turn)
					pass(time.Millisecond)
					return tt.answer
				}
				defer b.start("w1")()
				r := b.await(b.request("a").ID, 10*time.Minute)
				if task := b.only(r.ID); task.Resolution != tt.want || b.sentTo(task.Unit) != 1 {
					t.Errorf("sent %d times: %+v", b.sentTo(task.Unit), task)
				}
				b.checkTruth(1)
			})
		})
	}
}
