package scheduler

import (
	"time"

	"github.com/robfig/cron/v3"

	"github.com/keyturn/keyturn"
)

const (
	localLayout = "2006-01-02T15:04:05"
	everyLayout = "2006-01-02T15:04:05Z"

	// searchSpans bounds the search for the next slot. robfig's Next gives up after five years; the
	// longest pause of any cron line is eight (29 February across a year such as 2100).
	searchSpans = 4
	// lastYear is the last one that RFC 3339 can write.
	lastYear = 9999
	// maxMissed bounds the counting of missed slots.
	maxMissed = 100
)

// Timetable lists the slots of one schedule. It is a pure function of time and
// safe for concurrent use.
//
// The slots of a cron line are local wall-clock times, and a slot's identity is
// its local time. A local time that does not exist because the clocks were set
// forward fires at the end of the gap; of several slots in one gap, and a slot
// at the very end of the gap, only the first fires. A local time that comes
// twice because the clocks were set back fires the first time.
//
// The slots of "@every D" are instants, D apart, counted from the slot before.
type Timetable struct {
	fields   *cron.SpecSchedule // in UTC, of local times; nil: @every, or no slots
	every    time.Duration      // 0: cron fields, or no slots
	zone     *time.Location
	timezone string
}

// First returns the first slot after now. It answers false if there is none:
// the schedule is empty, or lies beyond the year 9999.
func (t *Timetable) First(now time.Time) (keyturn.Slot, bool) {
	switch {
	case t.every > 0:
		return everySlot(now.Add(t.every).Truncate(time.Second))
	case t.fields != nil:
		return t.after(latestLocal(now, t.zone))
	default:
		return keyturn.Slot{}, false
	}
}

// Next returns the slot that follows a slot of this timetable, or of the one
// that the policy had before: it is later both by local time and by instant.
func (t *Timetable) Next(slot keyturn.Slot) (keyturn.Slot, bool) {
	switch {
	case t.every > 0:
		return everySlot(slot.At.Add(t.every))
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
	switch {
	case !ok || next.At.After(now):
		return next, missed, ok
	case t.every > 0: // stays in step with the first slot
		steps := now.Sub(slot.At)/t.every + 1
		next, ok = everySlot(slot.At.Add(steps * t.every))
	default:
		next, ok = t.after(latestLocal(now, t.zone))
	}
	return next, missed, ok
}

// reached returns the local time up to which the slot and all before it are done.
func (t *Timetable) reached(slot keyturn.Slot) time.Time {
	reached := latestLocal(slot.At, t.zone)
	if slot.Timezone != t.timezone {
		return reached
	}
	if local, err := time.Parse(localLayout, slot.Local); err == nil && local.After(reached) {
		return local
	}
	return reached
}

// after returns the first slot whose local time is after local.
func (t *Timetable) after(local time.Time) (keyturn.Slot, bool) {
	local = local.UTC()
	for range searchSpans {
		next := t.fields.Next(local)
		if next.IsZero() {
			// Nothing up to the end of the fifth year after the one that the search began in.
			local = time.Date(local.Add(time.Second).Year()+5, time.December, 31, 23, 59, 59, 0, time.UTC)
			continue
		}
		if next.Year() > lastYear {
			break
		}
		return keyturn.Slot{
			Local:    next.Format(localLayout),
			Timezone: t.timezone,
			At:       instantOf(next, t.zone),
		}, true
	}
	return keyturn.Slot{}, false
}

func everySlot(at time.Time) (keyturn.Slot, bool) {
	at = at.UTC()
	if at.Year() > lastYear {
		return keyturn.Slot{}, false
	}
	return keyturn.Slot{Local: at.Format(everyLayout), Timezone: "UTC", At: at}, true
}

// Check reports why a schedule can't be used. It has the form of the check that
// the reading of resource files asks for.
func Check(s keyturn.Schedule) error {
	_, err := Parse(s)
	return err
}
