package scheduler

import (
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

// closedMark is the end of an opening that is closed: before any time that a clock that was set back can show.
func closedMark() *time.Time {
	t := time.Unix(1, 0).UTC()
	return &t
}

// opening says what the schedule's windows and blackouts mean for a rotation at a time.
func opening(t *Timetable, now time.Time) keyturn.Opening {
	open, until := t.Open(now)
	var look *time.Time
	if !until.IsZero() {
		look = &until
	}
	if !open {
		return keyturn.Opening{Until: closedMark(), LookAt: look}
	}
	return keyturn.Opening{Until: look, LookAt: look}
}

// openingOf says the same of a rotation under way. While its policy's windows are closed until a key gets
// too old, and deadline is run, only blackouts hold it.
func openingOf(tables *timetables, look keyturn.WindowLook, now time.Time) (keyturn.Opening, error) {
	policy := look.Policy.WithDefaults()
	timetable, err := tables.load(&policy.Schedule)
	if err != nil {
		return keyturn.Opening{}, fmt.Errorf("reading the schedule of policy %s: %w", policy.Name, err)
	}
	found := opening(timetable, now)
	if found.Until == nil || found.Until.After(now) || policy.Schedule.Deadline != keyturn.DeadlineRun {
		return found, nil
	}
	oldest, err := look.OldestKey()
	if err != nil || oldest == nil {
		return found, err
	}
	limit := oldest.Add(policy.Alerts.CriticalAfter.Std())
	if found.LookAt != nil && !limit.Before(*found.LookAt) {
		return found, nil
	}
	return outside(timetable, now, found), nil
}

// outside opens what only windows close, at now or when the blackout that now is in has ended.
func outside(t *Timetable, now time.Time, found keyturn.Opening) keyturn.Opening {
	if s, covered := t.calendar.blackouts.covering(now); covered {
		if found.LookAt == nil || s.to.Before(*found.LookAt) {
			found.LookAt = &s.to
		}
		return found
	}
	until := found.LookAt
	if next := t.calendar.blackouts.after(now); !next.IsZero() && (until == nil || next.Before(*until)) {
		until = &next
	}
	return keyturn.Opening{Until: until, LookAt: until}
}

// early decides about a slot that waits for a window: whether a key gets too old before that opens, and
// what the policy's deadline says about it.
func (d *decider) early(c *claim, t *Timetable, now time.Time) {
	slot := c.due.Slot
	c.firing.Next = &slot
	planned, ok := t.Planned(slot)
	switch {
	case !ok || !planned.Before(slot.At) || c.due.Policy.Paused:
		return
	case planned.After(now):
		c.firing.Wake = planned
		return
	}
	policy := c.due.Policy.WithDefaults()
	critical := policy.Alerts.CriticalAfter.Std()
	limit, err := firstTooOld(c.due, slot.At, critical)
	if err != nil || limit == nil {
		c.invalid = err
		return
	}
	in, ok := t.InTime(slot, slot.At)
	switch {
	case policy.Schedule.Deadline != keyturn.DeadlineRun || !ok:
		c.firing.Deadline = limit
	case in.At.After(now):
		c.firing.Wake = in.At
	default:
		next, more := t.Next(slot)
		c.firing.Next = nil
		c.goOn(t, next, more, now)
		d.start(c, t, slot, now)
		for i := range c.firing.Start {
			start := &c.firing.Start[i]
			start.Opening = outside(t, now, opening(t, now))
			start.Reason = "outside of the windows: a key gets too old before the next one (deadline: run)"
		}
	}
}

// firstTooOld returns when the first key of the policy gets too old, if that is before a time.
func firstTooOld(due keyturn.Due, before time.Time, critical time.Duration) (*time.Time, error) {
	units, err := due.OldUnits(before.Add(-critical))
	if err != nil {
		return nil, fmt.Errorf("looking for keys of policy %s that get too old: %w", due.Policy.Name, err)
	}
	for _, u := range units { // oldest first
		if u.KeySince != nil && due.Policy.Select.Match(u) {
			at := u.KeySince.Add(critical)
			return &at, nil
		}
	}
	return nil, nil //nolint:nilnil // no key gets too old
}
