package calendar

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/scheduler"
)

// maxTurns bounds the work of a replay: units at slots.
const maxTurns = 500_000_000

// ReplayOptions say what a replay supposes.
type ReplayOptions struct {
	From, To    time.Time
	Units       int           // of each policy
	FailureRate float64       // of each unit in each rotation, 0 to 1
	Seed        uint64        // the same seed, the same failures
	MaxAge      time.Duration // that no key may pass; 0: the policy's alerts.warnAfter
}

// Replayed is how a policy did.
type Replayed struct {
	Policy     string     `json:"policy"`
	Rotations  int        `json:"rotations"`
	Turned     int        `json:"turned" doc:"Keys that were turned."`
	Failed     int        `json:"failed" doc:"Keys that were not, because the unit failed."`
	HighestAge string     `json:"highestAge" doc:"The highest age that any key reached, in days."`
	ReachedAt  *time.Time `json:"reachedAt" doc:"When it did."`
	Limit      string     `json:"limit"`
	OK         bool       `json:"ok"`
	Note       string     `json:"note"`

	highest time.Duration
}

// Highest returns the highest age that any key reached.
func (r Replayed) Highest() time.Duration { return r.highest }

// replay is one policy's way through time. Its keys are all new at the start.
type replay struct {
	policy keyturn.Policy
	table  *scheduler.Timetable
	o      ReplayOptions
	random *rand.Rand
	since  []time.Time
	spread []time.Duration // of each unit
	result Replayed
	steps  int
}

// Replay lets time pass for a policy: each rotation turns the units that are
// due, but for those that fail, and never while windows or blackouts forbid it.
func Replay(ctx context.Context, policy keyturn.Policy, table *scheduler.Timetable, o ReplayOptions) (Replayed, error) {
	limit := o.MaxAge
	if limit == 0 {
		limit = policy.Alerts.WarnAfter.Std()
	}
	r := newReplay(policy, table, o)
	r.result.Limit = keyturn.Duration(limit).String()
	slot, ok := table.First(o.From)
	if !ok {
		r.result.OK, r.result.Note, r.result.HighestAge = true, "not judged: it has no slots, and runs only when it is triggered", "-"
		return r.result, nil
	}
	for ; ok && slot.At.Before(o.To); slot, ok = table.Next(slot) {
		if err := ctx.Err(); err != nil {
			return r.result, fmt.Errorf("replaying policy %s: %w", policy.Name, err)
		}
		if r.steps += o.Units + 1; r.steps > maxTurns {
			return r.result, errors.New("policy " + policy.Name + " has too many slots to replay: take fewer years or units")
		}
		r.rotate(r.inTime(slot).At)
	}
	for u := range r.since {
		r.aged(u, o.To)
	}
	r.result.HighestAge = strconv.FormatFloat(r.result.highest.Hours()/24, 'f', 1, 64) + "d"
	r.result.OK = r.result.highest <= limit
	return r.result, nil
}

func newReplay(policy keyturn.Policy, table *scheduler.Timetable, o ReplayOptions) *replay {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(policy.Name))
	r := &replay{
		policy: policy, table: table, o: o,
		random: rand.New(rand.NewPCG(o.Seed, hash.Sum64())), //nolint:gosec // a simulation, that can be repeated
		result: Replayed{Policy: policy.Name},
	}
	spread := policy.Schedule.Jitter.Std()
	if spread == 0 && policy.Schedule.MaxAge > 0 {
		spread = policy.Schedule.MaxAge.Std() / 10
	}
	for range o.Units {
		r.since = append(r.since, o.From)
		d := time.Duration(0)
		if spread > 0 {
			d = time.Duration(r.random.Int64N(int64(spread)))
		}
		r.spread = append(r.spread, d)
	}
	return r
}

// inTime moves a slot before its window if the oldest key would get too old.
func (r *replay) inTime(slot keyturn.Slot) keyturn.Slot {
	if r.policy.Schedule.Deadline != keyturn.DeadlineRun || len(r.since) == 0 {
		return slot
	}
	oldest := r.since[0]
	for _, since := range r.since {
		if since.Before(oldest) {
			oldest = since
		}
	}
	moved, _ := r.table.InTime(slot, oldest.Add(r.policy.Alerts.CriticalAfter.Std()))
	return moved
}

// rotate carries out the slot at an instant.
func (r *replay) rotate(at time.Time) {
	open, until := r.table.Open(at)
	if !open {
		until = at.Add(time.Nanosecond) // out of its windows, in time: as if they began now
	}
	began := false
	maxAge, minInterval := r.policy.Schedule.MaxAge.Std(), r.policy.Schedule.MinInterval.Std()
	for u, since := range r.since {
		when := at
		if maxAge > 0 {
			if at.Sub(since) < maxAge-r.spread[u] {
				continue
			}
		} else {
			when = when.Add(r.spread[u])
		}
		if !until.IsZero() && !when.Before(until) {
			when = r.opening(when)
		}
		if when.Sub(since) < max(minInterval, 1) || !when.Before(r.o.To) {
			continue
		}
		began = true
		if r.o.FailureRate > 0 && r.random.Float64() < r.o.FailureRate {
			r.result.Failed++
			continue
		}
		r.aged(u, when)
		r.since[u] = when
		r.result.Turned++
	}
	if began {
		r.result.Rotations++
	}
}

func (r *replay) opening(t time.Time) time.Time {
	if open, until := r.table.Open(t); !open {
		if until.IsZero() {
			return r.o.To // never
		}
		return until
	}
	return t
}

// aged notes the age that a unit's key has reached.
func (r *replay) aged(u int, at time.Time) {
	if age := at.Sub(r.since[u]); age > r.result.highest {
		at := at.UTC()
		r.result.highest, r.result.ReachedAt = age, &at
	}
}
