package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// Notes explains why a slot of this timetable is where it is: gap, fold, window,
// blackout, jitter. A slot of which nothing is to be said has none.
func (t *Timetable) Notes(slot keyturn.Slot) []string {
	notes := t.clockNotes(slot)
	if _, closed := t.calendar.closed(slot.At); closed {
		notes = append(notes, "deadline: fires outside of its windows, because a key would get too old")
	} else if planned, ok := t.Planned(slot); ok && slot.At.After(planned) {
		notes = append(notes, t.movedNotes(planned, slot.At)...)
	}
	if t.jitter > 0 {
		notes = append(notes, "jitter: plus up to "+shortSpan(t.jitter)+" for each unit")
	}
	return notes
}

// clockNotes say what the zone's clock does at a slot.
func (t *Timetable) clockNotes(slot keyturn.Slot) []string {
	if t.fields == nil || slot.Timezone != t.timezone || len(slot.Local) < len(localLayout) {
		return nil
	}
	local, err := time.Parse(localLayout, slot.Local[:len(localLayout)])
	if err != nil {
		return nil
	}
	found := comings(local, t.zone)
	switch {
	case len(found) == 0:
		end := instantOf(local, t.zone)
		return []string{fmt.Sprintf("gap: %s does not exist, moved to %s", clock(local), t.clockAt(local, end, t.zone))}
	case len(found) == 1:
		return nil
	}
	which := "first"
	if planned, ok := t.Planned(slot); ok && planned.After(found[0]) {
		which = "second"
	}
	return []string{fmt.Sprintf("fold: %s comes twice, this is the %s time", clock(local), which)}
}

// movedNotes say what kept a slot from firing when it came.
func (t *Timetable) movedNotes(planned, at time.Time) []string {
	var causes []string
	add := func(cause string) {
		if !slices.Contains(causes, cause) {
			causes = append(causes, cause)
		}
	}
	const most = 5 // causes, one after the other
	for probe, steps := planned, 0; probe.Before(at) && len(causes) < most && steps < 100; steps++ {
		until, closed := t.calendar.closed(probe)
		if !closed {
			break
		}
		blackouts := t.calendar.blackouts.notes(probe)
		if len(blackouts) == 0 {
			add("window")
		}
		for _, note := range blackouts {
			add(strings.TrimSuffix("blackout: "+note, ": "))
		}
		probe = until
	}
	if len(causes) == 0 {
		return nil
	}
	local := localOf(planned, t.calendar.zone)
	causes[len(causes)-1] += ", moved to " + t.clockAt(local, at, t.calendar.zone)
	return causes
}

// clockAt is the local time at t, without the day if that is the one of near.
func (t *Timetable) clockAt(near, at time.Time, zone *time.Location) string {
	local := localOf(at, zone)
	if local.Truncate(keyturn.Day).Equal(near.Truncate(keyturn.Day)) {
		return clock(local)
	}
	return local.Format(dayLayout) + " " + clock(local)
}

func clock(local time.Time) string {
	if local.Second() != 0 {
		return local.Format("15:04:05")
	}
	return local.Format("15:04")
}

// shortSpan writes "2h" and not "2h0m0s".
func shortSpan(d keyturn.Duration) string {
	s := d.String()
	for _, tail := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, tail) {
			s = s[:len(s)-2]
		}
	}
	return s
}
