package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func webhookReplay(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.enqueue("a", "e0", "")
	d := f.wantClaim("e0")[0]
	f.is(f.Replay(f.ctx(), d.ID), keyturn.ErrConflict)
	f.result(d, nil)
	f.ok(f.Replay(f.ctx(), d.ID))
	again := f.wantClaim("e0")[0]
	if again.ID != d.ID || again.Attempts != 1 {
		t.Errorf("replayed as %+v, want the same id and attempts counted anew", again)
	}
	f.is(f.Replay(f.ctx(), keyturn.NewID(f.clock.Now())), keyturn.ErrNotFound)
	got, err := f.Delivery(f.ctx(), d.ID)
	f.ok(err)
	if string(got.Body) != `{"id":"e0"}` {
		t.Errorf("its body is %s", got.Body)
	}
	_, err = f.Delivery(f.ctx(), keyturn.NewID(f.clock.Now()))
	f.is(err, keyturn.ErrNotFound)
}

func webhookReplayParked(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.enqueue("a", "opened", "g")
	f.result(f.wantClaim("opened")[0], parked)
	f.enqueue("a", "closed", "g")
	f.result(f.wantClaim("closed")[0], nil)
	f.enqueue("a", "other", "h")
	f.result(f.wantClaim("other")[0], parked)
	n, err := f.ReplayParked(f.ctx(), "a")
	f.ok(err)
	if n != 1 {
		t.Errorf("replayed %d, want 1", n)
	}
	f.wantClaim("other")
	if d := f.delivery("opened"); d.State != keyturn.DeliveryParked {
		t.Errorf("what is over was replayed: %+v", d)
	}
}

func webhookPrune(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	for _, e := range []string{"e0", "e1", "e2", "parked", "pending"} {
		f.enqueue("a", e, "")
	}
	for _, d := range f.claimDeliveries("a") {
		switch d.EventID {
		case "pending":
		case "parked":
			f.result(d, parked)
		default:
			f.result(d, nil)
		}
	}
	n, err := f.PruneDeliveries(f.ctx(), time.Hour, 2)
	f.ok(err)
	if n != 0 {
		t.Errorf("%d new ones were pruned", n)
	}
	f.clock.Advance(2 * time.Hour)
	for _, want := range []int{2, 1, 0} {
		if n, err = f.PruneDeliveries(f.ctx(), time.Hour, 2); err != nil || n != want {
			t.Errorf("pruned %d, %v, want %d", n, err, want)
		}
	}
	f.delivery("parked")
	f.delivery("pending")
}

func webhookListing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.webhook("b")
	for i := range 5 {
		f.enqueue("a", fmt.Sprintf("e%d", i), "")
	}
	f.enqueue("b", "other", "")
	f.result(f.claimDeliveries("a")[0], parked)
	var got []string
	page := keyturn.Page{Limit: 2}
	for {
		ds, next, err := f.Deliveries(f.ctx(), keyturn.DeliveryFilter{Webhook: "a", Page: page})
		f.ok(err)
		got = append(got, events(ds)...)
		if len(ds) > 0 && ds[0].Body != nil {
			t.Error("a listing shows bodies")
		}
		if next == "" {
			break
		}
		page.After = next
	}
	if !slices.Equal(got, []string{"e4", "e3", "e2", "e1", "e0"}) {
		t.Errorf("listed %v", got)
	}
	ds, _, err := f.Deliveries(f.ctx(), keyturn.DeliveryFilter{State: keyturn.DeliveryParked})
	f.ok(err)
	if !slices.Equal(events(ds), []string{"e0"}) {
		t.Errorf("parked are %v", events(ds))
	}
}

func webhookSchema(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.enqueue("a", "e0", "")
	f.enqueue("a", "e1", "")
	for _, sql := range []string{
		`UPDATE deliveries SET state = 'lost'`,
		`UPDATE deliveries SET state = 'delivered'`,
		`UPDATE deliveries SET state = 'parked', finished_at = created_at`,
		`UPDATE deliveries SET event_id = 'e0'`,
	} {
		if err := f.Exec(f.ctx(), sql); err == nil {
			t.Errorf("%s: was allowed", sql)
		}
	}
}
