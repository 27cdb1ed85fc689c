package scheduler_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// closedDays are the days from a date on, of a policy in Berlin, at whose noon nothing may work.
func closedDays(t *testing.T, tt *scheduler.Timetable, from string, days int) string {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	day, err := time.ParseInLocation("2006-01-02 15", from+" 12", zone)
	if err != nil {
		t.Fatal(err)
	}
	var closed []string
	for range days {
		if open, _ := tt.Open(day); !open {
			closed = append(closed, day.Format("01-02"))
		}
		day = day.AddDate(0, 0, 1)
	}
	return strings.Join(closed, " ")
}

func calendarOf(events ...string) string {
	return "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\n" +
		strings.Join(events, "\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\n") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
}

func TestEventsOfCalendars(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, calendar, from, want string }{
		{"one day", calendarOf("DTSTART;VALUE=DATE:20260703"), "2026-07-01", "07-03"},
		{"days, the end is exclusive", calendarOf("DTSTART;VALUE=DATE:20260703\r\nDTEND;VALUE=DATE:20260705"), "2026-07-01", "07-03 07-04"},
		{"duration", calendarOf("DTSTART;VALUE=DATE:20260703\r\nDURATION:P1W"), "2026-07-01", "07-03 07-04 07-05 07-06 07-07 07-08 07-09"},
		{"time in UTC", calendarOf("DTSTART:20260703T095900Z\r\nDTEND:20260703T100100Z"), "2026-07-01", "07-03"},
		{"time in UTC that is not noon in Berlin", calendarOf("DTSTART:20260703T115900Z\r\nDTEND:20260703T120100Z"), "2026-07-01", ""},
		{"time in a zone", calendarOf("DTSTART;TZID=America/New_York:20260703T055900\r\nDTEND;TZID=America/New_York:20260703T060100"), "2026-07-01", "07-03"},
		{"time from zone to zone", calendarOf("DTSTART;TZID=America/New_York:20260703T055900\r\nDTEND:20260703T100100Z"), "2026-07-01", "07-03"},
		{"floating time is the policy's", calendarOf("DTSTART:20260703T115900\r\nDURATION:PT2M"), "2026-07-01", "07-03"},
		{"without an end it takes no time", calendarOf("DTSTART:20260703T100000Z"), "2026-07-01", ""},
		{"cancelled", calendarOf("DTSTART;VALUE=DATE:20260703\r\nSTATUS:CANCELLED"), "2026-07-01", ""},
		{"weekly", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=WEEKLY;COUNT=3"), "2026-07-01", "07-03 07-10 07-17"},
		{"until, inclusive", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=WEEKLY;UNTIL=20260710"), "2026-07-01", "07-03 07-10"},
		{"until in UTC", calendarOf("DTSTART;TZID=Europe/Berlin:20260703T115900\r\nDURATION:PT1H\r\nRRULE:FREQ=WEEKLY;UNTIL=20260710T095900Z"), "2026-07-01", "07-03 07-10"},
		{"every other week, far away", calendarOf("DTSTART;VALUE=DATE:20200103\r\nRRULE:FREQ=WEEKLY;INTERVAL=2"), "2026-07-01", "07-10 07-24"},
		{"last Friday", calendarOf("DTSTART;VALUE=DATE:20260130\r\nRRULE:FREQ=MONTHLY;BYDAY=-1FR"), "2026-07-01", "07-31"},
		{"yearly on a day of a month", calendarOf("DTSTART;VALUE=DATE:20101125\r\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH"), "2026-11-01", "11-26"},
		{"but not then", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=WEEKLY;COUNT=4\r\nEXDATE;VALUE=DATE:20260710,20260724"), "2026-07-01", "07-03 07-17"},
		{"and also then", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRDATE;VALUE=DATE:20260706,20260708"), "2026-07-01", "07-03 07-06 07-08"},
		{"also then, beside a rule", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=WEEKLY;COUNT=2\r\nRDATE;VALUE=DATE:20260706"), "2026-07-01", "07-03 07-06 07-10"},
		{"one was moved", calendarOf("UID:a\r\nDTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=WEEKLY;COUNT=3",
			"UID:a\r\nRECURRENCE-ID;VALUE=DATE:20260710\r\nDTSTART;VALUE=DATE:20260711"), "2026-07-01", "07-03 07-11 07-17"},
		{"the first counts although the rule names others", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=2"), "2026-07-01", "07-03 07-06 07-13"},
		{"folded lines", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DA\n TE:2026\n\t0703\nEND:VEVENT\nEND:VCALENDAR", "2026-07-01", "07-03"},
		{"what is not an event", "BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:X\nBEGIN:STANDARD\nDTSTART:19701025T030000\nRRULE:FREQ=HOURLY\nEND:STANDARD\nEND:VTIMEZONE\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20260703\nBEGIN:VALARM\nDURATION:PT15M\nTRIGGER:-PT15M\nEND:VALARM\nEND:VEVENT\nEND:VCALENDAR", "2026-07-01", "07-03"},
		{"no events", "BEGIN:VCALENDAR\nEND:VCALENDAR\n", "2026-07-01", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tt := parsed(t, keyturn.Schedule{Cron: "@daily", Timezone: "Europe/Berlin", Blackouts: []keyturn.Blackout{{ICal: tc.calendar}}})
			if got := closedDays(t, tt, tc.from, 31); got != tc.want {
				t.Errorf("closed on %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCalendarsAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, calendar, want string }{
		{"text", "hello", "NAME:VALUE"},
		{"something else", "BEGIN:VCARD\nEND:VCARD\n", "expected BEGIN:VCALENDAR"},
		{"cut off", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20260703\n", "ends within VEVENT"},
		{"crossed", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\nEND:VEVENT\n", "line 3 of the calendar: END:VCALENDAR without its BEGIN"},
		{"no beginning", calendarOf("SUMMARY:x"), "no DTSTART"},
		{"no date", calendarOf("DTSTART:soon"), `DTSTART: "soon" is no day and no time`},
		{"unknown zone", calendarOf("DTSTART;TZID=W. Europe Standard Time:20260703T100000"), `unknown time zone "W. Europe Standard Time"`},
		{"backwards", calendarOf("DTSTART;VALUE=DATE:20260703\r\nDTEND;VALUE=DATE:20260701"), "ends before it begins"},
		{"day and time", calendarOf("DTSTART;VALUE=DATE:20260703\r\nDTEND:20260704T100000Z"), "both be days or both be times"},
		{"duration", calendarOf("DTSTART;VALUE=DATE:20260703\r\nDURATION:soon"), "no duration"},
		{"decades", calendarOf("DTSTART;VALUE=DATE:20260703\r\nDTEND;VALUE=DATE:20560703"), "longer than ten years"},
		{"hourly", calendarOf("DTSTART:20260703T100000Z\r\nRRULE:FREQ=HOURLY"), "FREQ=HOURLY is not understood"},
		{"at hours", calendarOf("DTSTART:20260703T100000Z\r\nRRULE:FREQ=DAILY;BYHOUR=3"), "BYHOUR is not understood"},
		{"interval", calendarOf("DTSTART:20260703T100000Z\r\nRRULE:FREQ=DAILY;INTERVAL=0"), "INTERVAL=0"},
		{"count", calendarOf("DTSTART:20260703T100000Z\r\nRRULE:FREQ=DAILY;COUNT=1000000"), "COUNT=1000000"},
		{"never", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "never recurs"},
		{"a tenth Saturday", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=MONTHLY;BYDAY=10SA"), "BYDAY=10SA"},
		{"a first Saturday of a week", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=WEEKLY;BYDAY=1SA"), "BYDAY=1SA"},
		{"no weekday", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=WEEKLY;BYDAY=XX"), "BYDAY=XX"},
		{"two rules", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=DAILY\r\nRRULE:FREQ=WEEKLY"), "two RRULEs"},
		{"exceptions by rule", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=DAILY\r\nEXRULE:FREQ=WEEKLY"), "EXRULE"},
		{"all that follow", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260703"), "RANGE"},
		{"periods", calendarOf("DTSTART;VALUE=DATE:20260703\r\nRDATE;VALUE=PERIOD:20260703T100000Z/PT1H"), "RDATE"},
		{"too many events", calendarOf(strings.Split(strings.Repeat("DTSTART;VALUE=DATE:20260703|", 5001), "|")...), "more than 5000 events"},
		{"too large", strings.Repeat(" ", 1<<20+1), "larger than"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := scheduler.Parse(keyturn.Schedule{Cron: "@daily", Blackouts: []keyturn.Blackout{{ICal: tc.calendar}}})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "blackouts[0]: ical: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tc.want)
			}
		})
	}
}

// TestCalendarFileIsReadAgain also holds that a file which is gone is an error, and never no blackout.
func TestCalendarFileIsReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "holidays.ics")
	s := keyturn.Schedule{Cron: "@daily", Timezone: "Europe/Berlin", Blackouts: []keyturn.Blackout{{ICalFile: file, Note: "holiday"}}}
	var reader scheduler.Reader
	for i, day := range []string{"20260703", "20260704"} {
		if err := os.WriteFile(file, []byte(calendarOf("DTSTART;VALUE=DATE:"+day)+strings.Repeat("\r\n", i)), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			tt, err := reader.Timetable(s)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := closedDays(t, tt, "2026-07-01", 10), "07-0"+day[7:]; got != want {
				t.Errorf("closed on %q, want %q", got, want)
			}
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Timetable(s); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without the file: %v", err)
	}
}

// FuzzCalendar looks for calendars that panic, or make time go backwards.
func FuzzCalendar(f *testing.F) {
	f.Add(calendarOf("DTSTART;VALUE=DATE:20260703"))
	f.Add(calendarOf("UID:a\r\nDTSTART;TZID=Europe/Berlin:20260703T023000\r\nDURATION:PT90M\r\nRRULE:FREQ=MONTHLY;BYDAY=-1SU;UNTIL=20301231\r\nEXDATE:20260726T003000Z"))
	f.Add(calendarOf("DTSTART;VALUE=DATE:20200229\r\nRRULE:FREQ=YEARLY;INTERVAL=4;BYSETPOS=1;BYYEARDAY=60,-1;WKST=SU"))
	f.Add("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;X=\"a:b;c\";VALUE=DATE:20260703\nDTEND;TZID:\nEND:VEVENT\nEND:VCALENDAR")
	now := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		tt, err := scheduler.Parse(keyturn.Schedule{Cron: "0 */6 * * *", Timezone: "Europe/Berlin", Blackouts: []keyturn.Blackout{{ICal: text}}})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than one line: %q", err)
			}
			return
		}
		if open, until := tt.Open(now); !until.IsZero() && !until.After(now) {
			t.Fatalf("open %t until %s", open, until)
		}
		slot, ok := tt.First(now)
		for range 20 {
			if !ok {
				return
			}
			if open, _ := tt.Open(slot.At); !open {
				t.Fatalf("slot %v in closed time", slot)
			}
			next, more := tt.Next(slot)
			if more && !next.At.After(slot.At) {
				t.Fatalf("slot %v follows %v", next, slot)
			}
			slot, ok = next, more
		}
	})
}
