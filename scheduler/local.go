package scheduler

import "time"

// A local time is kept as the instant that has the same digits in UTC.

const (
	// maxOffset is more than any offset from UTC that a zone of the tz database ever had (UTC−15:13 to UTC+15:14).
	maxOffset = 18 * time.Hour
	// minPeriod guards against zone bounds that do not move on: for zones that follow a rule,
	// time.ZoneBounds ends the last period of a leap year a day early.
	minPeriod = time.Hour
)

// localOf returns the local time at t.
func localOf(t time.Time, zone *time.Location) time.Time { return t.UTC().Add(offsetAt(t, zone)) }

// offsetAt returns how much local time is ahead of UTC at t.
func offsetAt(t time.Time, zone *time.Location) time.Duration {
	_, seconds := t.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}

// instantOf returns the first instant at which the zone's clock shows local or
// later. So a local time that does not exist is the end of its gap, one that
// comes twice is its first coming, and later local times are never earlier instants.
func instantOf(local time.Time, zone *time.Location) time.Time {
	local = local.UTC()
	for t := local.Add(-2 * maxOffset).In(zone); ; {
		_, offset := t.Zone()
		end := periodEnd(t)
		at := local.Add(-time.Duration(offset) * time.Second)
		if !at.After(t) { // the zone's clock jumped over it
			return t.UTC()
		}
		if end.IsZero() || at.Before(end) {
			return at
		}
		t = end
	}
}

// latestLocal returns the latest local time that the zone's clock has shown up
// to t. It differs from localOf after the clock was set back.
func latestLocal(t time.Time, zone *time.Location) time.Time {
	latest := localOf(t, zone)
	for p := t.Add(-2 * maxOffset).In(zone); ; {
		end := periodEnd(p)
		if end.IsZero() || end.After(t) {
			return latest
		}
		_, offset := p.Zone()
		// The end itself is shown by the next period, if at all.
		before := end.UTC().Add(time.Duration(offset)*time.Second - time.Nanosecond)
		if before.After(latest) {
			latest = before
		}
		p = end
	}
}

// periodEnd returns an instant after t up to which the offset stays the same;
// zero: for ever.
func periodEnd(t time.Time) time.Time {
	_, end := t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		return t.Add(minPeriod)
	}
	return end
}

// periodStart returns an instant not after t from which on the offset is the same as at t.
func periodStart(t time.Time) time.Time {
	start, _ := t.ZoneBounds()
	if start.IsZero() || start.After(t) {
		return t.Add(-2 * maxOffset)
	}
	return start
}

// pastOf returns the instant from which on the zone's clock never shows a time
// before local again.
func pastOf(local time.Time, zone *time.Location) time.Time {
	local = local.UTC()
	p := periodAt(local.Add(-2*maxOffset), zone)
	past := p.start
	for last := local.Add(2 * maxOffset); ; p = p.next(zone) {
		if p.local(p.start).Before(local) {
			past = local.Add(-p.offset)
			if !p.end.IsZero() && past.After(p.end) {
				past = p.end.UTC()
			}
		}
		if p.end.IsZero() || p.end.After(last) {
			return past
		}
	}
}

// comings returns the instants at which the zone's clock shows local: none in a
// gap, two where the clock was set back.
func comings(local time.Time, zone *time.Location) []time.Time {
	local = local.UTC()
	var found []time.Time
	for p := periodAt(local.Add(-2*maxOffset), zone); ; p = p.next(zone) {
		at := local.Add(-p.offset)
		if !at.Before(p.start) && (p.end.IsZero() || at.Before(p.end)) {
			found = append(found, at)
		}
		if p.end.IsZero() || p.end.After(local.Add(2*maxOffset)) {
			return found
		}
	}
}

// InstantOf returns the first instant at which the zone's clock shows local, or
// later where that time does not exist. Only the digits of local count.
func InstantOf(local time.Time, zone *time.Location) time.Time {
	digits := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), local.Nanosecond(), time.UTC)
	return instantOf(digits, zone)
}
