package scheduler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, cron, zone, want string }{
		{"day that never comes", "0 0 30 2 *", "", "never fires"},
		{"31 in short months only", "0 0 31 2,4,6,9,11 *", "", "never fires"},
		{"near zone", "0 2 * * *", "Europe/Berln", "did you mean Europe/Berlin?"},
		{"zone in lower case", "0 2 * * *", "europe/berlin", "did you mean Europe/Berlin?"},
		{"only the city", "0 2 * * *", "Berlin", "did you mean Europe/Berlin?"},
		{"far zone", "0 2 * * *", "Middle-earth/Shire", "unknown time zone"},
		{"machine's zone", "0 2 * * *", "Local", "depends on the machine"},
		{"leap second zone", "0 2 * * *", "right/Europe/Berlin", "write it without"},
		{"path as zone", "0 2 * * *", "../../etc/passwd", "unknown time zone"},
		{"zone of an empty line", "", "Europe/Berln", "did you mean"},
		{"minute", "60 2 * * *", "", `minute field "60"`},
		{"hour", "0 24 * * *", "", `hour field "24"`},
		{"day of month", "0 2 32 * *", "", `day of month field "32"`},
		{"month", "0 2 1 13 *", "", `month field "13"`},
		{"day of week", "0 2 * * 7", "", `day of week field "7"`},
		{"second", "61 0 2 * * *", "", `seconds field "61"`},
		{"step of zero", "*/0 2 * * *", "", `minute field "*/0"`},
		{"backward range", "0 5-2 * * *", "", `hour field "5-2"`},
		{"empty list", ", * * * *", "", "empty element"},
		{"hole in a list", "1,,2 * * * *", "", "empty element"},
		{"star with an end", "*-5 * * * *", "", "no value, range or step"},
		{"huge number", "99999999999999999999 * * * *", "", `minute field`},
		{"four fields", "0 2 * *", "", "4 fields"},
		{"seven fields", "0 0 2 * * * 2026", "", "7 fields"},
		{"prefix without a line", "CRON_TZ=UTC", "", "a space and the fields"},
		{"prefix that is no zone", "TZ=0", "", "a space and the fields"},
		{"prefix without a zone", "TZ= 0 2 * * *", "", "a space and the fields"},
		{"two prefixes", "TZ=UTC CRON_TZ=UTC 0 2 * * *", "", "two time zones"},
		{"bad prefix", "TZ=Mars/Base 0 2 * * *", "", "unknown time zone"},
		{"descriptor", "@fortnightly", "", "known are"},
		{"every nothing", "@every", "", "@every"},
		{"every word", "@every day", "", "@every"},
		{"every less than a second", "@every 10ms", "", "whole seconds"},
		{"every part of a second", "@every 1500ms", "", "whole seconds"},
		{"every backwards", "@every -5s", "", "@every"},
		{"every century", "@every 40000d", "", "at most"},
		{"long", strings.Repeat("0,", 300) + "0 * * * *", "", "characters"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := scheduler.Parse(keyturn.Schedule{Cron: tc.cron, Timezone: tc.zone})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

// FuzzParse looks for lines that panic, never end, or whose slots don't move on.
func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"0 2 1 */3 *", "*/20 * * * * *", "@daily", "@every 1h", "CRON_TZ=Asia/Tokyo 0 9 * * *", "TZ=0", "CRON_TZ=UTC",
		"0 0 29 2 *", "0 0 30 2 *", ", , , , ,", "*-5 * * * *", "? ? ? ? ?", "0 0 13 * 5", "TZ=", "@", "*/99999999999 * * * *",
	} {
		f.Add(line, "Europe/Berlin")
	}
	f.Add("0 0 * * *", "Africa/Cairo")
	f.Add("15 2 * * *", "Australia/Lord_Howe")
	now := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, line, zone string) {
		tt, err := scheduler.Parse(keyturn.Schedule{Cron: line, Timezone: zone})
		if err != nil {
			return
		}
		slot, ok := tt.First(now)
		if ok && !slot.At.After(now) {
			t.Fatalf("first slot %v is not after %v", slot, now)
		}
		for range 5 {
			next, more := tt.Next(slot)
			if !ok || !more {
				return
			}
			if !next.At.After(slot.At) || next.Local <= slot.Local {
				t.Fatalf("slot %v follows %v", next, slot)
			}
			slot = next
		}
	})
}
