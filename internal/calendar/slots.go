// Package calendar looks at schedules from outside: which slots there will be
// and why, how old keys will get, and what is missing. It computes, and changes nothing.
package calendar

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// MaxSlots is how many slots are listed at most.
const MaxSlots = 10_000

// checkEvery is after how many slots a search looks whether anyone still waits for it.
const checkEvery = 64

// Slot is a planned slot as people and programs see it.
type Slot struct {
	Local    string    `json:"local" doc:"The wall-clock time that the slot is named by, without an offset."`
	Timezone string    `json:"timezone" doc:"The time zone of local."`
	At       time.Time `json:"at" doc:"The instant at which it fires."`
	Offset   string    `json:"offset" doc:"How much the time zone's clock is ahead of UTC at that instant."`
	Note     string    `json:"note" doc:"Why it is where it is: gap, fold, window, blackout, jitter."`
	Name     string    `json:"slot" doc:"The slot as its rotation names it."`
}

// Describe says everything about a slot of a timetable.
func Describe(t *scheduler.Timetable, slot keyturn.Slot) (Slot, error) {
	zone, err := time.LoadLocation(slot.Timezone)
	if err != nil {
		return Slot{}, fmt.Errorf("slot %s: %w", slot.Name(), err)
	}
	const digits = len("2006-01-02T15:04:05") // without the offset of a second coming, or the Z of @every
	return Slot{
		Local: slot.Local[:min(digits, len(slot.Local))], Timezone: slot.Timezone, At: slot.At.UTC(),
		Offset: slot.At.In(zone).Format("-07:00"), Note: strings.Join(t.Notes(slot), "; "), Name: slot.Name(),
	}, nil
}

// Slots lists up to n slots from an instant on, that one included.
func Slots(ctx context.Context, t *scheduler.Timetable, from time.Time, n int) ([]Slot, error) {
	first, ok := t.First(from.Add(-time.Nanosecond))
	if !ok {
		return []Slot{}, nil
	}
	return SlotsFrom(ctx, t, first, n)
}

// SlotsFrom lists up to n slots, of which first is the first.
func SlotsFrom(ctx context.Context, t *scheduler.Timetable, first keyturn.Slot, n int) ([]Slot, error) {
	slots := make([]Slot, 0, min(n, MaxSlots))
	for slot, ok := first, true; ok && len(slots) < min(n, MaxSlots); slot, ok = t.Next(slot) {
		if len(slots)%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("listing slots: %w", err)
			}
		}
		described, err := Describe(t, slot)
		if err != nil {
			return nil, err
		}
		slots = append(slots, described)
	}
	return slots, nil
}

// ParseTime reads an instant (RFC 3339), or a day or local time of a time zone:
// 2026-03-29, 2026-03-29T02:30.
func ParseTime(text, timezone string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	zone, err := time.LoadLocation(timezone)
	if err != nil {
		zone = time.UTC
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if local, err := time.Parse(layout, text); err == nil {
			return scheduler.InstantOf(local, zone), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.60q is no time: write 2026-03-29T00:00:00Z, or a day such as 2026-03-29", text)
}

// Between lists the slots in [from, to), MaxSlots at most; complete is false if there are more.
func Between(ctx context.Context, t *scheduler.Timetable, from, to time.Time) (slots []keyturn.Slot, complete bool, err error) {
	slot, ok := t.First(from.Add(-time.Nanosecond))
	for ; ok && slot.At.Before(to); slot, ok = t.Next(slot) {
		if len(slots) == MaxSlots {
			return slots, false, nil
		}
		if len(slots)%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return nil, false, fmt.Errorf("listing slots: %w", err)
			}
		}
		slots = append(slots, slot)
	}
	return slots, true, nil
}
