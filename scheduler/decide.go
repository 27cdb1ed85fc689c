package scheduler

import (
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	// punctual is how late a slot may fire and still counts as fired in time: a restart, or a database
	// that was away for a moment, is no reason to skip it.
	punctual = time.Minute
	// slotsAtOnce bounds the missed slots of one policy that fire in one transaction, extraSlots those of
	// all policies together, beyond one for each. The rest follows in the next transaction.
	slotsAtOnce = 16
	extraSlots  = 500
	// agedMost bounds the units of one rotation that maxAge asks for. The others are due at the next look.
	agedMost = 5000
	// agedSpread is the part of maxAge over which keys of the same age are spread, unless jitter says.
	agedSpread = 10
)

// decider decides about the policies of one batch.
type decider struct {
	tables *timetables
	room   int // slots that may still fire beyond one for each policy
	alike  map[alike]*claim
}

// claim is what becomes of one due policy, with what is to be said about it.
type claim struct {
	due        keyturn.Due
	firing     keyturn.Firing
	lags       []time.Duration // of what starts
	missed     int             // slots that were missed and don't fire; at most 100 are counted
	overlapped bool            // the slot does not fire because a rotation is under way
	more       bool            // slots are left that are due now
	invalid    error
}

// alike is all that decides about a policy which neither a rotation under way nor the age of keys plays a part in. When
// many are due together, they have few schedules and slots, and the time of the database is one for all of them.
type alike struct {
	timetable     *Timetable // of one that has windows or blackouts there is no other
	catchUp       keyturn.CatchUp
	catchUpWindow keyturn.Duration
	paused        bool
	slot          keyturn.Slot
	now           time.Time
}

// decide says what becomes of a slot that is due.
func (d *decider) decide(due keyturn.Due, now time.Time) *claim {
	schedule := &due.Policy.Schedule
	timetable, err := d.tables.load(schedule)
	if err != nil {
		return &claim{due: due, invalid: fmt.Errorf("reading the schedule of policy %s: %w", due.Policy.Name, err)}
	}
	if due.UnderWay || schedule.MaxAge > 0 || schedule.CatchUp == keyturn.CatchUpAll || due.Slot.At.After(now) {
		return d.decideOne(due, timetable, now)
	}
	key := alike{
		timetable: timetable, catchUp: schedule.CatchUp, catchUpWindow: schedule.CatchUpWindow, paused: due.Policy.Paused, slot: due.Slot, now: now,
	}
	c := d.alike[key]
	if c == nil {
		if d.alike == nil {
			d.alike = make(map[alike]*claim)
		}
		c = d.decideOne(due, timetable, now)
		d.alike[key] = c
	}
	return c
}

func (d *decider) decideOne(due keyturn.Due, timetable *Timetable, now time.Time) *claim {
	c := &claim{due: due}
	if due.Slot.At.After(now) {
		d.early(c, timetable, now)
	} else {
		d.catchUp(c, timetable, now)
	}
	return c
}

// catchUp decides which of the slots that have come fire, and where the policy goes from there.
func (d *decider) catchUp(c *claim, t *Timetable, now time.Time) {
	schedule, slot := c.due.Policy.Schedule, c.due.Slot
	if c.due.Policy.Paused {
		next, _, ok := t.NextAfter(slot, now)
		c.goOn(t, next, ok, now)
		return
	}
	if schedule.CatchUp == keyturn.CatchUpAll && schedule.MaxAge == 0 {
		d.all(c, t, now)
		return
	}
	next, missed, ok := t.NextAfter(slot, now)
	newest := slot
	if missed > 0 {
		if latest, found := t.Latest(slot, now); found {
			newest = latest
		}
	}
	c.missed = missed
	c.goOn(t, next, ok, now)
	late := now.Sub(newest.At)
	window := schedule.CatchUpWindow.Std()
	switch {
	case late <= punctual:
	case schedule.CatchUp == keyturn.CatchUpSkip:
		c.skip(newest, fmt.Sprintf("it was missed by %s, and catchUp is skip", late.Round(time.Second)))
		return
	case window > 0 && late > window:
		c.skip(newest, fmt.Sprintf("it was missed by %s, more than catchUpWindow", late.Round(time.Second)))
		return
	}
	if missed > 0 {
		c.firing.Skipped = &keyturn.Skipped{Slot: slot.Name(), Reason: "it was missed, and a newer slot fires for it"}
	}
	d.start(c, t, newest, now)
}

// skip notes that the newest slot does not fire either.
func (c *claim) skip(slot keyturn.Slot, reason string) {
	c.missed++
	c.firing.Skipped = &keyturn.Skipped{Slot: slot.Name(), Reason: reason}
}

// all fires every slot that has come, a bounded number at a time.
func (d *decider) all(c *claim, t *Timetable, now time.Time) {
	slot, ok := c.due.Slot, true
	if window := c.due.Policy.Schedule.CatchUpWindow.Std(); window > 0 {
		oldest := now.Add(-max(window, punctual))
		for ok && slot.At.Before(oldest) {
			c.missed++
			c.firing.Skipped = &keyturn.Skipped{Slot: slot.Name(), Reason: "it was missed by more than catchUpWindow"}
			if c.missed == maxMissed {
				slot, ok = t.later(slot, oldest.Add(-time.Nanosecond))
				break
			}
			slot, ok = t.Next(slot)
		}
	}
	for n := 0; ok && !slot.At.After(now); n++ {
		if n > 0 && (d.room == 0 || n == slotsAtOnce) {
			c.more = true
			break
		}
		if n > 0 {
			d.room--
		}
		d.start(c, t, slot, now)
		if c.overlapped {
			break
		}
		slot, ok = t.Next(slot)
	}
	if c.overlapped { // so are the others
		slot, _, ok = t.NextAfter(slot, now)
	}
	c.goOn(t, slot, ok, now)
}

// start starts the rotation of a slot, unless the policy's overlap or the ages of its keys say otherwise.
func (d *decider) start(c *claim, t *Timetable, slot keyturn.Slot, now time.Time) {
	policy := c.due.Policy
	start := keyturn.Start{Slot: slot, Opening: opening(t, now)}
	if c.due.UnderWay {
		switch {
		case policy.Schedule.Overlap == keyturn.OverlapSkip:
			c.overlapped = true
			c.firing.Skipped = &keyturn.Skipped{Slot: slot.Name(), Reason: "a rotation of the policy was under way, and overlap is skip"}
			return
		case policy.Schedule.MaxAge > 0:
			return // the units that it works on would be found again; the next look finds what is left
		}
		start.Supersedes = policy.Schedule.Overlap == keyturn.OverlapCancel
	}
	if age := policy.Schedule.MaxAge.Std(); age > 0 {
		aged, err := agedUnits(c.due, now)
		if err != nil || len(aged) == 0 {
			c.invalid = err
			return
		}
		start.Only.Units = aged
		start.Reason = fmt.Sprintf("keys of %d units are due at the age of %s", len(aged), policy.Schedule.MaxAge)
	}
	c.firing.Start, c.lags = append(c.firing.Start, start), append(c.lags, now.Sub(slot.At))
}

// lag is how late a slot of the claim starts.
func (c *claim) lag(slot string) time.Duration {
	if c == nil {
		return 0
	}
	for i := range c.firing.Start {
		if len(c.lags) == 1 || c.firing.Start[i].Slot.Name() == slot {
			return c.lags[i]
		}
	}
	return 0
}

// agedUnits returns the units of the policy whose key has come to its age, oldest first.
func agedUnits(due keyturn.Due, now time.Time) ([]string, error) {
	schedule := due.Policy.Schedule
	age, within := schedule.MaxAge.Std(), schedule.Jitter.Std()
	if within == 0 {
		within = age / agedSpread
	}
	within = min(within, age)
	units, err := due.OldUnits(now.Add(within - age))
	if err != nil {
		return nil, fmt.Errorf("looking for keys of policy %s that are old enough: %w", due.Policy.Name, err)
	}
	var aged []string
	for _, u := range units {
		if u.KeySince == nil || !due.Policy.Select.Match(u) {
			continue
		}
		at := u.KeySince.Add(age - keyturn.Spread(due.Policy.Name, u.ID, within))
		if at.After(now) {
			continue
		}
		if aged = append(aged, u.ID); len(aged) == agedMost {
			break
		}
	}
	return aged, nil
}

// goOn makes the policy wait for its next slot. If a window moved that, the policy is looked at when the
// slot would have come.
func (c *claim) goOn(t *Timetable, next keyturn.Slot, ok bool, now time.Time) {
	if !ok {
		return
	}
	c.firing.Next = &next
	if planned, found := t.Planned(next); found && len(t.calendar.windows) > 0 && planned.Before(next.At) {
		c.firing.Wake = planned
		if !planned.After(now) { // it has come already: look at once
			c.firing.Wake, c.more = now.Add(time.Millisecond), true
		}
	}
}
