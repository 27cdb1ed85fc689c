package worker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// A rotation is saved in part when its window closes, and goes on the next night: that it began long ago is no reason to give up.
func TestPlanner_CountsNoTimeInWhichItsWindowWasClosed(t *testing.T) {
	t.Parallel()
	bundled(t)("GoesOn", 20, func(t *testing.T, b *bundle) {
		slot := keyturn.Slot{Local: "2000-01-01T00:00:00", Timezone: "UTC", At: time.Now()}
		spec := keyturn.ResourceChange{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: []byte(`{"target":"om"}`), Expect: 1, Next: &slot}
		if err := b.store.ApplyResources(t.Context(), []keyturn.ResourceChange{spec}); err != nil {
			t.Fatal(err)
		}
		closes := time.Now().Add(10 * time.Second)
		pass(time.Second)
		fired, err := b.store.FireDue(t.Context(), 10, func(due keyturn.Due, _ time.Time) (keyturn.Firing, error) {
			return keyturn.Firing{Start: []keyturn.Start{{Slot: due.Slot, Opening: keyturn.Opening{Until: &closes, LookAt: &closes}}}}, nil
		})
		if err != nil || len(fired) != 1 {
			t.Fatal(fired, err)
		}
		b.part = 8
		stop := b.startOn("w1", &partStore{Store: b.store, savePart: func(n int64) error {
			if n > 1 {
				return errGone
			}
			return nil
		}})
		pass(9 * time.Second)
		stop()
		b.wantPart(fired[0].ID)
		pass(24 * time.Hour)
		if _, err := b.store.LookAtWindows(t.Context(), 10, func(keyturn.WindowLook, time.Time) (keyturn.Opening, error) {
			return keyturn.Opening{}, nil
		}); err != nil {
			t.Fatal(err)
		}
		asked := 0
		b.system.look = func(keyturn.Selection) ([]keyturn.Unit, error) {
			if asked++; asked == 1 {
				return nil, &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "http_503", Err: errors.New("503")}
			}
			return slices.Clone(b.system.units), nil
		}
		defer b.start("w2")()
		if r := b.await(fired[0].ID, 5*time.Minute); r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != 20 {
			t.Errorf("ended as %s with %+v: %s", r.State, r.Counts, r.Reason)
		}
		b.checkTruth(1)
	})
}
