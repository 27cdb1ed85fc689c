package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// film is what a clock on the wall showed, minute by minute, and what follows
// from it. It knows nothing of offsets.
type film struct {
	start time.Time
	shown []time.Time
	open  []bool
}

func shoot(zone *time.Location, s keyturn.Schedule, from, to time.Time) *film {
	f := &film{start: from}
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		f.shown = append(f.shown, wall(t, zone))
	}
	for i := range f.shown {
		f.open = append(f.open, len(s.Windows) == 0 || inWindows(s.Windows, f.shown[i]))
	}
	for _, b := range s.Blackouts {
		f.black(b)
	}
	return f
}

// black closes from the first minute that shows the blackout's beginning, or
// later, to the last one that shows a time before its end.
func (f *film) black(b keyturn.Blackout) {
	from, to := b.From, b.To
	if b.Date != "" {
		from, to = b.Date, b.Date
	}
	if len(from) == 10 {
		from += "T00:00"
	}
	if len(to) == 10 {
		to += "T24:00"
	}
	first, last := len(f.shown), -1
	beginning, end := localMinute(from), localMinute(to)
	for i, m := range f.shown {
		if !m.Before(beginning) && first == len(f.shown) {
			first = i
		}
		if m.Before(end) {
			last = i
		}
	}
	for i := first; i <= last; i++ {
		f.open[i] = false
	}
}

// localMinute reads 2026-10-25T02:30, and 2026-10-25T24:00.
func localMinute(text string) time.Time {
	day, clock, _ := strings.Cut(text, "T")
	t, err := time.Parse("2006-01-02", day)
	if err != nil {
		panic(err)
	}
	return t.Add(time.Duration(minuteOf(clock)) * time.Minute)
}

// minuteOf reads 02:30.
func minuteOf(clock string) int {
	return 600*int(clock[0]-'0') + 60*int(clock[1]-'0') + 10*int(clock[3]-'0') + int(clock[4]-'0')
}

func inWindows(windows []keyturn.Window, m time.Time) bool {
	on := func(w keyturn.Window, t time.Time) bool {
		return len(w.Days) == 0 || slices.Contains(w.Days, strings.ToLower(t.Weekday().String()[:3]))
	}
	minute := 60*m.Hour() + m.Minute()
	for _, w := range windows {
		from, to := minuteOf(w.From), minuteOf(w.To)
		switch {
		case from < to && from <= minute && minute < to && on(w, m),
			from > to && from <= minute && on(w, m),
			from > to && minute < to && on(w, m.AddDate(0, 0, -1)):
			return true
		}
	}
	return false
}

// fired lists the slots in (from, to) as "local UTC".
func (f *film) fired(fields *cron.SpecSchedule, s keyturn.Schedule, from, to time.Time) []string {
	last := make(map[time.Time]int)
	for i, m := range f.shown {
		last[m] = i
	}
	var slots []string
	previous, reached := -1, f.shown[0]
	fire := func(i int, m time.Time) {
		for ; i < len(f.shown) && !f.open[i]; i++ {
		}
		at := f.start.Add(time.Duration(i) * time.Minute)
		if i != previous && at.After(from) && at.Before(to) {
			slots = append(slots, m.Format("2006-01-02T15:04:05")+" "+at.UTC().Format(time.RFC3339))
		}
		previous = i
	}
	for i, m := range f.shown {
		again := i > 0 && !m.After(reached)
		var jumped []time.Time
		for g := reached.Add(time.Minute); g.Before(m); g = g.Add(time.Minute) {
			if matches(fields, g) {
				jumped = append(jumped, g)
			}
		}
		if m.After(reached) {
			reached = m
		}
		switch {
		case len(jumped) > 0 && s.Gap != keyturn.GapSkip:
			fire(i, jumped[0])
		case !matches(fields, m),
			s.Fold == keyturn.FoldLast && last[m] != i,
			(s.Fold == "" || s.Fold == keyturn.FoldFirst) && again:
		default:
			fire(i, m)
		}
	}
	return slots
}

// TestRulesEqualTheOracle compares slots under every rule, around the changes of
// every zone's offset, with what looking at the clock minute by minute finds.
func TestRulesEqualTheOracle(t *testing.T) {
	t.Parallel()
	names, err := os.ReadFile("zones.txt")
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(1000)
	for _, name := range strings.Fields(string(names)) {
		seed++
		random := rand.New(rand.NewPCG(seed, 4))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			around := changes(zone, 2026)
			around = append(around, changes(zone, 1995+random.IntN(31))...)
			if len(around) == 0 {
				around = append(around, time.Date(2028, 2, 29, 12, 0, 0, 0, time.UTC))
			}
			compareRules(t, random, name, zone, around[random.IntN(len(around))])
		})
	}
}

func compareRules(t *testing.T, random *rand.Rand, name string, zone *time.Location, change time.Time) {
	t.Helper()
	s := randomRules(random, wall(change, zone))
	s.Cron, s.Timezone = randomLine(random), name
	tt, err := scheduler.Parse(s)
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	parsed, err := cron.ParseStandard(s.Cron)
	if err != nil {
		t.Fatal(err)
	}
	fields, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		t.Fatalf("%q is %T", s.Cron, parsed)
	}
	const margin = 4 * 24 * time.Hour // no closed time of randomRules is longer
	from, to := change.Add(-26*time.Hour), change.Add(26*time.Hour)
	f := shoot(zone, s, from.Add(-margin), to.Add(margin))
	var got []string
	names := make(map[string]bool)
	for slot, ok := tt.First(from); ok && slot.At.Before(to); slot, ok = tt.Next(slot) {
		got = append(got, slot.Local[:19]+" "+slot.At.Format(time.RFC3339))
		if names[slot.Name()] {
			t.Fatalf("%+v: two slots are named %s", s, slot.Name())
		}
		names[slot.Name()] = true
		if again, ok := tt.First(slot.At.Add(-time.Nanosecond)); !ok || again != slot {
			t.Fatalf("%+v: First just before %v is %v", s, slot, again)
		}
	}
	if want := f.fired(fields, s, from, to); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v around %s:\n got %q\nwant %q", s, change, got, want)
	}
	compareOpen(t, random, tt, f, from)
}

// compareOpen asks at some minutes whether rotations may work.
func compareOpen(t *testing.T, random *rand.Rand, tt *scheduler.Timetable, f *film, from time.Time) {
	t.Helper()
	for range 20 {
		at := from.Add(time.Duration(random.IntN(52*60)) * time.Minute)
		i := int(at.Sub(f.start) / time.Minute)
		open, until := tt.Open(at)
		if open != f.open[i] || !until.IsZero() && !until.After(at) {
			t.Fatalf("Open(%s) = %t until %s, want %t", at, open, until, f.open[i])
		}
		for i < len(f.open) && f.open[i] == open {
			i++
		}
		change := f.start.Add(time.Duration(i) * time.Minute)
		if i < len(f.open) && (until.IsZero() || until.After(change) || !open && until.Before(change)) {
			t.Fatalf("Open(%s) = %t until %s, want until %s", at, open, until, change)
		}
	}
}

func randomRules(r *rand.Rand, near time.Time) keyturn.Schedule {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	s := keyturn.Schedule{
		Gap:  keyturn.Gap(pick("", "after", "skip")),
		Fold: keyturn.Fold(pick("", "first", "last", "both")),
	}
	times := []string{"00:00", "00:30", "01:15", "02:00", "02:30", "03:00", "05:00", "12:00", "22:00", "23:45"}
	for range r.IntN(3) {
		w := keyturn.Window{From: pick(times...), To: pick(append(times, "24:00")...)}
		if w.From == w.To {
			w.To = "24:00"
		}
		if r.IntN(3) == 0 {
			w.Days = []string{"sun", "tue", "thu", "sat"}
		}
		s.Windows = append(s.Windows, w)
	}
	for range r.IntN(2) {
		day := near.AddDate(0, 0, r.IntN(3)-1).Format("2006-01-02")
		b := keyturn.Blackout{Date: day}
		if r.IntN(2) == 0 {
			b = keyturn.Blackout{From: day + "T" + pick(times[:5]...), To: day + "T" + pick(times[5:]...)}
		}
		s.Blackouts = append(s.Blackouts, b)
	}
	return s
}
