package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
	"github.com/keyturn/keyturn/internal/calendar"
)

func TestScheduleListsSlotsFromAnyTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil) // its clock is 2026-03-28T12:00:00Z
	f.store.AddResource(keyturn.KindPolicy, "nightly", `{"target":"om","schedule":{"cron":"30 2 * * *","timezone":"Europe/Berlin","jitter":"2h"}}`)
	f.store.AddResource(keyturn.KindPolicy, "every", `{"target":"om","schedule":{"cron":"@every 36h"}}`)
	f.store.AddResource(keyturn.KindPolicy, "trigger", `{"target":"om"}`)
	tests := []struct{ path, want string }{
		{"nightly/schedule?next=2", "2026-03-29T02:30:00 Europe/Berlin 2026-03-29T01:00:00Z +02:00 gap: 02:30 does not exist, moved to 03:00; jitter: plus up to 2h for each unit|" +
			"2026-03-30T02:30:00 Europe/Berlin 2026-03-30T00:30:00Z +02:00 jitter: plus up to 2h for each unit"},
		{"nightly/schedule?next=1&from=1999-12-31", "1999-12-31T02:30:00 Europe/Berlin 1999-12-31T01:30:00Z +01:00 jitter: plus up to 2h for each unit"},
		{"nightly/schedule?next=1&from=2400-02-29T01:30:00Z", "2400-02-29T02:30:00 Europe/Berlin 2400-02-29T01:30:00Z +01:00 jitter: plus up to 2h for each unit"},
		{"quarterly/schedule?next=1", "2026-04-01T02:00:00 Europe/Berlin 2026-04-01T00:00:00Z +02:00 "},
		{"every/schedule?next=2", "2026-03-30T00:00:00 UTC 2026-03-30T00:00:00Z +00:00 |2026-03-31T12:00:00 UTC 2026-03-31T12:00:00Z +00:00 "},
		{"trigger/schedule", ""},
	}
	for _, tc := range tests {
		rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/policies/"+tc.path, "")
		if rec.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", tc.path, rec.Code, rec.Body)
		}
		var got []string
		for _, s := range decode[api.ScheduleBody](t, rec).Items {
			got = append(got, strings.Join([]string{s.Local, s.Timezone, s.At.Format(time.RFC3339), s.Offset, s.Note}, " "))
		}
		if strings.Join(got, "|") != tc.want {
			t.Errorf("%s:\n got %q\nwant %q", tc.path, strings.Join(got, "|"), tc.want)
		}
	}
	if rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/policies/quarterly/schedule", ""); len(decode[api.ScheduleBody](t, rec).Items) != 10 {
		t.Errorf("by default %s", rec.Body)
	}
	for path, want := range map[string]int{
		"quarterly/schedule?next=0": http.StatusUnprocessableEntity, "quarterly/schedule?next=10001": http.StatusUnprocessableEntity,
		"quarterly/schedule?from=soon": http.StatusUnprocessableEntity, "none/schedule": http.StatusNotFound,
	} {
		wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/policies/"+path, ""), want)
	}
}

func TestScheduleOfAPolicyWhoseCalendarIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.store.AddResource(keyturn.KindPolicy, "gone", `{"target":"om","schedule":{"cron":"@daily","blackouts":[{"icalFile":"/nowhere.ics"}]}}`)
	rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/policies/gone/schedule", "")
	wantProblem(t, rec, http.StatusConflict)
	if !strings.Contains(rec.Body.String(), "/nowhere.ics") {
		t.Errorf("it does not say which: %s", rec.Body)
	}
}

func TestBackfillAsksOnceForEachSlotWithoutARotation(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.store.AddResource(keyturn.KindPolicy, "nightly", `{"target":"om","schedule":{"cron":"0 2 * * *","timezone":"Europe/Berlin"}}`)
	f.store.AddRotation(keyturn.Rotation{ID: keyturn.NewID(apitest.Epoch()), Policy: "nightly", Slot: "2026-03-26T02:00:00 Europe/Berlin"})
	f.store.AddRotation(keyturn.Rotation{ID: keyturn.NewID(apitest.Epoch()), Policy: "other", Slot: "2026-03-27T02:00:00 Europe/Berlin"})
	ask := func(body string) api.Backfilled {
		t.Helper()
		rec := f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/nightly/backfill", body)
		if rec.Code != http.StatusOK {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		return decode[api.Backfilled](t, rec)
	}
	dry := ask(`{"from":"2026-03-25","dryRun":true}`)
	if dry.Checked != 4 || len(dry.Items) != 3 || dry.Items[0].Rotation != "" || dry.Items[2].Local != "2026-03-28T02:00:00" {
		t.Errorf("dry run: %+v", dry)
	}
	done := ask(`{"from":"2026-03-25","to":"2026-03-28","reason":"outage"}`)
	if len(done.Items) != 2 {
		t.Fatalf("asked for %+v", done)
	}
	id, err := keyturn.ParseID(done.Items[1].Rotation)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.store.Rotation(t.Context(), id)
	if err != nil || r.Trigger != keyturn.TriggerSchedule || r.Slot != "2026-03-27T02:00:00 Europe/Berlin" || r.Reason != "backfill: outage" {
		t.Errorf("rotation %+v, %v", r, err)
	}
	if again := ask(`{"from":"2026-03-25","to":"2099-01-01"}`); again.Checked != 4 || len(again.Items) != 1 {
		t.Errorf("again: %+v", again)
	}
	f.store.AddResource(keyturn.KindPolicy, "every", `{"target":"om","schedule":{"cron":"@every 36h"}}`)
	f.store.AddResource(keyturn.KindPolicy, "minutely", `{"target":"om","schedule":{"cron":"* * * * *"}}`)
	f.store.AddResource(keyturn.KindPolicy, "never", `{"target":"om"}`)
	for _, tc := range []struct{ policy, body, words string }{
		{"every", `{"from":"2026-03-25"}`, "@every"},
		{"minutely", `{"from":"2026-03-01"}`, "slots lie in the range"},
		{"nightly", `{"from":"soon"}`, "body.from"},
		{"nightly", `{"from":"2026-03-25","to":"2026-03-24"}`, "body.to: the range ends before it begins"},
		{"nightly", `{"from":"2026-03-25","to":"2026-03-24T23:00:00Z"}`, "body.to: the range ends before it begins"}, // midnight in Berlin
		{"nightly", `{"from":"2026-04-01","to":"2026-05-01"}`, "in the future"},
		{"never", `{"from":"2026-03-01"}`, `policy "never" has no schedule`},
	} {
		p := wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/"+tc.policy+"/backfill", tc.body), http.StatusUnprocessableEntity)
		if !strings.Contains(p.Detail, tc.words) {
			t.Errorf("%s %s: %q, want %q", tc.policy, tc.body, p.Detail, tc.words)
		}
	}
	// Too many rotations at once, but not too many slots.
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/minutely/backfill", `{"from":"2026-03-27"}`), http.StatusUnprocessableEntity)
}

func TestForecastOfOnePolicyKnowsTheOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	since := apitest.Epoch().Add(-60 * keyturn.Day)
	for i := range 3 {
		f.store.AddUnits(keyturn.Unit{ID: fmt.Sprintf("om.p.u%d", i), Target: "om", ClusterName: fmt.Sprintf("c%d", i), Rotatable: true, KeySince: &since})
	}
	f.store.AddResource(keyturn.KindPolicy, "rare", `{"target":"om","select":{"clusters":["c0"]},"schedule":{"cron":"0 0 1 1 *"}}`)
	f.store.AddResource(keyturn.KindPolicy, "broken", `{"target":"om","schedule":{"cron":"@daily","timezone":"Gone/Zone"}}`)
	for _, tc := range []struct{ path, first, ages string }{
		{"?months=5", "quarterly 2026-04-01T02:00:00 3", "[broken 2026-06-30 3 quarterly 2026-06-30 3 rare 2026-06-30 1]"}, // 91 days after it
		{"?months=5&policy=rare", "", "[rare 2026-06-30 1]"},
		{"?months=20&policy=rare", "rare 2027-01-01T00:00:00 1", "[rare 2026-06-30 1 rare 2026-09-29 1 rare 2026-12-30 1 rare 2027-06-30 1 rare 2027-09-29 1]"},
	} {
		rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/forecast"+tc.path, "")
		if rec.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", tc.path, rec.Code, rec.Body)
		}
		got := decode[calendar.Forecast](t, rec)
		first := ""
		if len(got.Rotations) > 0 {
			first = fmt.Sprint(got.Rotations[0].Policy, " ", got.Rotations[0].Local, " ", got.Rotations[0].Units)
		}
		ages := []string{}
		for _, a := range got.Ages {
			ages = append(ages, fmt.Sprint(a.Policy, " ", a.Day, " ", a.Units))
		}
		if first != tc.first || fmt.Sprint(ages) != tc.ages {
			t.Errorf("%s: first %q, ages %v, want %q, %s", tc.path, first, ages, tc.first, tc.ages)
		}
		if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "policy broken does not fire") {
			t.Errorf("%s: notes %q", tc.path, got.Notes)
		}
	}
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/forecast?policy=none", ""), http.StatusNotFound)
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/forecast?months=121", ""), http.StatusUnprocessableEntity)
}
