package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	sendLease = 30 * time.Second
	giveUp    = 4 * 24 * time.Hour
)

func webhookTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"ToldOncePerEvent":                webhookOnce,
		"OnlyWebhooksThatExist":           webhookExists,
		"ClaimedOnceUntilTheLeaseEnds":    webhookLease,
		"ResultOfAnEarlierClaimIsRefused": webhookFence,
		"OrderWaitsForTheEarlierOne":      webhookOrder,
		"TroubleHoldsAndSuccessWakes":     webhookTrouble,
		"WhatNobodyTookForLongIsParked":   webhookGivesUp,
		"GoneParksAllUntilReplay":         webhookGone,
		"ChangedWebhookIsNotGone":         webhookGoneChanged,
		"RemovedWebhookEndsItsDeliveries": webhookRemoved,
		"ReplaySendsAnew":                 webhookReplay,
		"ReplayOfAllLeavesOutWhatIsOver":  webhookReplayParked,
		"OldOnesArePruned":                webhookPrune,
		"ListingIsPagedNewestFirst":       webhookListing,
		"BadRowsAreRefused":               webhookSchema,
	}
}

func (f *fixture) webhook(name string) {
	f.t.Helper()
	spec := keyturn.Webhook{URL: "https://" + name + ".example.com"}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindWebhook, Name: name, Spec: encode(f.t, spec)}}))
}

// enqueue adds one delivery; the order may be empty.
func (f *fixture) enqueue(webhook, event, order string) {
	f.t.Helper()
	f.ok(f.Enqueue(f.ctx(), []keyturn.Delivery{{
		Webhook: webhook, EventID: event, Event: "alert.firing", Order: order, Body: []byte(`{"id":"` + event + `"}`),
	}}))
}

func (f *fixture) claimDeliveries(webhook string) []keyturn.Delivery {
	f.t.Helper()
	out, err := f.ClaimDeliveries(f.ctx(), webhook, 10, sendLease)
	f.ok(err)
	return out
}

// result records one result.
func (f *fixture) result(d keyturn.Delivery, change func(*keyturn.DeliveryResult)) {
	f.t.Helper()
	r := keyturn.DeliveryResult{ID: d.ID, Attempts: d.Attempts, State: keyturn.DeliveryDelivered, Status: 200}
	if change != nil {
		change(&r)
	}
	f.ok(f.FinishDeliveries(f.ctx(), d.Webhook, []keyturn.DeliveryResult{r}, giveUp))
}

func deliveryFailed(r *keyturn.DeliveryResult) {
	r.State, r.After, r.Status, r.Error, r.Whole = keyturn.DeliveryPending, time.Hour, 503, "it answered 503", true
}

func parked(r *keyturn.DeliveryResult) {
	r.State, r.Status, r.Error = keyturn.DeliveryParked, 400, "it answered 400"
}

// delivery returns the delivery of an event.
func (f *fixture) delivery(event string) keyturn.Delivery {
	f.t.Helper()
	all, _, err := f.Deliveries(f.ctx(), keyturn.DeliveryFilter{})
	f.ok(err)
	for _, d := range all {
		if d.EventID == event {
			return d
		}
	}
	f.t.Fatalf("there is no delivery of %s in %+v", event, all)
	return keyturn.Delivery{}
}

func (f *fixture) state(webhook string) keyturn.WebhookState {
	f.t.Helper()
	states, err := f.WebhookStates(f.ctx())
	f.ok(err)
	for _, s := range states {
		if s.Webhook == webhook {
			return s
		}
	}
	f.t.Fatalf("webhook %s has no state", webhook)
	return keyturn.WebhookState{}
}

func events(ds []keyturn.Delivery) []string {
	out := make([]string, len(ds))
	for i, d := range ds {
		out[i] = d.EventID
	}
	return out
}

// wantClaim claims what is due of the webhook a.
func (f *fixture) wantClaim(want ...string) []keyturn.Delivery {
	f.t.Helper()
	got := f.claimDeliveries("a")
	if !slices.Equal(events(got), want) {
		f.t.Fatalf("claimed %v, want %v", events(got), want)
	}
	return got
}

func webhookOnce(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.webhook("b")
	for range 2 {
		f.ok(f.Enqueue(f.ctx(), []keyturn.Delivery{
			{Webhook: "a", EventID: "e1", Event: "rotation.completed", Order: "r1", Body: []byte(`{"z":1,  "a":2}`)},
			{Webhook: "b", EventID: "e1", Event: "rotation.completed", Order: "r1", Body: []byte(`{}`)},
		}))
	}
	due, err := f.DueWebhooks(f.ctx())
	f.ok(err)
	if !slices.Equal(due, []string{"a", "b"}) {
		t.Errorf("due are %v", due)
	}
	d := f.wantClaim("e1")[0]
	if d.Event != "rotation.completed" || d.Order != "r1" || d.Attempts != 1 || string(d.Body) != `{"z":1,  "a":2}` || d.ID.IsZero() {
		t.Errorf("the delivery is %+v, body %s", d, d.Body)
	}
	f.result(d, nil)
	f.enqueue("a", "e1", "r1")
	f.wantClaim()
	if got := f.delivery("e1"); got.Webhook == "a" && got.State != keyturn.DeliveryDelivered {
		t.Errorf("the delivery is %+v", got)
	}
	if s := f.state("a"); s.Pending != 0 || s.Parked != 0 || s.LastDeliveredAt == nil || s.FailingSince != nil {
		t.Errorf("the state is %+v", s)
	}
	if s := f.state("b"); s.Pending != 1 || s.LastDeliveredAt != nil {
		t.Errorf("the state is %+v", s)
	}
}

func webhookExists(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.enqueue("nobody", "e1", "")
	f.ok(f.Enqueue(f.ctx(), nil))
	all, _, err := f.Deliveries(f.ctx(), keyturn.DeliveryFilter{})
	f.ok(err)
	if len(all) != 0 {
		t.Errorf("deliveries are %+v", all)
	}
}

func webhookLease(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.enqueue("a", "e1", "")
	first := f.wantClaim("e1")[0]
	f.wantClaim()
	f.clock.Advance(sendLease - time.Second)
	f.wantClaim()
	f.clock.Advance(2 * time.Second)
	again := f.wantClaim("e1")[0]
	if again.ID != first.ID || again.Attempts != 2 {
		t.Errorf("after the lease it is %+v, want the same with a second attempt", again)
	}
}

func webhookFence(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.enqueue("a", "e1", "")
	late := f.wantClaim("e1")[0]
	f.clock.Advance(sendLease + time.Second)
	now := f.wantClaim("e1")[0]
	f.result(late, parked)
	if d := f.delivery("e1"); d.State != keyturn.DeliveryPending {
		t.Errorf("a late result made it %s", d.State)
	}
	f.result(now, nil)
	if d := f.delivery("e1"); d.State != keyturn.DeliveryDelivered || d.FinishedAt == nil || d.LastStatus != 200 {
		t.Errorf("it is %+v", d)
	}
}

func webhookOrder(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	for i, order := range []string{"g1", "g1", "g2", "g1", ""} {
		f.enqueue("a", fmt.Sprintf("e%d", i), order)
	}
	got := f.wantClaim("e0", "e2", "e4")
	f.wantClaim() // e1 waits for e0, which somebody has
	f.ok(f.FinishDeliveries(f.ctx(), "a", []keyturn.DeliveryResult{
		{ID: got[0].ID, Attempts: 1, State: keyturn.DeliveryPending, After: time.Minute, Status: 400, Error: "no"},
		{ID: got[1].ID, Attempts: 1, State: keyturn.DeliveryDelivered, Status: 200},
	}, giveUp))
	f.wantClaim() // and until it was delivered
	f.clock.Advance(time.Minute)
	again := f.claimDeliveries("a")
	if len(again) != 2 || again[0].EventID != "e0" || again[1].EventID != "e4" {
		t.Fatalf("claimed %v, want e0, and e4 whose lease ended", events(again))
	}
	f.result(again[0], parked)
	next := f.wantClaim("e1")[0] // or parked
	f.result(next, nil)
	f.wantClaim("e3")
}

func webhookTrouble(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	for i := range 3 {
		f.enqueue("a", fmt.Sprintf("e%d", i), "")
	}
	got := f.wantClaim("e0", "e1", "e2")
	since := f.clock.Now()
	var results []keyturn.DeliveryResult
	for _, d := range got {
		r := keyturn.DeliveryResult{ID: d.ID, Attempts: 1}
		deliveryFailed(&r)
		results = append(results, r)
	}
	f.ok(f.FinishDeliveries(f.ctx(), "a", results, giveUp))
	if s := f.state("a"); s.FailingSince == nil || !s.FailingSince.Equal(since) || s.LastError != "it answered 503" || s.HeldUntil == nil {
		t.Errorf("the state is %+v", s)
	}
	f.enqueue("a", "e3", "")
	f.enqueue("a", "e4", "")
	if due, err := f.DueWebhooks(f.ctx()); err != nil || len(due) != 0 {
		t.Errorf("due are %v, %v: it is held", due, err)
	}
	f.wantClaim()
	f.clock.Advance(time.Second)
	probe := f.wantClaim("e3")[0] // one at a time
	f.result(probe, func(r *keyturn.DeliveryResult) {
		deliveryFailed(r)
		r.Asked = 10 * time.Minute
	})
	f.clock.Advance(10*time.Minute - time.Second)
	f.wantClaim()
	f.clock.Advance(time.Second)
	f.result(f.wantClaim("e4")[0], nil)
	if s := f.state("a"); s.FailingSince != nil || s.HeldUntil != nil || s.LastError != "" {
		t.Errorf("after it took one the state is %+v", s)
	}
	f.wantClaim("e0", "e1", "e2", "e3") // nothing waits any longer
}

func webhookGivesUp(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	for _, e := range []string{"old", "older"} {
		f.enqueue("a", e, "")
	}
	f.clock.Advance(giveUp)
	f.enqueue("a", "new", "")
	got := f.claimDeliveries("a")
	f.result(got[0], deliveryFailed)
	for range 3 { // the claims of the others end with their lease
		f.clock.Advance(time.Minute)
		for _, d := range f.claimDeliveries("a") {
			f.result(d, deliveryFailed)
		}
	}
	if d := f.delivery("new"); d.State != keyturn.DeliveryPending {
		t.Errorf("the new one is %+v", d)
	}
	for _, e := range []string{"old", "older"} {
		if d := f.delivery(e); d.State != keyturn.DeliveryParked || d.LastError == "" {
			t.Errorf("%s is %+v, want it parked", e, d)
		}
	}
	if s := f.state("a"); s.Parked != 2 || s.Pending != 1 {
		t.Errorf("the state is %+v", s)
	}
}

func gone(r *keyturn.DeliveryResult) {
	r.State, r.Status, r.Error, r.Gone = keyturn.DeliveryParked, 410, "it answered 410 Gone", true
}

func webhookGone(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.enqueue("a", "e0", "g")
	f.enqueue("a", "e1", "g")
	f.result(f.wantClaim("e0")[0], gone)
	f.enqueue("a", "e2", "")
	for _, e := range []string{"e0", "e1", "e2"} {
		if d := f.delivery(e); d.State != keyturn.DeliveryParked || d.LastError != "it answered 410 Gone" {
			t.Errorf("%s is %+v, want it parked with the reason", e, d)
		}
	}
	if s := f.state("a"); !s.Gone || s.Parked != 3 {
		t.Errorf("the state is %+v", s)
	}
	n, err := f.ReplayParked(f.ctx(), "a")
	f.ok(err)
	if n != 3 || f.state("a").Gone {
		t.Errorf("replayed %d, state %+v", n, f.state("a"))
	}
	f.wantClaim("e0") // the receiver still counts as in trouble: one at a time
}

func webhookGoneChanged(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.enqueue("a", "e0", "")
	f.result(f.wantClaim("e0")[0], gone)
	spec := keyturn.Webhook{URL: "https://elsewhere.example.com"}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindWebhook, Name: "a", Spec: encode(t, spec), Expect: 1}}))
	f.enqueue("a", "e1", "")
	if s := f.state("a"); s.Gone {
		t.Errorf("the state is %+v", s)
	}
	f.clock.Advance(time.Minute)
	f.wantClaim("e1")
}

func webhookRemoved(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.webhook("a")
	f.webhook("b")
	f.enqueue("a", "e0", "")
	f.enqueue("b", "e1", "")
	f.result(f.claimDeliveries("b")[0], deliveryFailed)
	remove := func(name string) {
		f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindWebhook, Name: name, Expect: 1}}))
	}
	remove("b")
	f.clock.Advance(time.Second)
	f.webhook("b") // another by the same name
	n, err := f.EndDeliveries(f.ctx())
	f.ok(err)
	if n != 1 || f.delivery("e1").State != keyturn.DeliveryEnded || f.delivery("e0").State != keyturn.DeliveryPending {
		t.Errorf("%d ended: %+v, %+v", n, f.delivery("e0"), f.delivery("e1"))
	}
	f.is(f.Replay(f.ctx(), f.delivery("e1").ID), keyturn.ErrConflict)
	remove("b")
	_, err = f.EndDeliveries(f.ctx())
	f.ok(err)
	f.webhook("b")
	if s := f.state("b"); s.FailingSince != nil {
		t.Errorf("a new webhook has the state of an old one: %+v", s)
	}
}
