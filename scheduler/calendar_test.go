package scheduler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func pointer(t *testing.T, text string) *time.Time {
	t.Helper()
	at := instant(t, text)
	return &at
}

func parsed(t *testing.T, s keyturn.Schedule) *scheduler.Timetable {
	t.Helper()
	tt, err := scheduler.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%+v): %v", s, err)
	}
	return tt
}

// explained lists up to n slots as "name | UTC | notes".
func explained(t *testing.T, s keyturn.Schedule, from string, n int) []string {
	t.Helper()
	tt := parsed(t, s)
	var got []string
	for slot, ok := tt.First(instant(t, from)); ok && len(got) < n; slot, ok = tt.Next(slot) {
		got = append(got, slot.Name()+" | "+slot.At.Format(time.RFC3339)+" | "+strings.Join(tt.Notes(slot), "; "))
	}
	return got
}

func TestRulesMoveSlotsAndSayWhy(t *testing.T) {
	t.Parallel()
	const berlin = "Europe/Berlin"
	nights := []keyturn.Window{{Days: []string{"fri", "sat"}, From: "22:00", To: "05:00"}}
	yearly := "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nDTSTART;VALUE=DATE:20201224\nDTEND;VALUE=DATE:20201227\nRRULE:FREQ=YEARLY\nSUMMARY:Christmas\nEND:VEVENT\nEND:VCALENDAR\n"
	tests := []struct {
		name     string
		schedule keyturn.Schedule
		from     string
		want     []string
	}{
		{"gap after", keyturn.Schedule{Cron: "30 2 * * *", Timezone: berlin}, "2026-03-28T12:00:00Z", []string{
			"2026-03-29T02:30:00 Europe/Berlin | 2026-03-29T01:00:00Z | gap: 02:30 does not exist, moved to 03:00",
			"2026-03-30T02:30:00 Europe/Berlin | 2026-03-30T00:30:00Z | ",
		}},
		{"gap skip", keyturn.Schedule{Cron: "30 2 * * *", Timezone: berlin, Gap: keyturn.GapSkip}, "2026-03-28T00:00:00Z", []string{
			"2026-03-28T02:30:00 Europe/Berlin | 2026-03-28T01:30:00Z | ",
			"2026-03-30T02:30:00 Europe/Berlin | 2026-03-30T00:30:00Z | ",
		}},
		{"gap skip leaves the slot at the end alone", keyturn.Schedule{Cron: "0,30 2,3 * * *", Timezone: berlin, Gap: keyturn.GapSkip}, "2026-03-28T12:00:00Z", []string{
			"2026-03-29T03:00:00 Europe/Berlin | 2026-03-29T01:00:00Z | ",
		}},
		{"gap skip of a day that does not exist", keyturn.Schedule{Cron: "0 5 30 12 *", Timezone: "Pacific/Apia", Gap: keyturn.GapSkip}, "2011-06-01T00:00:00Z", []string{
			"2012-12-30T05:00:00 Pacific/Apia | 2012-12-29T15:00:00Z | ",
		}},
		{"fold last", keyturn.Schedule{Cron: "30 2 * * *", Timezone: berlin, Fold: keyturn.FoldLast}, "2026-10-24T12:00:00Z", []string{
			"2026-10-25T02:30:00 Europe/Berlin | 2026-10-25T01:30:00Z | fold: 02:30 comes twice, this is the second time",
			"2026-10-26T02:30:00 Europe/Berlin | 2026-10-26T01:30:00Z | ",
		}},
		{"fold both", keyturn.Schedule{Cron: "*/30 2 * * *", Timezone: berlin, Fold: keyturn.FoldBoth}, "2026-10-24T12:00:00Z", []string{
			"2026-10-25T02:00:00 Europe/Berlin | 2026-10-25T00:00:00Z | fold: 02:00 comes twice, this is the first time",
			"2026-10-25T02:30:00 Europe/Berlin | 2026-10-25T00:30:00Z | fold: 02:30 comes twice, this is the first time",
			"2026-10-25T02:00:00+01:00 Europe/Berlin | 2026-10-25T01:00:00Z | fold: 02:00 comes twice, this is the second time",
			"2026-10-25T02:30:00+01:00 Europe/Berlin | 2026-10-25T01:30:00Z | fold: 02:30 comes twice, this is the second time",
			"2026-10-26T02:00:00 Europe/Berlin | 2026-10-26T01:00:00Z | ",
		}},
		{"fold both, half an hour", keyturn.Schedule{Cron: "45 1 * * *", Timezone: "Australia/Lord_Howe", Fold: keyturn.FoldBoth}, "2026-04-04T00:00:00Z", []string{
			"2026-04-05T01:45:00 Australia/Lord_Howe | 2026-04-04T14:45:00Z | fold: 01:45 comes twice, this is the first time",
			"2026-04-05T01:45:00+10:30 Australia/Lord_Howe | 2026-04-04T15:15:00Z | fold: 01:45 comes twice, this is the second time",
		}},
		{"bounds", keyturn.Schedule{Cron: "@daily", StartAt: pointer(t, "2026-01-03T00:00:00Z"), EndAt: pointer(t, "2026-01-05T00:00:00Z")}, "2026-01-01T00:00:00Z", []string{
			"2026-01-03T00:00:00 UTC | 2026-01-03T00:00:00Z | ", "2026-01-04T00:00:00 UTC | 2026-01-04T00:00:00Z | ",
		}},
		{"window", keyturn.Schedule{Cron: "0 2 * * *", Timezone: berlin, Windows: nights}, "2026-01-05T12:00:00Z", []string{ // a Monday
			"2026-01-05T02:00:00 Europe/Berlin | 2026-01-09T21:00:00Z | window, moved to 2026-01-09 22:00",
			"2026-01-10T02:00:00 Europe/Berlin | 2026-01-10T01:00:00Z | ",
			"2026-01-11T02:00:00 Europe/Berlin | 2026-01-11T01:00:00Z | ",
			"2026-01-12T02:00:00 Europe/Berlin | 2026-01-16T21:00:00Z | window, moved to 2026-01-16 22:00",
		}},
		{"asked while slots wait for the window", keyturn.Schedule{Cron: "0 2 * * *", Timezone: berlin, Windows: nights}, "2026-01-08T12:00:00Z", []string{
			"2026-01-05T02:00:00 Europe/Berlin | 2026-01-09T21:00:00Z | window, moved to 2026-01-09 22:00",
		}},
		{"window on the day the clocks go forward", keyturn.Schedule{Cron: "0 1 * * *", Timezone: berlin, Windows: []keyturn.Window{{From: "02:15", To: "02:45"}}}, "2026-03-28T12:00:00Z", []string{
			"2026-03-29T01:00:00 Europe/Berlin | 2026-03-30T00:15:00Z | window, moved to 2026-03-30 02:15",
		}},
		{"blackout days", keyturn.Schedule{Cron: "0 2 * * *", Timezone: berlin, Blackouts: []keyturn.Blackout{{From: "2026-12-24", To: "2026-12-26", Note: "Christmas"}}}, "2026-12-23T12:00:00Z", []string{
			"2026-12-24T02:00:00 Europe/Berlin | 2026-12-26T23:00:00Z | blackout: Christmas, moved to 2026-12-27 00:00",
			"2026-12-27T02:00:00 Europe/Berlin | 2026-12-27T01:00:00Z | ",
		}},
		{"blackout without a note, then window", keyturn.Schedule{Cron: "0 2 * * *", Blackouts: []keyturn.Blackout{{Date: "2026-12-24"}}, Windows: []keyturn.Window{{From: "02:00", To: "04:00"}}}, "2026-12-23T12:00:00Z", []string{
			"2026-12-24T02:00:00 UTC | 2026-12-25T02:00:00Z | blackout; window, moved to 2026-12-25 02:00",
			"2026-12-26T02:00:00 UTC | 2026-12-26T02:00:00Z | ",
		}},
		{"iCalendar every year", keyturn.Schedule{Cron: "0 2 25 12 *", Timezone: berlin, Jitter: keyturn.Duration(2 * time.Hour), Blackouts: []keyturn.Blackout{{ICal: yearly}}}, "2030-01-01T00:00:00Z", []string{
			"2030-12-25T02:00:00 Europe/Berlin | 2030-12-26T23:00:00Z | blackout: Christmas, moved to 2030-12-27 00:00; jitter: plus up to 2h for each unit",
			"2031-12-25T02:00:00 Europe/Berlin | 2031-12-26T23:00:00Z | blackout: Christmas, moved to 2031-12-27 00:00; jitter: plus up to 2h for each unit",
		}},
		{"windows are local times of the schedule, not of the prefix", keyturn.Schedule{Cron: "CRON_TZ=Asia/Tokyo 0 9 * * *", Timezone: berlin, Windows: []keyturn.Window{{From: "03:00", To: "04:00"}}}, "2026-01-01T00:00:00Z", []string{
			"2026-01-01T09:00:00 Asia/Tokyo | 2026-01-01T02:00:00Z | window, moved to 03:00",
		}},
		{"every from a start", keyturn.Schedule{Cron: "@every 36h", StartAt: pointer(t, "2026-01-01T06:00:00Z")}, "2026-02-01T00:00:00Z", []string{
			"2026-02-01T18:00:00Z UTC | 2026-02-01T18:00:00Z | ", "2026-02-03T06:00:00Z UTC | 2026-02-03T06:00:00Z | ",
		}},
		{"every from a start long ago", keyturn.Schedule{Cron: "@every 24h", StartAt: pointer(t, "2026-01-01T06:00:00.5Z")}, "9000-02-01T00:00:00Z", []string{
			"9000-02-01T06:00:01Z UTC | 9000-02-01T06:00:01Z | ",
		}},
		{"every waits for its window and keeps step", keyturn.Schedule{Cron: "@every 8h", StartAt: pointer(t, "2026-01-01T00:00:00Z"), Windows: []keyturn.Window{{From: "04:00", To: "09:00"}}}, "2026-01-01T03:00:00Z", []string{
			"2026-01-01T00:00:00Z UTC | 2026-01-01T04:00:00Z | window, moved to 04:00",
			"2026-01-01T08:00:00Z UTC | 2026-01-01T08:00:00Z | ",
			"2026-01-01T16:00:00Z UTC | 2026-01-02T04:00:00Z | window, moved to 2026-01-02 04:00",
			"2026-01-02T08:00:00Z UTC | 2026-01-02T08:00:00Z | ",
		}},
		{"keys that are old enough are looked for every hour", keyturn.Schedule{MaxAge: keyturn.Duration(80 * keyturn.Day)}, "2026-01-01T00:10:00Z", []string{
			"2026-01-01T01:00:00 UTC | 2026-01-01T01:00:00Z | ",
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := len(tc.want)
			if tc.name == "bounds" {
				n++ // and no more
			}
			if got := explained(t, tc.schedule, tc.from, n); fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("\n got %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestScheduleWithoutTimeIsRefused(t *testing.T) {
	t.Parallel()
	daily := "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20200101\nRRULE:FREQ=DAILY\nEND:VEVENT\nEND:VCALENDAR\n"
	tests := []struct {
		name     string
		schedule keyturn.Schedule
		want     string
	}{
		{"bounds without a slot", keyturn.Schedule{Cron: "0 0 1 1 *", StartAt: pointer(t, "2026-01-02T00:00:00Z"), EndAt: pointer(t, "2026-12-31T00:00:00Z")}, "never fires"},
		{"bounds the wrong way round", keyturn.Schedule{Cron: "@daily", StartAt: pointer(t, "2026-01-02T00:00:00Z"), EndAt: pointer(t, "2026-01-01T00:00:00Z")}, "startAt (2026-01-02T00:00:00Z) must be before endAt"},
		{"blackouts up to the end", keyturn.Schedule{Cron: "@daily", EndAt: pointer(t, "2026-12-31T00:00:00Z"), Blackouts: []keyturn.Blackout{{From: "2026-01-01", To: "2026-12-31"}}}, "never fires again"},
		{"blackouts for ever", keyturn.Schedule{Cron: "@hourly", Blackouts: []keyturn.Blackout{{From: "1970-01-01", To: "9999-12-31"}}}, "never fires"},
		{"blackouts every day", keyturn.Schedule{Cron: "@hourly", Blackouts: []keyturn.Blackout{{ICal: daily}}}, "never fires"},
		{"every, in blackouts for ever", keyturn.Schedule{Cron: "@every 1h", Blackouts: []keyturn.Blackout{{ICal: daily}}}, "never fires"},
		{"gap", keyturn.Schedule{Gap: "before"}, `unknown gap "before"`},
		{"fold", keyturn.Schedule{Fold: "twice"}, `unknown fold "twice"`},
		{"window's from", keyturn.Schedule{Windows: []keyturn.Window{{From: "25:00", To: "05:00"}}}, `windows[0]: from: "25:00" is no time of day`},
		{"window's to", keyturn.Schedule{Windows: []keyturn.Window{{From: "22:00", To: "5:00"}}}, `windows[0]: to: "5:00" is no time of day`},
		{"window from the end of a day", keyturn.Schedule{Windows: []keyturn.Window{{From: "24:00", To: "05:00"}}}, `write "00:00"`},
		{"window without time", keyturn.Schedule{Windows: []keyturn.Window{{From: "05:00", To: "05:00"}}}, `from and to are both "05:00"`},
		{"day", keyturn.Schedule{Windows: []keyturn.Window{{Days: []string{"monday"}, From: "05:00", To: "06:00"}}}, `unknown day "monday"`},
		{"blackout's date", keyturn.Schedule{Blackouts: []keyturn.Blackout{{Date: "2026-02-30"}}}, `blackouts[0]: date: "2026-02-30" is no day`},
		{"blackout without an end", keyturn.Schedule{Blackouts: []keyturn.Blackout{{From: "2026-02-01"}}}, "blackouts[0]: to: is missing"},
		{"blackout the wrong way round", keyturn.Schedule{Blackouts: []keyturn.Blackout{{From: "2026-02-02", To: "2026-02-01"}}}, "must be before"},
		{"file that is missing", keyturn.Schedule{Blackouts: []keyturn.Blackout{{ICalFile: "/nowhere/holidays.ics"}}}, "icalFile: reading the calendar"},
		{"file that is none", keyturn.Schedule{Blackouts: []keyturn.Blackout{{ICalFile: "/dev/zero"}}}, "no regular file"},
		{"file that is relative", keyturn.Schedule{Blackouts: []keyturn.Blackout{{ICalFile: "holidays.ics"}}}, "must be absolute"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			err := new(scheduler.Reader).CheckAt(tc.schedule, instant(t, "2026-06-01T00:00:00Z"))
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tc.want)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestScheduleThatHasEndedCanBeRead(t *testing.T) {
	t.Parallel()
	s := keyturn.Schedule{Cron: "@daily", EndAt: pointer(t, "2026-01-05T00:00:00Z")}
	if err := new(scheduler.Reader).CheckAt(s, instant(t, "2026-06-01T00:00:00Z")); err != nil {
		t.Error(err)
	}
	if slot, ok := parsed(t, s).First(instant(t, "2026-06-01T00:00:00Z")); ok {
		t.Errorf("a slot %v after the end", slot)
	}
}

func TestLatestIsTheNewestThatWasMissed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, cron, slot, now, want string // want "": none
	}{
		{"none", "@daily", "2026-01-01T00:00:00Z", "2026-01-01T23:00:00Z", ""},
		{"one", "@daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z"},
		{"many", "@hourly", "2026-01-01T00:00:00Z", "2026-03-01T05:30:00Z", "2026-03-01T05:00:00Z"},
		{"seconds", "* * * * * *", "2026-01-01T00:00:00Z", "2026-01-08T05:30:07.5Z", "2026-01-08T05:30:07Z"},
		{"rare", "0 0 29 2 *", "2020-02-29T00:00:00Z", "2027-01-01T00:00:00Z", "2024-02-29T00:00:00Z"},
		{"a burst long ago", "* * 1 1 *", "2026-01-01T00:00:00Z", "2026-11-01T00:00:00Z", "2026-01-01T23:59:00Z"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			at := instant(t, tc.slot)
			slot := keyturn.Slot{Local: at.Format("2006-01-02T15:04:05"), Timezone: "UTC", At: at}
			got, ok := parsed(t, keyturn.Schedule{Cron: tc.cron}).Latest(slot, instant(t, tc.now))
			if ok != (tc.want != "") || ok && !got.At.Equal(instant(t, tc.want)) {
				t.Errorf("got %v, %t, want %q", got, ok, tc.want)
			}
		})
	}
}

func TestInTimeGoesBeforeTheWindowButNotIntoABlackout(t *testing.T) {
	t.Parallel()
	s := keyturn.Schedule{
		Cron: "0 2 6 1 *", Deadline: keyturn.DeadlineRun,
		Windows:   []keyturn.Window{{Days: []string{"sat"}, From: "22:00", To: "23:00"}},
		Blackouts: []keyturn.Blackout{{Date: "2026-01-06"}},
	}
	tt := parsed(t, s)
	slot, ok := tt.First(instant(t, "2026-01-01T00:00:00Z"))
	if want := instant(t, "2026-01-10T22:00:00Z"); !ok || !slot.At.Equal(want) {
		t.Fatalf("first slot is %v, want at %s", slot, want)
	}
	for _, tc := range []struct{ limit, want string }{
		{"2026-01-20T00:00:00Z", ""},                     // the window is in time
		{"2026-01-08T00:00:00Z", "2026-01-07T00:00:00Z"}, // the blackout's end
		{"2026-01-06T12:00:00Z", ""},                     // only the blackout lies before it
	} {
		moved, ok := tt.InTime(slot, instant(t, tc.limit))
		if ok != (tc.want != "") || ok && !moved.At.Equal(instant(t, tc.want)) || moved.Name() != slot.Name() {
			t.Errorf("before %s: %v, %t, want %q", tc.limit, moved, ok, tc.want)
		}
		if ok && !strings.HasPrefix(strings.Join(tt.Notes(moved), ";"), "deadline: ") {
			t.Errorf("notes are %q", tt.Notes(moved))
		}
	}
}

func TestOpenWithoutRulesIsForEver(t *testing.T) {
	t.Parallel()
	if open, until := parsed(t, keyturn.Schedule{Cron: "@daily"}).Open(time.Now()); !open || !until.IsZero() {
		t.Errorf("open %t until %s", open, until)
	}
}
