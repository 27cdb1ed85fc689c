package resource_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
	"github.com/keyturn/keyturn/scheduler"
)

func checkSchedules(s keyturn.Schedule) error {
	return new(scheduler.Reader).CheckAt(s, time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC))
}

func TestSchedulesAreRefusedWhereTheyAreWrong(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, fields, want string }{
		{"cron", `cron: "61 * * * *"`, `f:7:11: spec.schedule.cron: minute field "61"`},
		{"zone", "timezone: Europe/Berln", `f:7:15: spec.schedule.timezone: unknown time zone "Europe/Berln": did you mean Europe/Berlin?`},
		{"gap", "gap: before", `f:7:10: spec.schedule.gap: unknown value "before"`},
		{"fold", "fold: twice", `f:7:11: spec.schedule.fold: unknown value "twice"`},
		{"start", "startAt: tomorrow", `f:7:14: spec.schedule.startAt: "tomorrow" is no instant`},
		{"start that is a day", "startAt: 2026-01-01", "f:7:14: spec.schedule.startAt: "},
		{"end before the start", "{startAt: 2026-02-01T00:00:00Z, endAt: 2026-01-01T00:00:00Z}", "f:7:44: spec.schedule.endAt: must be after startAt"},
		{"jitter", "jitter: 2 hours", `f:7:13: spec.schedule.jitter: "2 hours" is not a duration`},
		{"minInterval", "minInterval: 0s", "spec.schedule.minInterval: must be longer than 0"},
		{"maxAge", "maxAge: 40000d", "spec.schedule.maxAge: must be at most 36500d"},
		{"catchUpWindow", "{catchUp: skip, catchUpWindow: 1d}", "spec.schedule.catchUpWindow: goes with catchUp latest or all"},
		{"window's time", `windows: [{from: "22:00", to: "25:00"}]`, `spec.schedule.windows[0].to: "25:00" is no time of day`},
		{"window's day", `windows: [{days: [monday], from: "22:00", to: "23:00"}]`, `spec.schedule.windows[0].days[0]: unknown value "monday"`},
		{"second window", `windows: [{from: "22:00", to: "23:00"}, {from: "05:00", to: "05:00"}]`, `spec.schedule.windows[1]: from and to are both "05:00"`},
		{"window without an end", `windows: [{from: "22:00"}]`, "spec.schedule.windows[0]: the field to is missing"},
		{"blackout's day", "blackouts: [{date: 2026-02-30}]", `spec.schedule.blackouts[0].date: "2026-02-30" is no day`},
		{"blackout's range", "blackouts: [{from: 2026-02-03, to: 2026-02-01}]", "spec.schedule.blackouts[0]"},
		{"blackout without an end", "blackouts: [{from: 2026-02-03}]", "spec.schedule.blackouts[0]: to: is missing"},
		{"blackout without a time", "blackouts: [{note: x}]", "spec.schedule.blackouts[0]: says no time"},
		{"blackout with two", "blackouts: [{date: 2026-02-03, icalFile: /x.ics}]", "spec.schedule.blackouts[0]: says its time in more than one way (date, icalFile)"},
		{"calendar", "blackouts: [{ical: hello}]", `spec.schedule.blackouts[0].ical: line 1 of the calendar`},
		{"calendar's file", "blackouts: [{icalFile: /nowhere.ics}]", "spec.schedule.blackouts[0].icalFile: reading the calendar"},
		{"calendar's file, relative", "blackouts: [{icalFile: x.ics}]", "spec.schedule.blackouts[0].icalFile: the path must be absolute"},
		{"no slot between the bounds", `{cron: "0 0 1 1 *", startAt: 2026-02-01T00:00:00Z, endAt: 2026-12-01T00:00:00Z}`, "spec.schedule: cron line \"0 0 1 1 *\" never fires"},
		{"no slot to come", `{cron: "@daily", endAt: 2026-12-01T00:00:00Z, blackouts: [{from: 2026-01-01, to: 2026-12-31}]}`, "spec.schedule: cron line \"@daily\" never fires again"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			text := policy("  schedule:\n    " + tc.fields + "\n")
			docs, err := resource.Parse("f", []byte(text), resource.Options{CheckSchedule: checkSchedules})
			all, ok := errors.AsType[resource.Errors](err)
			if !ok || docs != nil || len(all) != 1 || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want one error: %s", err, tc.want)
			}
		})
	}
}

func TestScheduleWithEveryField(t *testing.T) {
	t.Parallel()
	text := policy(`  schedule:
    cron: "0 2 1 * *"
    timezone: Europe/Berlin
    gap: skip
    fold: both
    startAt: 2026-01-01T00:00:00Z
    endAt: "2030-01-01T00:00:00+01:00"
    windows: [{days: [sat, sun], from: "22:00", to: "05:00"}, {from: "00:00", to: "24:00"}]
    blackouts:
      - {date: 2026-12-24, note: Christmas}
      - {from: 2026-12-20, to: 2027-01-06}
      - {from: 2026-12-20T18:00, to: 2027-01-06T06:00}
      - ical: |
          BEGIN:VCALENDAR
          BEGIN:VEVENT
          DTSTART;VALUE=DATE:20260501
          RRULE:FREQ=YEARLY
          END:VEVENT
          END:VCALENDAR
    deadline: run
    jitter: 2h
    catchUp: all
    catchUpWindow: 1d
    overlap: cancel
    minInterval: 1d
    maxAge: 80d
`)
	docs, err := resource.Parse("f", []byte(text), resource.Options{CheckSchedule: checkSchedules})
	if err != nil {
		t.Fatal(err)
	}
	p, err := resource.Policy(docs[0])
	if err != nil {
		t.Fatal(err)
	}
	s := p.Schedule
	if s.Gap != keyturn.GapSkip || s.Fold != keyturn.FoldBoth || s.StartAt == nil || s.EndAt == nil || len(s.Windows) != 2 || len(s.Blackouts) != 4 ||
		s.Deadline != keyturn.DeadlineRun || s.Jitter.Std() != 2*time.Hour || s.CatchUp != keyturn.CatchUpAll || s.Overlap != keyturn.OverlapCancel ||
		s.MaxAge.Std() != 80*keyturn.Day {
		t.Errorf("read %+v", s)
	}
}
