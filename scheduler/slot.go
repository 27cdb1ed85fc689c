package scheduler

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/keyturn/keyturn"
)

const (
	localLayout = "2006-01-02T15:04:05"
	everyLayout = "2006-01-02T15:04:05Z"
	// againLayout is the second coming of a local time: the offset tells it from the first.
	againLayout = "2006-01-02T15:04:05-07:00"
	// maxMissed bounds the counting of missed slots.
	maxMissed = 100
)

// Timetable lists the slots of one schedule. It is a pure function of time and
// safe for concurrent use.
//
// The slots of a cron line are local wall-clock times, and a slot's identity is
// its local time. A local time that does not exist because the clocks were set
// forward fires at the end of the gap, or not at all (Gap); of several slots in
// one gap, and a slot at the very end of the gap, only the first fires. Of a
// local time that comes twice because the clocks were set back, Fold says which
// fires; where both do, the second has its offset in its name.
//
// The slots of "@every D" are instants, D apart, counted from StartAt, or else
// from the slot before.
//
// A slot outside of the windows, or in a blackout, keeps its name and waits for
// the next opening; of several that wait for one, only the first fires.
type Timetable struct {
	fields   *cron.SpecSchedule // in UTC, of local times; nil: @every, or no slots
	every    time.Duration      // 0: cron fields, or no slots
	zone     *time.Location     // of the line
	timezone string

	gap            keyturn.Gap
	fold           keyturn.Fold
	startAt, endAt time.Time // zero: no bound
	calendar       calendar
	jitter         keyturn.Duration
}

// First returns the first slot after now. It answers false if there is none:
// the schedule is empty or has ended, or lies beyond the year 9999.
func (t *Timetable) First(now time.Time) (keyturn.Slot, bool) {
	if t.every > 0 {
		return t.firstEvery(now)
	}
	if t.fields == nil {
		return keyturn.Slot{}, false
	}
	return t.after(now)
}

// Next returns the slot that follows a slot of this timetable, or of the one
// that the policy had before: it is later by instant, and its name is another.
func (t *Timetable) Next(slot keyturn.Slot) (keyturn.Slot, bool) {
	switch {
	case t.every > 0:
		return t.nextEvery(slot, slot.At)
	case t.fields != nil:
		return t.after(t.reached(slot))
	default:
		return keyturn.Slot{}, false
	}
}

// NextAfter returns the first slot that follows slot and is after now, and how
// many slots between the two were missed (at most 100 are counted).
func (t *Timetable) NextAfter(slot keyturn.Slot, now time.Time) (next keyturn.Slot, missed int, ok bool) {
	next, ok = t.Next(slot)
	if !ok || next.At.After(now) {
		return next, 0, ok
	}
	for missed < maxMissed && ok && !next.At.After(now) {
		missed++
		next, ok = t.Next(next)
	}
	if ok && !next.At.After(now) {
		next, ok = t.later(slot, now)
	}
	return next, missed, ok
}

// later returns the first slot after x, which is not before slot.
func (t *Timetable) later(slot keyturn.Slot, x time.Time) (keyturn.Slot, bool) {
	if t.every > 0 { // stays in step with slot
		return t.nextEvery(slot, x)
	}
	return t.after(x)
}

// Latest returns the last slot that is not after now, of those that follow slot:
// the newest of the ones that were missed. It answers false if there is none.
func (t *Timetable) Latest(slot keyturn.Slot, now time.Time) (keyturn.Slot, bool) {
	found, ok := t.Next(slot)
	if !ok || found.At.After(now) {
		return keyturn.Slot{}, false
	}
	low, high := found.At, now // the slot that follows low is not after now, or there is none between
	for high.Sub(low) > time.Second {
		middle := low.Add(high.Sub(low) / 2)
		if next, ok := t.later(found, middle); ok && !next.At.After(now) {
			found, low = next, next.At
		} else {
			high = middle
		}
	}
	if next, ok := t.Next(found); ok && !next.At.After(now) {
		found = next
	}
	return found, true
}

// Open says whether rotations of the schedule may work at an instant, as windows
// and blackouts have it, and until when that holds. While open, it may hold for
// longer than until: ask again then. Zero: for ever.
func (t *Timetable) Open(at time.Time) (open bool, until time.Time) { return t.calendar.open(at.UTC()) }

// Planned returns the instant at which a slot of this timetable comes by its
// name, before windows and blackouts move it.
func (t *Timetable) Planned(slot keyturn.Slot) (time.Time, bool) {
	if slot.Timezone != t.timezone || t.fields == nil {
		at, err := time.Parse(everyLayout, slot.Local)
		return at, err == nil && t.every > 0
	}
	if at, err := time.Parse(againLayout, slot.Local); err == nil {
		return at.UTC(), true
	}
	local, err := time.Parse(localLayout, slot.Local)
	if err != nil {
		return time.Time{}, false
	}
	if t.fold == keyturn.FoldLast {
		if found := comings(local, t.zone); len(found) > 0 {
			return found[len(found)-1], true
		}
	}
	return instantOf(local, t.zone), true
}

// InTime returns the slot as it fires when it must not wait for a window: at the
// first instant after its name's that no blackout covers and that is before
// limit. It answers false where the slot's opening is before limit anyway, and
// where only blackouts lie before limit: they hold whatever happens.
func (t *Timetable) InTime(slot keyturn.Slot, limit time.Time) (keyturn.Slot, bool) {
	at, ok := t.Planned(slot)
	if !ok || slot.At.Before(limit) || !at.Before(slot.At) {
		return slot, false
	}
	outside := calendar{zone: t.calendar.zone, blackouts: t.calendar.blackouts}
	at, ok = outside.opening(at)
	if !ok || !at.Before(limit) || !at.Before(slot.At) {
		return slot, false
	}
	slot.At = at
	return slot, true
}

// reached returns the instant up to which the slot and all before it are done.
func (t *Timetable) reached(slot keyturn.Slot) time.Time {
	if slot.Timezone != t.timezone {
		return slot.At
	}
	// The time zone's rules changed since, and its name comes later than it did.
	if local, err := time.Parse(localLayout, slot.Local); err == nil && local.After(latestLocal(slot.At, t.zone)) {
		return latest(slot.At, instantOf(local, t.zone))
	}
	return slot.At
}

// after returns the first slot after x.
func (t *Timetable) after(x time.Time) (keyturn.Slot, bool) {
	x = x.UTC()
	// What came in the closed time that x is in waits for its end.
	if since := t.calendar.closedSince(x); since.Before(x) {
		x = since.Add(-time.Nanosecond)
	} else if !t.calendar.always() {
		if _, closed := t.calendar.closed(x); closed {
			x = x.Add(-time.Nanosecond)
		}
	}
	if !t.startAt.IsZero() && x.Before(t.startAt) {
		x = t.startAt.Add(-time.Nanosecond)
	}
	f, ok := t.nextFiring(x)
	if !ok {
		return keyturn.Slot{}, false
	}
	slot := keyturn.Slot{Local: f.local.Format(localLayout), Timezone: t.timezone}
	if f.second && t.fold == keyturn.FoldBoth {
		slot.Local = f.at.In(time.FixedZone("", int(f.offset/time.Second))).Format(againLayout)
	}
	return t.at(slot, f.at)
}

// at completes a slot that comes at an instant.
func (t *Timetable) at(slot keyturn.Slot, at time.Time) (keyturn.Slot, bool) {
	at, ok := t.calendar.opening(at.UTC())
	if !ok || at.Year() > lastYear || !t.endAt.IsZero() && !at.Before(t.endAt) {
		return keyturn.Slot{}, false
	}
	slot.At = at
	return slot, true
}

func (t *Timetable) firstEvery(now time.Time) (keyturn.Slot, bool) {
	if t.startAt.IsZero() {
		return t.everySlot(now.Add(t.every).Truncate(time.Second))
	}
	x := now
	if _, closed := t.calendar.closed(x); closed {
		x = t.calendar.closedSince(x).Add(-time.Nanosecond)
	}
	anchor := t.startAt.Add(time.Second - time.Nanosecond).Truncate(time.Second)
	if x.Before(anchor) {
		return t.everySlot(anchor)
	}
	return t.everySlot(t.stepAfter(anchor, x))
}

// nextEvery returns the first slot after x, in step with slot.
func (t *Timetable) nextEvery(slot keyturn.Slot, x time.Time) (keyturn.Slot, bool) {
	planned, ok := t.Planned(slot)
	if !ok {
		planned = slot.At
	}
	if _, closed := t.calendar.closed(x); closed && x.After(slot.At) {
		x = latest(slot.At, t.calendar.closedSince(x).Add(-time.Nanosecond))
	}
	return t.everySlot(latest(t.stepAfter(planned, x), t.startAt))
}

// stepAfter returns the first instant after x, and after from, that is whole
// periods after from. A time.Duration is too short for the years between them.
func (t *Timetable) stepAfter(from, x time.Time) time.Time {
	period := int64(t.every / time.Second)
	steps := max((x.Unix()-from.Unix())/period, 0) + 1
	at := time.Unix(from.Unix()+steps*period, int64(from.Nanosecond()))
	for !at.After(x) {
		at = at.Add(t.every)
	}
	return at
}

func (t *Timetable) everySlot(at time.Time) (keyturn.Slot, bool) {
	at = at.UTC()
	if at.Year() > lastYear {
		return keyturn.Slot{}, false
	}
	return t.at(keyturn.Slot{Local: at.Format(everyLayout), Timezone: "UTC"}, at)
}

// CheckAt reports why a schedule can't be used from now on: it can't be read,
// or none of its slots is still to come although its end is. It reads the
// calendars in files.
func (r *Reader) CheckAt(s keyturn.Schedule, now time.Time) error {
	t, err := r.Timetable(s)
	if err != nil {
		return err
	}
	if t.fields == nil && t.every == 0 || !t.endAt.IsZero() && !now.Before(t.endAt) {
		return nil
	}
	if _, ok := t.First(now); !ok {
		return fmt.Errorf("cron line %q never fires again: endAt, windows and blackouts leave it no time", s.Cron)
	}
	return nil
}

// Check reports why a schedule can't be used. It has the form of the check that
// the reading of resource files asks for.
func Check(s keyturn.Schedule) error {
	_, err := Parse(s)
	return err
}

// Relative reports whether each slot is counted from the one before it, so that
// First alone does not say where the slots are: "@every D" without StartAt.
func (t *Timetable) Relative() bool { return t.every > 0 && t.startAt.IsZero() }
