package scheduler_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// list returns up to n slots after from as "local UTC".
func list(t *testing.T, s keyturn.Schedule, from string, n int) []string {
	t.Helper()
	tt, err := scheduler.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%+v): %v", s, err)
	}
	now, err := time.Parse(time.RFC3339, from)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	slot, ok := tt.First(now)
	for ok && len(got) < n {
		got = append(got, slot.Local+" "+slot.At.Format(time.RFC3339))
		slot, ok = tt.Next(slot)
	}
	return got
}

func TestSlots(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, cron, zone, from string
		want                   []string
	}{
		{"gap fires at its end", "30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", []string{
			"2026-03-08T02:30:00 2026-03-08T07:00:00Z", "2026-03-09T02:30:00 2026-03-09T06:30:00Z",
		}},
		{"several slots in one gap fire once, and not again at its end", "*/30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", []string{
			"2026-03-29T02:00:00 2026-03-29T01:00:00Z", "2026-03-29T03:30:00 2026-03-29T01:30:00Z", "2026-03-30T02:00:00 2026-03-30T00:00:00Z",
		}},
		{"slot at the gap's end fires once", "0 3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", []string{
			"2026-03-29T03:00:00 2026-03-29T01:00:00Z", "2026-03-30T03:00:00 2026-03-30T01:00:00Z",
		}},
		{"repeated time fires the first time", "30,45 1 * * *", "America/New_York", "2026-11-01T00:00:00-04:00", []string{
			"2026-11-01T01:30:00 2026-11-01T05:30:00Z", "2026-11-01T01:45:00 2026-11-01T05:45:00Z", "2026-11-02T01:30:00 2026-11-02T06:30:00Z",
		}},
		{"asked in the repeated hour", "30 1 * * *", "America/New_York", "2026-11-01T06:10:00Z", []string{
			"2026-11-02T01:30:00 2026-11-02T06:30:00Z",
		}},
		{"hour after a repeated one", "0 * * * *", "America/New_York", "2026-11-01T05:00:00Z", []string{
			"2026-11-01T02:00:00 2026-11-01T07:00:00Z", "2026-11-01T03:00:00 2026-11-01T08:00:00Z",
		}},
		{"London", "30 1 * * *", "Europe/London", "2026-03-28T12:00:00Z", []string{
			"2026-03-29T01:30:00 2026-03-29T01:00:00Z", "2026-03-30T01:30:00 2026-03-30T00:30:00Z",
		}},
		{"Cairo midnight", "@daily", "Africa/Cairo", "2026-04-23T00:00:00Z", []string{
			"2026-04-24T00:00:00 2026-04-23T22:00:00Z", "2026-04-25T00:00:00 2026-04-24T21:00:00Z",
		}},
		{"Santiago midnight", "0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", []string{
			"2026-09-06T00:00:00 2026-09-06T04:00:00Z", "2026-09-07T00:00:00 2026-09-07T03:00:00Z",
		}},
		{"Havana midnight", "0 0 * * *", "America/Havana", "2026-03-07T12:00:00Z", []string{
			"2026-03-08T00:00:00 2026-03-08T05:00:00Z", "2026-03-09T00:00:00 2026-03-09T04:00:00Z",
		}},
		{"Beirut midnight", "0 0 * * *", "Asia/Beirut", "2026-03-28T12:00:00Z", []string{
			"2026-03-29T00:00:00 2026-03-28T22:00:00Z", "2026-03-30T00:00:00 2026-03-29T21:00:00Z",
		}},
		{"Azores midnight", "0 0 * * *", "Atlantic/Azores", "2026-03-28T12:00:00Z", []string{
			"2026-03-29T00:00:00 2026-03-29T01:00:00Z", "2026-03-30T00:00:00 2026-03-30T00:00:00Z",
		}},
		{"Lord Howe gap of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{
			"2026-10-04T02:15:00 2026-10-03T15:30:00Z", "2026-10-05T02:15:00 2026-10-04T15:15:00Z",
		}},
		{"Lord Howe fold of half an hour", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", []string{
			"2026-04-05T01:45:00 2026-04-04T14:45:00Z", "2026-04-06T01:45:00 2026-04-05T15:15:00Z",
		}},
		{"Apia skipped a day", "0 5 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", []string{
			"2011-12-29T05:00:00 2011-12-29T15:00:00Z", "2011-12-30T05:00:00 2011-12-30T10:00:00Z", "2011-12-31T05:00:00 2011-12-30T15:00:00Z",
		}},
		{"Apia on the day that was skipped", "0 5 30 12 *", "Pacific/Apia", "2011-06-01T00:00:00Z", []string{
			"2011-12-30T05:00:00 2011-12-30T10:00:00Z", "2012-12-30T05:00:00 2012-12-29T15:00:00Z",
		}},
		{"29 February over 2100", "0 0 29 2 *", "", "2096-01-01T00:00:00Z", []string{
			"2096-02-29T00:00:00 2096-02-29T00:00:00Z", "2104-02-29T00:00:00 2104-02-29T00:00:00Z",
		}},
		{"29 February up to 2400", "0 0 29 2 *", "Europe/Berlin", "2396-01-01T00:00:00Z", []string{
			"2396-02-29T00:00:00 2396-02-28T23:00:00Z", "2400-02-29T00:00:00 2400-02-28T23:00:00Z",
		}},
		{"day of month or day of week", "0 0 13 * 5", "UTC", "2026-03-01T00:00:00Z", []string{
			"2026-03-06T00:00:00 2026-03-06T00:00:00Z", "2026-03-13T00:00:00 2026-03-13T00:00:00Z", "2026-03-20T00:00:00 2026-03-20T00:00:00Z",
		}},
		{"seconds", "*/20 * * * * *", "", "2026-01-01T00:00:05.5Z", []string{
			"2026-01-01T00:00:20 2026-01-01T00:00:20Z", "2026-01-01T00:00:40 2026-01-01T00:00:40Z",
		}},
		{"prefix goes before the time zone", "CRON_TZ=Asia/Tokyo 0 9 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", []string{
			"2026-01-02T09:00:00 2026-01-02T00:00:00Z",
		}},
		{"short prefix and descriptor", "TZ=Asia/Tokyo @daily", "", "2026-01-01T00:00:00Z", []string{
			"2026-01-02T00:00:00 2026-01-01T15:00:00Z",
		}},
		{"every", "@every 90m", "Europe/Berlin", "2026-01-01T00:00:00.7Z", []string{
			"2026-01-01T01:30:00Z 2026-01-01T01:30:00Z", "2026-01-01T03:00:00Z 2026-01-01T03:00:00Z",
		}},
		{"every with days", "@every 30d", "", "2026-01-01T00:00:00Z", []string{"2026-01-31T00:00:00Z 2026-01-31T00:00:00Z"}},
		{"last day of a leap year by a rule", "0 12 * * *", "Europe/Berlin", "2048-12-30T12:00:00Z", []string{
			"2048-12-31T12:00:00 2048-12-31T11:00:00Z", "2049-01-01T12:00:00 2049-01-01T11:00:00Z",
		}},
		{"no line", "", "Europe/Berlin", "2026-01-01T00:00:00Z", nil},
		{"the end of years", "0 0 1 1 *", "", "9998-06-01T00:00:00Z", []string{"9999-01-01T00:00:00 9999-01-01T00:00:00Z"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := len(tc.want)
			if tc.name == "the end of years" || n == 0 {
				n++ // and no more
			}
			got := list(t, keyturn.Schedule{Cron: tc.cron, Timezone: tc.zone}, tc.from, n)
			if len(got) != len(tc.want) {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
			for i := range got {
				if got[i] != tc.want[i] {
					t.Errorf("slot %d: got %q, want %q", i, got[i], tc.want[i])
				}
			}
		})
	}
}

func TestSlotNamesItsTimeZone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	tests := []struct{ cron, zone, want string }{
		{"30 2 * * *", "Europe/Berlin", "2026-03-29T02:30:00 Europe/Berlin"},
		{"30 2 * * *", "", "2026-03-29T02:30:00 UTC"},
		{"CRON_TZ=Asia/Tokyo 30 2 * * *", "Europe/Berlin", "2026-03-29T02:30:00 Asia/Tokyo"},
		{"@every 24h", "Europe/Berlin", "2026-03-29T12:00:00Z UTC"},
	}
	for _, tc := range tests {
		tt, err := scheduler.Parse(keyturn.Schedule{Cron: tc.cron, Timezone: tc.zone})
		if err != nil {
			t.Fatal(err)
		}
		if slot, ok := tt.First(now); !ok || slot.Name() != tc.want {
			t.Errorf("%q in %q: got %q, %t, want %q", tc.cron, tc.zone, slot.Name(), ok, tc.want)
		}
	}
}

func TestNextAfter(t *testing.T) {
	t.Parallel()
	berlin := func(cron string) keyturn.Schedule { return keyturn.Schedule{Cron: cron, Timezone: "Europe/Berlin"} }
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	slot := func(local, zone, instant string) keyturn.Slot {
		return keyturn.Slot{Local: local, Timezone: zone, At: at(instant)}
	}
	tests := []struct {
		name     string
		schedule keyturn.Schedule
		slot     keyturn.Slot
		now      string
		want     string
		missed   int
	}{
		{"on time", berlin("0 2 * * *"), slot("2026-01-10T02:00:00", "Europe/Berlin", "2026-01-10T01:00:00Z"), "2026-01-10T01:00:01Z", "2026-01-11T02:00:00", 0},
		{"clock behind the slot", berlin("0 2 * * *"), slot("2026-01-10T02:00:00", "Europe/Berlin", "2026-01-10T01:00:00Z"), "2026-01-01T00:00:00Z", "2026-01-11T02:00:00", 0},
		{"three days down", berlin("0 2 * * *"), slot("2026-01-10T02:00:00", "Europe/Berlin", "2026-01-10T01:00:00Z"), "2026-01-13T12:00:00Z", "2026-01-14T02:00:00", 3},
		{"now is a slot", berlin("0 2 * * *"), slot("2026-01-10T02:00:00", "Europe/Berlin", "2026-01-10T01:00:00Z"), "2026-01-12T01:00:00Z", "2026-01-13T02:00:00", 2},
		{"down for more than is counted", berlin("* * * * * *"), slot("2026-01-10T02:00:00", "Europe/Berlin", "2026-01-10T01:00:00Z"), "2026-02-10T01:00:00.5Z", "2026-02-10T02:00:01", 100},
		{"time zone changed since", berlin("0 2 * * *"), slot("2026-01-10T20:00:00", "Asia/Tokyo", "2026-01-10T11:00:00Z"), "2026-01-10T11:00:00Z", "2026-01-11T02:00:00", 0},
		{"was every", berlin("0 2 * * *"), slot("2026-01-10T11:00:00Z", "UTC", "2026-01-10T11:00:00Z"), "2026-01-10T11:00:00Z", "2026-01-11T02:00:00", 0},
		{"every keeps step", berlin("@every 7s"), slot("2026-01-10T00:00:00Z", "UTC", "2026-01-10T00:00:00Z"), "2026-01-10T00:00:15Z", "2026-01-10T00:00:21Z", 2},
		{"every keeps step over years", berlin("@every 7s"), slot("2020-01-01T00:00:00Z", "UTC", "2020-01-01T00:00:00Z"), "2026-01-10T00:00:00Z", "2026-01-10T00:00:03Z", 100},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tt, err := scheduler.Parse(tc.schedule)
			if err != nil {
				t.Fatal(err)
			}
			next, missed, ok := tt.NextAfter(tc.slot, at(tc.now))
			if !ok || next.Local != tc.want || missed != tc.missed {
				t.Errorf("got %q, %d missed, %t, want %q, %d", next.Local, missed, ok, tc.want, tc.missed)
			}
			if !next.At.After(at(tc.now)) {
				t.Errorf("next slot at %s is not after now", next.At)
			}
		})
	}
}
