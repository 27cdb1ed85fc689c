package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// oracle lists slots the slow way: it steps through the minutes, looks at the
// clock on the wall, and fires once whenever the clock shows for the first time
// that a matching minute has come or was jumped over.
func oracle(fields *cron.SpecSchedule, zone *time.Location, from, to time.Time) []string {
	var fired []string
	reached := wall(from.Add(-2*24*time.Hour), zone)
	for t := from.Add(-2 * 24 * time.Hour); t.Before(to); t = t.Add(time.Minute) {
		shown, first := wall(t, zone), ""
		for m := reached.Add(time.Minute); !m.After(shown); m = m.Add(time.Minute) {
			if first == "" && matches(fields, m) {
				first = m.Format("2006-01-02T15:04:05")
			}
		}
		if shown.After(reached) {
			reached = shown
		}
		if first != "" && t.After(from) {
			fired = append(fired, first+" "+t.UTC().Format(time.RFC3339))
		}
	}
	return fired
}

func wall(t time.Time, zone *time.Location) time.Time {
	l := t.In(zone)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
}

func matches(s *cron.SpecSchedule, t time.Time) bool {
	if s.Minute>>t.Minute()&1 == 0 || s.Hour>>t.Hour()&1 == 0 || s.Month>>int(t.Month())&1 == 0 {
		return false
	}
	dom, dow := s.Dom>>t.Day()&1 == 1, s.Dow>>int(t.Weekday())&1 == 1
	if s.Dom>>63 == 1 || s.Dow>>63 == 1 {
		return dom && dow
	}
	return dom || dow
}

// TestSlotsEqualTheOracle compares the slots around every change of a zone's
// offset, in every zone, with what stepping through the minutes finds.
func TestSlotsEqualTheOracle(t *testing.T) {
	t.Parallel()
	names, err := os.ReadFile("zones.txt")
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(0)
	for _, name := range strings.Fields(string(names)) {
		seed++
		random := rand.New(rand.NewPCG(seed, 2026))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatalf("zones.txt names a zone that does not exist: %v", err)
			}
			// What the tables hold, what the rules after them say, and a leap year's end.
			windows := []time.Time{time.Date(2048, 12, 31, 12, 0, 0, 0, time.UTC)}
			windows = append(windows, changes(zone, 2026)...)
			windows = append(windows, changes(zone, 2000+random.IntN(26))...)
			windows = append(windows, changes(zone, 2040+random.IntN(60))...)
			for _, change := range windows {
				compare(t, randomLine(random), name, zone, change)
			}
		})
	}
}

func compare(t *testing.T, line, name string, zone *time.Location, change time.Time) {
	t.Helper()
	tt, err := scheduler.Parse(keyturn.Schedule{Cron: line, Timezone: name})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := cron.ParseStandard(line)
	if err != nil {
		t.Fatal(err)
	}
	fields, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		t.Fatalf("%q is %T", line, parsed)
	}
	from, to := change.Add(-26*time.Hour), change.Add(26*time.Hour)
	var got []string
	for slot, ok := tt.First(from); ok && slot.At.Before(to); slot, ok = tt.Next(slot) {
		got = append(got, slot.Local+" "+slot.At.Format(time.RFC3339))
		// Whoever asks only now, without having seen the slots before, gets the same one.
		if again, ok := tt.First(slot.At.Add(-time.Nanosecond)); !ok || again != slot {
			t.Fatalf("%q in %s: First just before %v is %v", line, name, slot, again)
		}
	}
	if want := oracle(fields, zone, from, to); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q in %s around %s:\n got %q\nwant %q", line, name, change, got, want)
	}
}

// changes returns the hours of a year in which the zone's offset changes.
func changes(zone *time.Location, year int) []time.Time {
	var found []time.Time
	t := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
	_, before := t.In(zone).Zone()
	for ; t.Year() == year; t = t.Add(time.Hour) {
		if _, now := t.In(zone).Zone(); now != before {
			found, before = append(found, t), now
		}
	}
	return found
}

func randomLine(r *rand.Rand) string {
	minutes := []string{"0", "30", "15,45", "*/20", "*/7", "59", "1-5", "*"}
	hours := []string{"*", "0", "1", "2", "3", "23", "0-3", "*/2", "1,2,3"}
	days := []string{"* * *", "* * *", "* * 0,6", "1-15 * 5", "*/2 * *", "* 3,4,9-11 *"}
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	return pick(minutes) + " " + pick(hours) + " " + pick(days)
}
