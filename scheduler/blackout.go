package scheduler

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	dayLayout    = "2006-01-02"
	minuteLayout = "2006-01-02T15:04"
)

// span is a stretch of time, to exclusive.
type span struct {
	from, to time.Time
	note     string
}

func (s span) covers(t time.Time) bool { return !t.Before(s.from) && t.Before(s.to) }

// spans are in order and apart from each other.
type spans []span

func mergeSpans(all []span) spans {
	slices.SortStableFunc(all, func(a, b span) int { return a.from.Compare(b.from) })
	var merged spans
	for _, s := range all {
		if !s.from.Before(s.to) {
			continue
		}
		if last := len(merged) - 1; last >= 0 && !s.from.After(merged[last].to) {
			merged[last].to = latest(merged[last].to, s.to)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// covering returns the span that t is in.
func (s spans) covering(t time.Time) (span, bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].to.After(t) })
	if i == len(s) || s[i].from.After(t) {
		return span{}, false
	}
	return s[i], true
}

// after returns the first beginning of a span after t.
func (s spans) after(t time.Time) (time.Time, bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].from.After(t) })
	if i == len(s) {
		return time.Time{}, false
	}
	return s[i].from, true
}

// ParseBlackout reads the days or local times of a blackout, as the instants
// with the same digits in UTC, to exclusive. ok is false if it has none.
func ParseBlackout(b keyturn.Blackout) (from, to time.Time, ok bool, err error) {
	switch {
	case b.Date != "":
		if from, err = time.Parse(dayLayout, b.Date); err != nil {
			return from, to, false, fmt.Errorf("date: %.40q is no day: write one such as 2026-12-24", b.Date)
		}
		return from, from.AddDate(0, 0, 1), true, nil
	case b.From == "" && b.To == "":
		return from, to, false, nil
	}
	if from, err = parseLocal(b.From, 0); err != nil {
		return from, to, false, fmt.Errorf("from: %w", err)
	}
	if to, err = parseLocal(b.To, 1); err != nil {
		return from, to, false, fmt.Errorf("to: %w", err)
	}
	if !from.Before(to) {
		return from, to, false, fmt.Errorf("from (%s) must be before to (%s)", b.From, b.To)
	}
	return from, to, true, nil
}

// parseLocal reads a day, or the one plus days after it, or a local time.
func parseLocal(text string, plus int) (time.Time, error) {
	if t, err := time.Parse(dayLayout, text); err == nil {
		return t.AddDate(0, 0, plus), nil
	}
	for _, layout := range []string{minuteLayout, localLayout} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if text == "" {
		return time.Time{}, fmt.Errorf("is missing: write a day such as 2026-12-24")
	}
	return time.Time{}, fmt.Errorf("%.40q is no day and no local time: write one such as 2026-12-24 or 2026-12-24T18:00", text)
}

// span is the stretch of time from the first moment at which the zone's clock
// shows from or later to the last one before it shows to for good.
func localSpan(from, to time.Time, zone *time.Location, note string) span {
	return span{from: instantOf(from, zone), to: pastOf(to, zone), note: note}
}

// blackouts are the times at which nothing may work.
type blackouts struct {
	fixed     spans // merged
	all       []span
	recurring *recurring // nil: none
}

func (r *Reader) blackouts(list []keyturn.Blackout, zone *time.Location) (*blackouts, error) {
	b := &blackouts{}
	var events []recurrence
	for i, entry := range list {
		from, to, ok, err := ParseBlackout(entry)
		if err != nil {
			return nil, fmt.Errorf("blackouts[%d]: %w", i, err)
		}
		if ok {
			b.all = append(b.all, localSpan(from, to, zone, entry.Note))
		}
		calendar, err := r.calendarOf(entry)
		if err != nil {
			return nil, fmt.Errorf("blackouts[%d]: %w", i, err)
		}
		for _, e := range calendar {
			note := strings.TrimSpace(entry.Note)
			if note == "" {
				note = e.summary
			}
			if e.rule == nil {
				b.all = append(b.all, e.span(e.start, zone, note))
				for _, date := range e.dates {
					b.all = append(b.all, e.span(date, zone, note))
				}
				continue
			}
			events = append(events, recurrence{event: e, zone: zone, note: note})
		}
	}
	b.fixed = mergeSpans(slices.Clone(b.all))
	if len(events) > 0 {
		b.recurring = &recurring{events: events}
	}
	return b, nil
}

func (b *blackouts) empty() bool { return len(b.fixed) == 0 && b.recurring == nil }

// covering returns the blackout that t is in, as long as it is known to last.
func (b *blackouts) covering(t time.Time) (span, bool) {
	if s, ok := b.fixed.covering(t); ok {
		return s, true
	}
	if b.recurring == nil {
		return span{}, false
	}
	return b.recurring.year(t.UTC().Year()).merged.covering(t)
}

// after returns the first beginning of a blackout after t, or the instant up to
// which there is none; zero: there is none.
func (b *blackouts) after(t time.Time) time.Time {
	first, ok := b.fixed.after(t)
	if b.recurring == nil {
		return first
	}
	const ahead = 3 // years
	year := t.UTC().Year()
	bound := time.Date(year+ahead, 1, 1, 0, 0, 0, 0, time.UTC)
	for y := year; y < year+ahead; y++ {
		if s, found := b.recurring.year(y).merged.after(t); found {
			bound = s
			break
		}
	}
	if ok && first.Before(bound) {
		return first
	}
	return bound
}

// notes returns what is said about the blackouts that t is in.
func (b *blackouts) notes(t time.Time) []string {
	all := b.all
	if b.recurring != nil {
		all = slices.Concat(all, b.recurring.year(t.UTC().Year()).all)
	}
	var notes []string
	for _, s := range all {
		if s.covers(t) && !slices.Contains(notes, s.note) {
			notes = append(notes, s.note)
		}
	}
	return notes
}
