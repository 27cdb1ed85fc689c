package storagetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func hookTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"EventIsWrittenDownOnce": hookOnce,
		"ListedNewestFirst":      hookListing,
		"OldOnesAreRemoved":      hookPrune,
	}
}

func hookOnce(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	_, err := f.HookRequestOf(f.ctx(), "atlas", "a1:OPEN")
	f.is(err, keyturn.ErrNotFound)
	r := f.request("quarterly")
	want := keyturn.HookRequest{
		Hook: "atlas", EventID: "a1:OPEN", Event: "KEY_OLD", Status: "OPEN", Verdict: keyturn.HookRotated, Rotation: r.ID,
		Excerpt: `{"id":"a1"}`, Remote: "192.0.2.1", Reason: "rule 1",
	}
	f.ok(f.SaveHookRequest(f.ctx(), want))
	second := want
	second.Verdict, second.Rotation = keyturn.HookIgnored, keyturn.ID{}
	f.ok(f.SaveHookRequest(f.ctx(), second))
	got, err := f.HookRequestOf(f.ctx(), "atlas", "a1:OPEN")
	f.ok(err)
	if got.ID.IsZero() || !got.ReceivedAt.Equal(f.clock.Now()) {
		t.Errorf("it is %+v", got)
	}
	got.ID, got.ReceivedAt = keyturn.ID{}, time.Time{}
	if got != want {
		t.Errorf("it is %+v, want %+v", got, want)
	}
	if _, err := f.HookRequestOf(f.ctx(), "other", "a1:OPEN"); !errors.Is(err, keyturn.ErrNotFound) {
		t.Errorf("another hook knows it: %v", err)
	}
}

func hookListing(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	for i := range 3 {
		f.ok(f.SaveHookRequest(f.ctx(), keyturn.HookRequest{Hook: "a", EventID: fmt.Sprint(i), Verdict: keyturn.HookIgnored}))
	}
	f.ok(f.SaveHookRequest(f.ctx(), keyturn.HookRequest{Hook: "b", EventID: "x", Verdict: keyturn.HookIgnored}))
	first, next, err := f.HookRequests(f.ctx(), "a", keyturn.Page{Limit: 2})
	f.ok(err)
	second, end, err := f.HookRequests(f.ctx(), "a", keyturn.Page{Limit: 2, After: next})
	f.ok(err)
	if len(first) != 2 || len(second) != 1 || end != "" || first[0].EventID != "2" || second[0].EventID != "0" || !first[0].Rotation.IsZero() {
		t.Errorf("listed %+v, then %+v and %q", first, second, end)
	}
	all, _, err := f.HookRequests(f.ctx(), "", keyturn.Page{})
	f.ok(err)
	if len(all) != 4 {
		t.Errorf("%d in all", len(all))
	}
}

func hookPrune(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	save := func(event string) {
		f.ok(f.SaveHookRequest(f.ctx(), keyturn.HookRequest{Hook: "a", EventID: event, Verdict: keyturn.HookIgnored}))
	}
	for _, event := range []string{"1", "2", "3"} {
		save(event)
	}
	f.clock.Advance(day)
	save("young")
	f.clock.Advance(time.Millisecond)
	for _, want := range []int{2, 1, 0} {
		if n, err := f.PruneHookRequests(f.ctx(), day, 2); err != nil || n != want {
			t.Errorf("removed %d, %v, want %d", n, err, want)
		}
	}
	left, _, err := f.HookRequests(f.ctx(), "", keyturn.Page{})
	f.ok(err)
	if len(left) != 1 || left[0].EventID != "young" {
		t.Errorf("left are %+v", left)
	}
	save("1") // it is a new one again
	if got, err := f.HookRequestOf(f.ctx(), "a", "1"); err != nil || !got.ReceivedAt.Equal(f.clock.Now()) {
		t.Errorf("it is %+v, %v", got, err)
	}
}
