package scheduler

import (
	"time"

	"github.com/keyturn/keyturn"
)

const (
	// searchSpans bounds the search for a local time that a line matches. robfig's Next gives up after five
	// years; the longest pause of any cron line is eight (29 February across a year such as 2100).
	searchSpans = 4
	// lastYear is the last one that RFC 3339 can write.
	lastYear = 9999
	// maxPeriods bounds the search through a zone's periods of one offset. A line whose local times all fall
	// into gaps that are skipped may search in vain.
	maxPeriods = 10_000
)

// firing is a local time of a cron line and the instant at which it comes.
type firing struct {
	local  time.Time // as the instant that has the same digits in UTC
	at     time.Time
	offset time.Duration // of local from UTC; 0 in a gap
	second bool          // local came before: this is its second coming
}

// period is a stretch of time of one offset from UTC.
type period struct {
	start, end time.Time     // end zero: for ever
	offset     time.Duration // from UTC
	// shown is what the zone's clock showed before start, exclusive: it is before start's local time after
	// a gap, and after it after the clock was set back.
	shown time.Time
}

func periodAt(t time.Time, zone *time.Location) period {
	t = t.UTC()
	p := period{start: t, offset: offsetAt(t, zone), end: periodEnd(t.In(zone))}
	p.shown = p.local(t)
	return p
}

// next returns the period that follows one that has an end.
func (p period) next(zone *time.Location) period {
	n := periodAt(p.end, zone)
	n.shown = p.shown
	if before := p.local(p.end); before.After(n.shown) {
		n.shown = before
	}
	return n
}

func (p period) local(t time.Time) time.Time { return t.UTC().Add(p.offset) }

// nextFiring returns the first firing after x by the clock of the zone, whatever windows say.
func (t *Timetable) nextFiring(x time.Time) (firing, bool) {
	x = x.UTC()
	p := periodAt(x.Add(-2*maxOffset), t.zone)
	for range maxPeriods {
		if p.end.IsZero() || p.end.After(x) {
			if f, ok := t.inPeriod(p, x); ok {
				return f, f.at.Year() <= lastYear
			}
		}
		if p.end.IsZero() {
			return firing{}, false
		}
		next := p.next(t.zone)
		from := next.local(next.start)
		if next.shown.Before(from) {
			from = next.shown
		}
		match, ok := t.match(from)
		if !ok {
			return firing{}, false
		}
		// No instant shows match, or jumps over it, before far.
		if far := match.Add(-2 * maxOffset); far.After(next.start) {
			next = periodAt(far, t.zone)
		}
		p = next
	}
	return firing{}, false
}

// inPeriod returns the first firing in p that is after x.
func (t *Timetable) inPeriod(p period, x time.Time) (firing, bool) {
	from := p.local(p.start)
	if p.start.After(x) {
		if t.gap != keyturn.GapSkip && p.shown.Before(from) {
			if jumped, ok := t.match(p.shown); ok && jumped.Before(from) {
				return firing{local: jumped, at: p.start}, true
			}
		}
	} else { // what the gap before p holds fired at p's start
		from = p.local(x).Add(time.Nanosecond)
	}
	if t.fold == keyturn.FoldFirst {
		from = latest(from, p.shown)
	}
	match, ok := t.match(from)
	at := match.Add(-p.offset)
	if !ok || !p.end.IsZero() && !at.Before(p.end) {
		return firing{}, false
	}
	if t.fold == keyturn.FoldLast && t.comesAgain(match, p) {
		return firing{}, false // and all that p has after it comes again too
	}
	return firing{local: match, at: at, offset: p.offset, second: match.Before(p.shown)}, true
}

// match returns the first local time from from on that the line matches.
func (t *Timetable) match(from time.Time) (time.Time, bool) {
	before := from.Add(-time.Nanosecond)
	for range searchSpans {
		if next := t.fields.Next(before); !next.IsZero() {
			return next, next.Year() <= lastYear
		}
		// Nothing up to the end of the fifth year after the one that the search began in.
		before = time.Date(before.Add(time.Second).Year()+5, time.December, 31, 23, 59, 59, 0, time.UTC)
	}
	return time.Time{}, false
}

// comesAgain reports whether the zone's clock shows local again after p.
func (t *Timetable) comesAgain(local time.Time, p period) bool {
	for last := p; !p.end.IsZero() && p.end.Sub(last.end) < 2*maxOffset; {
		p = p.next(t.zone)
		if !p.local(p.start).After(local) && (p.end.IsZero() || local.Before(p.local(p.end))) {
			return true
		}
	}
	return false
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
