package web_test

import (
	"net/http"
	"net/http/httptest"
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
