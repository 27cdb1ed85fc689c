package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
)

func TestFlights_AreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := flights{now: time.Now}
		held := func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(f.by)
		}
		calm, lost, again := keyturn.NewID(time.Now()), keyturn.NewID(time.Now()), keyturn.NewID(time.Now())
		for _, id := range []keyturn.ID{calm, lost, again} {
			if !f.begin(id) || f.begin(id) {
				t.Fatal("a task is worked on twice, or not at all")
			}
		}
		f.sent(lost, time.Minute) // and others go on with it
		f.sent(again, time.Minute)
		for _, id := range []keyturn.ID{calm, lost, again} {
			f.end(id)
		}
		if n := held(); n != 2 || f.settledIn(lost) != time.Minute || f.settledIn(calm) > 0 {
			t.Errorf("%d are held, want those of which nobody knows", n)
		}
		time.Sleep(30 * time.Second)
		f.sent(again, time.Minute)
		time.Sleep(40 * time.Second)
		if n := held(); n != 1 || f.settledIn(again) != 20*time.Second {
			t.Errorf("%d are held, and the one that was sent again settles in %v", n, f.settledIn(again))
		}
		if !f.begin(again) {
			t.Fatal("nobody works on it")
		}
		time.Sleep(time.Minute)
		f.end(again)
		if n := held(); n != 0 {
			t.Errorf("%d are held for ever", n)
		}
	})
}
