package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// try asks for a page whatever comes of it.
func (s *site) try(path string) *httptest.ResponseRecorder {
	s.t.Helper()
	req := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, path, nil)
	req.AddCookie(s.cookie)
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	return rec
}

func TestCalendarKeepsToMonthsThatCanBeWorkedOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, 40, openSQLite) // its clock is 2026-02-05
	for month, want := range map[string]int{
		"2026-02": http.StatusOK, "2028-02": http.StatusOK, "2028-03": http.StatusNotFound, "2016-02": http.StatusOK, "2016-01": http.StatusNotFound,
		"february": http.StatusNotFound, "": http.StatusOK, "9999-12": http.StatusNotFound,
	} {
		if rec := s.try("/calendar?month=" + month); rec.Code != want {
			t.Errorf("month %q answers %d, want %d", month, rec.Code, want)
		}
	}
}

func TestCalendarHasWhatWasAndWhatComes(t *testing.T) {
	t.Parallel()
	s := newSite(t, 40, openSQLite)
	s.ok(s.store.ApplyResources(t.Context(), []keyturn.ResourceChange{{
		Kind: keyturn.KindPolicy, Name: "nightly",
		Spec: []byte(`{"target":"om","schedule":{"cron":"30 23 14 2 *","timezone":"America/New_York","blackouts":[{"date":"2026-02-20"}]},"alerts":{"warnAfter":"30d"}}`),
	}}))
	_, _, err := s.store.Request(t.Context(), keyturn.Request{Policy: "nightly", Trigger: keyturn.TriggerManual, TriggerID: "1"})
	s.ok(err)
	s.clock.now = s.clock.now.Add(time.Minute)
	page := s.get("/calendar?policy=nightly", false).Body.String()
	for _, want := range []string{"February 2026", `class="event past`, `class="event planned"`, "23:30", "keys are past 30d", "blackout"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	planned := strings.Index(page, `class="event planned"`)
	before := page[:planned]
	if day := before[strings.LastIndex(before, `class="date"`):]; !strings.Contains(day, ">14<") {
		t.Errorf("the slot is not on the day of its time zone: %s", day)
	}
	if other := s.get("/calendar?policy=strict", false).Body.String(); strings.Contains(other, `class="event past`) {
		t.Error("another policy's rotations are shown")
	}
	if before := s.get("/calendar?policy=nightly&month=2025-12", false).Body.String(); strings.Contains(before, `class="event `) {
		t.Error("a month before anything happened has entries")
	}
}

func TestCalendarShadesTheDaysOfThePolicysTimeZone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 40, openSQLite)
	s.ok(s.store.ApplyResources(t.Context(), []keyturn.ResourceChange{{
		Kind: keyturn.KindPolicy, Name: "far",
		Spec: []byte(`{"target":"om","schedule":{"cron":"0 12 * * *","timezone":"Pacific/Auckland","blackouts":[{"date":"2026-02-20"}],` +
			`"windows":[{"days":["mon","tue","wed","thu","fri","sat"],"from":"00:00","to":"24:00"}]}}`),
	}}))
	page := s.get("/calendar?policy=far", false).Body.String()
	cell := regexp.MustCompile(`(?s)<td class="([a-z ]*)">\s*<p class="date"><span[^>]*>(\d+)<`)
	got := map[string][]string{}
	for _, m := range cell.FindAllStringSubmatch(page, -1) {
		if strings.Contains(m[1], "outside") {
			continue
		}
		for class := range strings.FieldsSeq(m[1]) {
			got[class] = append(got[class], m[2])
		}
	}
	// In UTC the blackout would lie on the 19th, too, and no Sunday would be shut the whole day.
	if want := "20"; strings.Join(got["closed"], " ") != want {
		t.Errorf("a blackout shades %v, want %s", got["closed"], want)
	}
	if want := "1 8 15 22"; strings.Join(got["shut"], " ") != want {
		t.Errorf("shut are %v, want the Sundays %s", got["shut"], want)
	}
}
