package calendar_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/calendar"
	"github.com/keyturn/keyturn/scheduler"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func table(t *testing.T, s keyturn.Schedule) *scheduler.Timetable {
	t.Helper()
	tt, err := scheduler.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return tt
}

// subject is a policy with units whose keys are as old as ages say; "-" is unknown, "!" not rotatable.
func subject(t *testing.T, name string, p keyturn.Policy, now time.Time, ages ...string) calendar.Subject {
	t.Helper()
	p.Name = name
	p = p.WithDefaults()
	s := calendar.Subject{Policy: p, Table: table(t, p.Schedule)}
	if first, ok := s.Table.First(now); ok {
		s.First = &first
	}
	for i, age := range ages {
		u := keyturn.Unit{ID: fmt.Sprintf("om.p.u%d", i), Rotatable: !strings.HasPrefix(age, "!")}
		if age != "-" {
			d, err := keyturn.ParseDuration(strings.TrimPrefix(age, "!"))
			if err != nil {
				t.Fatal(err)
			}
			since := now.Add(-d.Std())
			u.KeySince = &since
		}
		s.Units = append(s.Units, u)
	}
	return s
}

func lines(f calendar.Forecast) (rotations, ages []string) {
	for _, r := range f.Rotations {
		rotations = append(rotations, fmt.Sprint(r.Policy, " ", r.Local, " ", r.Units))
	}
	for _, a := range f.Ages {
		ages = append(ages, fmt.Sprint(a.Policy, " ", a.Day, " ", a.Severity, " ", a.Age, " ", a.Units, " ", a.Example))
	}
	return rotations, ages
}

func TestForecast(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-01-01T00:00:00Z")
	yearly := keyturn.Policy{Schedule: keyturn.Schedule{Cron: "0 0 1 7 *"}}
	tests := []struct {
		name      string
		subjects  []calendar.Subject
		months    int
		rotations string
		ages      string
		notes     int
	}{
		{
			"a yearly policy passes 90 days, twice",
			[]calendar.Subject{subject(t, "y", yearly, now, "0s")},
			12,
			"[y 2026-07-01T00:00:00 1]", "[y 2026-04-01 warning 90d 1 om.p.u0 y 2026-09-29 warning 90d 1 om.p.u0]", 0,
		},
		{
			"keys that are old already",
			[]calendar.Subject{subject(t, "y", yearly, now, "400d", "300d")},
			3,
			"[]", "[y 2026-01-01 warning 90d 2 om.p.u0 y 2026-01-01 critical 365d 1 om.p.u0 y 2026-03-07 critical 365d 1 om.p.u1]", 0,
		},
		{
			"a unit that can't be turned",
			[]calendar.Subject{subject(t, "q", keyturn.Policy{Schedule: keyturn.Schedule{Cron: "0 0 1 * *"}}, now, "0s", "!300d")},
			3,
			"[q 2026-02-01T00:00:00 1 q 2026-03-01T00:00:00 1]", "[q 2026-01-01 warning 90d 1 om.p.u1 q 2026-03-07 critical 365d 1 om.p.u1]", 0,
		},
		{
			"an unknown age counts from the first rotation",
			[]calendar.Subject{subject(t, "y", yearly, now, "-")},
			12,
			"[y 2026-07-01T00:00:00 1]", "[y 2026-09-29 warning 90d 1 om.p.u0]", 1,
		},
		{
			"another policy turns the unit in time",
			[]calendar.Subject{
				subject(t, "y", yearly, now, "0s"), subject(t, "m", keyturn.Policy{Schedule: keyturn.Schedule{Cron: "0 0 1 * *"}}, now, "0s"),
			},
			2,
			"[m 2026-02-01T00:00:00 1]", "[]", 0,
		},
		{
			"keys of an age",
			[]calendar.Subject{subject(t, "a", keyturn.Policy{Schedule: keyturn.Schedule{MaxAge: keyturn.Duration(80 * keyturn.Day)}}, now, "0s", "79d", "100d")},
			4,
			"[a 2026-01-01T01:00:00 1 a 2026-01-02T00:00:00 1 a 2026-03-22T00:00:00 1 a 2026-03-22T01:00:00 1 a 2026-03-23T00:00:00 1]", "[a 2026-01-01 warning 90d 1 om.p.u2]", 0,
		},
		{
			"a paused policy turns nothing",
			[]calendar.Subject{subject(t, "y", keyturn.Policy{Paused: true, Schedule: yearly.Schedule}, now, "0s")},
			12,
			"[]", "[y 2026-04-01 warning 90d 1 om.p.u0]", 0,
		},
		{
			"too many slots",
			[]calendar.Subject{subject(t, "s", keyturn.Policy{Schedule: keyturn.Schedule{Cron: "* * * * *"}}, now)},
			12,
			"", "[]", 1,
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f, err := calendar.Make(t.Context(), tc.subjects, now, now.AddDate(0, tc.months, 0))
			if err != nil {
				t.Fatal(err)
			}
			rotations, ages := lines(f)
			if tc.rotations != "" && fmt.Sprint(rotations) != tc.rotations {
				t.Errorf("rotations %q, want %q", rotations, tc.rotations)
			}
			if fmt.Sprint(ages) != tc.ages || len(f.Notes) != tc.notes {
				t.Errorf("ages %q, want %q; notes %q, want %d", ages, tc.ages, f.Notes, tc.notes)
			}
		})
	}
}

func TestForecastAsICalendarCanBeABlackout(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-01-01T00:00:00Z")
	policy := keyturn.Policy{Schedule: keyturn.Schedule{Cron: "0 0 1 7 *", Jitter: keyturn.Duration(2 * time.Hour)}}
	f, err := calendar.Make(t.Context(), []calendar.Subject{subject(t, "quite-a-long-name-of-a-policy; with, signs", policy, now, "0s")}, now, now.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	text := f.ICal(now)
	for line := range strings.SplitSeq(text, "\r\n") {
		if len(line) > 75 {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
	tt := table(t, keyturn.Schedule{Cron: "0 12 1 4 *", Blackouts: []keyturn.Blackout{{ICal: text}}})
	slot, ok := tt.First(now)
	if !ok || !slot.At.Equal(at(t, "2026-04-02T00:00:00Z")) || !strings.Contains(strings.Join(tt.Notes(slot), ""), "warning: keys of quite-a-long-name-of-a-policy; with, signs pass 90d") {
		t.Errorf("slot %v, notes %q, calendar:\n%s", slot, tt.Notes(slot), text)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	from := at(t, "2026-01-01T00:00:00Z")
	freeze := []keyturn.Blackout{{From: "2026-03-15", To: "2026-04-20"}}
	tests := []struct {
		name    string
		policy  keyturn.Policy
		rate    float64
		ok      bool
		highest float64 // days
	}{
		{"monthly", keyturn.Policy{Schedule: keyturn.Schedule{Cron: "0 0 1 * *"}}, 0, true, 31},
		{"yearly is too rare", keyturn.Policy{Schedule: keyturn.Schedule{Cron: "0 0 1 7 *"}}, 0, false, 365},
		{"every slot fails", keyturn.Policy{Schedule: keyturn.Schedule{Cron: "0 0 1 * *"}}, 1, false, 730},
		{"a freeze moves a slot", keyturn.Policy{Schedule: keyturn.Schedule{Cron: "0 0 1 */2 *", Blackouts: freeze}}, 0, true, 62},
		{"a longer freeze makes keys too old", keyturn.Policy{Schedule: keyturn.Schedule{Cron: "0 0 1 */3 *", Blackouts: []keyturn.Blackout{{From: "2026-03-15", To: "2026-04-20"}}}}, 0, false, 110},
		{"at an age", keyturn.Policy{Schedule: keyturn.Schedule{MaxAge: keyturn.Duration(80 * keyturn.Day)}}, 0, true, 80},
		{"at an age, in windows", keyturn.Policy{Schedule: keyturn.Schedule{MaxAge: keyturn.Duration(80 * keyturn.Day), Windows: []keyturn.Window{{Days: []string{"sun"}, From: "02:00", To: "04:00"}}}}, 0, true, 84},
		{"only by trigger", keyturn.Policy{}, 0, true, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := tc.policy.WithDefaults()
			o := calendar.ReplayOptions{From: from, To: from.AddDate(2, 0, 0), Units: 50, FailureRate: tc.rate, Seed: 7}
			got, err := calendar.Replay(t.Context(), p, table(t, p.Schedule), o)
			if err != nil {
				t.Fatal(err)
			}
			again, err := calendar.Replay(t.Context(), p, table(t, p.Schedule), o)
			if err != nil || fmt.Sprint(again.Highest(), again.Turned, again.Failed) != fmt.Sprint(got.Highest(), got.Turned, got.Failed) {
				t.Errorf("the same again is %+v, not %+v: %v", again, got, err)
			}
			if days := got.Highest().Hours() / 24; got.OK != tc.ok || days < tc.highest-1 || days > tc.highest+1 {
				t.Errorf("ok %t after %.1f days, want %t after %.0f: %+v", got.OK, days, tc.ok, tc.highest, got)
			}
		})
	}
}

func TestReplayEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := keyturn.Policy{Schedule: keyturn.Schedule{Cron: "* * * * * *"}}.WithDefaults()
	from := at(t, "2026-01-01T00:00:00Z")
	if _, err := calendar.Replay(ctx, p, table(t, p.Schedule), calendar.ReplayOptions{From: from, To: from.AddDate(100, 0, 0), Units: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := calendar.Slots(ctx, table(t, p.Schedule), from, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-03-29T00:00:00+09:00": "2026-03-28T15:00:00Z",
		"2026-03-29":                "2026-03-28T23:00:00Z",
		"2026-03-29T02:30":          "2026-03-29T01:00:00Z", // in a gap
		"2026-03-29T03:30:00":       "2026-03-29T01:30:00Z",
	} {
		if got, err := calendar.ParseTime(text, "Europe/Berlin"); err != nil || !got.Equal(at(t, want)) {
			t.Errorf("%q is %s, %v, want %s", text, got, err, want)
		}
	}
	if got, err := calendar.ParseTime("tomorrow", "UTC"); err == nil {
		t.Errorf("tomorrow is %s", got)
	}
}
