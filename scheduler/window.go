package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	week = 7 * keyturn.Day
	// maxWindowSteps bounds the search for the next change of a window: each step is one change of a
	// window or of the zone's offset, and no zone ever changed its offset more than a few times a year.
	maxWindowSteps = 200
)

// weekSpan is a stretch of the local week, which begins on Monday at midnight.
type weekSpan struct{ from, to time.Duration }

// weekly are the stretches of the week in which rotations may work: in order,
// apart from each other. Empty: always. An instant is in one when the clock on
// the wall shows a time in it; so a local time that comes twice is in it twice.
type weekly []weekSpan

func parseWindows(windows []keyturn.Window) (weekly, error) {
	var spans []weekSpan
	for i, w := range windows {
		days, from, to, err := ParseWindow(w)
		if err != nil {
			return nil, fmt.Errorf("windows[%d]: %w", i, err)
		}
		for _, day := range days {
			start, end := time.Duration(day)*keyturn.Day+from, time.Duration(day)*keyturn.Day+to
			if to <= from {
				end += keyturn.Day
			}
			spans = append(spans, weekSpan{start, min(end, week)})
			if end > week {
				spans = append(spans, weekSpan{0, end - week})
			}
		}
	}
	merged := mergeWeek(spans)
	if len(merged) == 1 && merged[0] == (weekSpan{0, week}) {
		return nil, nil // always
	}
	return merged, nil
}

func mergeWeek(spans []weekSpan) weekly {
	slices.SortFunc(spans, func(a, b weekSpan) int { return cmp.Compare(a.from, b.from) })
	var merged weekly
	for _, s := range spans {
		if last := len(merged) - 1; last >= 0 && s.from <= merged[last].to {
			merged[last].to = max(merged[last].to, s.to)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// ParseWindow reads a window: the days on which it begins (0 is Monday), and the
// times of day.
func ParseWindow(w keyturn.Window) (days []int, from, to time.Duration, err error) {
	if from, err = parseTimeOfDay(w.From); err != nil {
		return nil, 0, 0, fmt.Errorf("from: %w", err)
	}
	if from == keyturn.Day {
		return nil, 0, 0, fmt.Errorf(`from: "24:00" is the end of a day: write "00:00" and the day after`)
	}
	if to, err = parseTimeOfDay(w.To); err != nil {
		return nil, 0, 0, fmt.Errorf("to: %w", err)
	}
	if from == to {
		return nil, 0, 0, fmt.Errorf(`from and to are both %q: for a whole day write "00:00" to "24:00"`, w.From)
	}
	names := []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	for _, name := range w.Days {
		day := slices.Index(names, name)
		if day < 0 {
			return nil, 0, 0, fmt.Errorf("days: unknown day %q: write mon, tue, wed, thu, fri, sat or sun", name)
		}
		days = append(days, day)
	}
	if len(w.Days) == 0 {
		days = []int{0, 1, 2, 3, 4, 5, 6}
	}
	return days, from, to, nil
}

// parseTimeOfDay reads "22:00".
func parseTimeOfDay(text string) (time.Duration, error) {
	if text == "24:00" {
		return keyturn.Day, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return 0, fmt.Errorf("%.40q is no time of day: write hours and minutes such as \"05:00\"", text)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// at says whether a local time is in a window, how long that was so before it
// and will be so after it, within this week.
func (w weekly) at(local time.Time) (open bool, before, after time.Duration) {
	in := local.Sub(local.Truncate(week)) // the zero time, from which Truncate counts, was a Monday
	from := time.Duration(0)
	for _, s := range w {
		if in < s.from {
			return false, in - from, s.from - in
		}
		if in < s.to {
			return true, in - s.from, s.to - in
		}
		from = s.to
	}
	return false, in - from, week - in
}

// until says whether t is in a window, and up to when that holds at least.
func (w weekly) until(t time.Time, zone *time.Location) (open bool, until time.Time) {
	open, _, after := w.at(localOf(t, zone))
	for range maxWindowSteps {
		next := t.Add(after)
		if end := periodEnd(t.In(zone)); !end.IsZero() && end.Before(next) {
			next = end
		}
		t = next
		var state bool
		if state, _, after = w.at(localOf(t, zone)); state != open {
			break
		}
	}
	return open, t.UTC()
}

// since returns the instant from which on what holds at t held.
func (w weekly) since(t time.Time, zone *time.Location) time.Time {
	open, before, _ := w.at(localOf(t, zone))
	for range maxWindowSteps {
		start := t.Add(-before)
		if p := periodStart(t.In(zone)); p.After(start) {
			start = p
		}
		var state bool
		t = start.Add(-time.Nanosecond)
		if state, before, _ = w.at(localOf(t, zone)); state != open {
			return start.UTC()
		}
	}
	return t.UTC()
}
