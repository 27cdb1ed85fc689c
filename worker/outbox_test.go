package worker

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestThatAWebhookFailsIsToldToOthers(t *testing.T) {
	t.Parallel()
	hooks := []keyturn.Webhook{
		{Name: "chat"},
		{Name: "pager", Fallback: "mail"},
		{Name: "mail", Events: []string{"rotation.failed"}},
		{Name: "lost", Fallback: "nobody"},
		{Name: "rotations", Events: []string{"rotation.*"}},
	}
	tests := map[string]struct {
		failing string
		want    []string
	}{
		"all others that want alerts":  {"chat", []string{"pager", "lost"}},
		"the fallback only":            {"pager", []string{"mail"}},
		"a fallback that is not there": {"lost", []string{"chat", "pager"}},
		"one that was removed":         {"removed", []string{"chat", "pager", "lost"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fact := keyturn.AlertFact{Kind: keyturn.AlertWebhookFailing, Subject: tc.failing}
			firing := keyturn.Notice{Group: fact.Group().String(), Kind: fact.Kind, State: keyturn.AlertFiring, Alerts: []keyturn.Alert{{Kind: fact.Kind, Subject: fact.Subject}}}
			over := keyturn.Notice{Group: firing.Group, Kind: fact.Kind, State: keyturn.AlertResolved}
			for _, notice := range []keyturn.Notice{firing, over} { // that it is over is told to the same
				var got []string
				for _, d := range route(hooks, []Event{{ID: "1", Type: "alert." + string(notice.State), Notice: &notice}}) {
					got = append(got, d.Webhook)
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("told that it is %s are %v, want %v", notice.State, got, tc.want)
				}
			}
		})
	}
}

func TestEventsOfOneThingShareAnOrder(t *testing.T) {
	t.Parallel()
	a := announcer{source: "/keyturn"}
	events, err := a.add(nil, "alert.firing", "1", keyturn.Notice{}.At, keyturn.Notice{Group: "g"})
	if err != nil {
		t.Fatal(err)
	}
	if events, err = a.add(events, "alert.resolved", "2", keyturn.Notice{}.At, keyturn.Notice{Group: "g"}); err != nil {
		t.Fatal(err)
	}
	if events[0].Order != "alert:g" || events[1].Order != events[0].Order || events[0].Notice == nil {
		t.Errorf("events are %+v", events)
	}
}

func TestRetriesGoFromASecondToADayThenPark(t *testing.T) {
	t.Parallel()
	refused := keyturn.SendResult{Status: 500, Err: errors.New("no"), Whole: true}
	var all, before time.Duration
	attempts := 1
	for ; ; attempts++ {
		r := judge(keyturn.Delivery{Attempts: attempts}, refused)
		if r.State == keyturn.DeliveryParked {
			break
		}
		if r.State != keyturn.DeliveryPending || r.After < before*9/11 || !r.Whole || r.Error != "no" || r.Status != 500 {
			t.Errorf("attempt %d: %+v after %s", attempts, r, before)
		}
		all, before = all+r.After, r.After
	}
	if attempts != 25 || all < 70*time.Hour || all > giveUpAfter || before < 21*time.Hour {
		t.Errorf("parked at attempt %d after %s, the last wait %s", attempts, all, before)
	}
	asked := refused
	asked.RetryAfter = 3 * time.Hour
	if r := judge(keyturn.Delivery{Attempts: 1}, asked); r.After != 3*time.Hour || r.Asked != 3*time.Hour {
		t.Errorf("asked for 3h: %+v", r)
	}
	asked.RetryAfter = 1000 * time.Hour
	if r := judge(keyturn.Delivery{Attempts: 1}, asked); r.After != keyturn.Day {
		t.Errorf("asked for too long: %+v", r)
	}
	gone := keyturn.SendResult{Status: 410, Err: errors.New("gone"), Whole: true, Gone: true}
	if r := judge(keyturn.Delivery{Attempts: 1}, gone); r.State != keyturn.DeliveryParked || !r.Gone {
		t.Errorf("gone: %+v", r)
	}
	if r := judge(keyturn.Delivery{Attempts: 3}, keyturn.SendResult{Status: 204}); r.State != keyturn.DeliveryDelivered || r.Attempts != 3 {
		t.Errorf("taken: %+v", r)
	}
}
