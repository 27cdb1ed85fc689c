package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// leaveAlone is how long a policy rests whose next slot could not be computed.
const leaveAlone = time.Minute

// FireDue claims policies whose slot is due, inserts their rotations and advances them, in one
// transaction. decide is called inside it and must not use the store.
func (s *Store) FireDue(
	ctx context.Context, limit int, decide func(due keyturn.Due, now time.Time) (keyturn.Firing, error),
) ([]keyturn.Rotation, error) {
	fired, err := s.fireDue(ctx, limit, decide, s.fireNew)
	if hasCode(err, codeUniqueViolation) { // somebody asked for one of the slots by hand
		fired, err = s.fireDue(ctx, limit, decide, s.fireMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("firing due policies: %w", err)
	}
	return fired, nil
}

func (s *Store) fireDue(
	ctx context.Context, limit int, decide func(due keyturn.Due, now time.Time) (keyturn.Firing, error),
	insert func(context.Context, pgx.Tx, *firing) error,
) (fired []keyturn.Rotation, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		fired = nil
		rows, err := s.duePolicies(ctx, tx, limit)
		if err != nil || len(rows) == 0 {
			return err
		}
		fired, err = s.fire(ctx, tx, rows, decide, insert)
		if err != nil {
			s.due.putBack(rows) // for the next try
		}
		return err
	})
	return fired, err
}

func (s *Store) fire(
	ctx context.Context, tx pgx.Tx, rows []duePolicy, decide func(due keyturn.Due, now time.Time) (keyturn.Firing, error),
	insert func(context.Context, pgx.Tx, *firing) error,
) ([]keyturn.Rotation, error) {
	f, err := s.decide(ctx, tx, rows, decide)
	if err != nil {
		return nil, err
	}
	if len(f.rotations) > 0 {
		if err := insert(ctx, tx, &f); err != nil {
			return nil, err
		}
	}
	return f.rotations, s.moveOn(ctx, tx, &f)
}

// firing is what is to be written for the policies that are due.
type firing struct {
	now       time.Time
	rotations []keyturn.Rotation
	slots     db.FireSlotsParams
	targets   common[string] // of the slots, and their names
	names     common[string]
	advance   advance
	skipped   db.NoteSkippedParams
	broken    []string // policies whose next slot can't be computed
}

// decide asks for every policy that is due what becomes of it.
func (s *Store) decide(
	ctx context.Context, tx pgx.Tx, rows []duePolicy, decide func(due keyturn.Due, now time.Time) (keyturn.Firing, error),
) (firing, error) {
	f := newFiring(len(rows))
	schedules, err := s.timetables.schedules(ctx, s, tx, rows)
	if err != nil {
		return firing{}, err
	}
	specs, units := policySpecs{}, &oldUnits{store: s, ctx: ctx, tx: tx}
	before := units.before
	for i := range rows {
		row := &rows[i]
		f.now = row.now.UTC()
		slot := keyturn.Slot{Local: row.nextLocal, Timezone: row.nextTimezone, At: row.nextAt.UTC()}
		policy, err := specs.policy(row, schedules)
		if err != nil {
			s.leave(&f, row.name, err)
			continue
		}
		units.target = policy.Target
		what, err := decide(keyturn.Due{Policy: policy, Slot: slot, UnderWay: row.underWay, OldUnits: before}, f.now)
		if units.err != nil { // the transaction is lost, whatever was decided
			return firing{}, units.err
		}
		if err == nil {
			err = plausible(what, slot, f.now)
		}
		if err == nil {
			err = f.add(s, &policy, what)
		}
		if err != nil {
			s.leave(&f, row.name, err)
			continue
		}
		f.advanceTo(row, what)
	}
	f.slots.Now, f.skipped.Now = f.now, f.now
	f.slots.Target, f.slots.Targets = f.targets.one, f.targets.rows
	f.slots.Slot, f.slots.Slots = f.names.one, f.names.rows
	return f, nil
}

func newFiring(n int) firing {
	return firing{
		rotations: make([]keyturn.Rotation, 0, n),
		slots:     db.FireSlotsParams{Ids: make([]keyturn.ID, 0, n), Policies: make([]string, 0, n)},
		advance:   advance{places: make([]pgtype.TID, 0, n)},
	}
}

// policySpecs reads each spec once of which many policies have the same.
type policySpecs map[string]keyturn.Policy

func (p policySpecs) policy(row *duePolicy, schedules map[int64]*keyturn.Schedule) (keyturn.Policy, error) {
	if row.timetable.Valid {
		schedule := schedules[row.timetable.Int64]
		if schedule == nil {
			return keyturn.Policy{}, fmt.Errorf("the timetable %d of policy %s is missing or can't be read", row.timetable.Int64, row.name)
		}
		return keyturn.Policy{Name: row.name, Paused: row.paused, Target: row.target, Schedule: *schedule}, nil
	}
	policy, ok := p[string(row.spec)]
	if !ok {
		var err error
		if policy, err = policyOf(row.name, row.spec, row.generation.Int64, row.paused); err != nil {
			return keyturn.Policy{}, err
		}
		p[string(row.spec)] = policy
	}
	policy.Name, policy.Generation, policy.Paused = row.name, row.generation.Int64, row.paused
	return policy, nil
}

// plausible refuses a decision after which the policy would be due again for ever.
func plausible(what keyturn.Firing, slot keyturn.Slot, now time.Time) error {
	if what.Next == nil || what.Next.At.After(slot.At) {
		return nil
	}
	if what.Next.Name() == slot.Name() && wakeAt(what).After(now) {
		return nil // it waits for its window
	}
	return errors.New("the slot after it is not later")
}

// wakeAt is when a policy is looked at again that has a next slot.
func wakeAt(what keyturn.Firing) time.Time {
	if !what.Wake.IsZero() && what.Wake.Before(what.Next.At) {
		return what.Wake
	}
	return what.Next.At
}

// oldUnits reads units for a decision.
type oldUnits struct {
	store  *Store
	ctx    context.Context //nolint:containedctx // lives as long as one call of FireDue
	tx     pgx.Tx
	target string
	err    error
}

func (u *oldUnits) before(before time.Time) ([]keyturn.Unit, error) {
	rows, err := u.store.q.OldUnits(u.ctx, u.tx, db.OldUnitsParams{Target: u.target, Before: before})
	if err != nil {
		u.err = fmt.Errorf("reading units of target %s: %w", u.target, err)
		return nil, u.err
	}
	units := make([]keyturn.Unit, len(rows))
	for i, r := range rows {
		units[i] = keyturn.Unit{
			ID: r.ID, Target: r.Target, System: keyturn.System(r.System), ProjectID: r.ProjectID, ProjectName: r.ProjectName,
			ClusterID: r.ClusterID, ClusterName: r.ClusterName, Component: keyturn.Component(r.Component), Name: r.Name,
			KeyID: r.KeyID, KeySince: utc(r.KeySince), KeySinceExact: r.KeyExact, Rotatable: true,
		}
	}
	return units, nil
}

func (s *Store) leave(f *firing, policy string, err error) {
	s.log.Error("next slot of a policy", zap.String("policy", policy), zap.Error(err), zap.Duration("again_in", leaveAlone))
	f.broken = append(f.broken, policy)
}

func (f *firing) advanceTo(row *duePolicy, what keyturn.Firing) {
	a := &f.advance
	n, slot, wake := len(a.places), what.Next, time.Unix(0, 0)
	if slot == nil {
		slot = &keyturn.Slot{At: wake}
	} else if at := wakeAt(what); !at.Equal(slot.At) {
		wake = at
	}
	a.places = append(a.places, row.place)
	a.was.add(row.nextAt)
	a.locals.add(slot.Local)
	a.timezones.add(slot.Timezone)
	a.ats.add(slot.At)
	seldom(&a.wakes, n, wake, time.Unix(0, 0))
	seldom(&a.deadlines, n, orEpoch(what.Deadline), time.Unix(0, 0))
	if what.Skipped != nil {
		n := &f.skipped
		n.Names, n.Slots, n.Reasons = append(n.Names, row.name), append(n.Slots, what.Skipped.Slot), append(n.Reasons, clean(what.Skipped.Reason))
	}
}

// add notes the rotations that start.
func (f *firing) add(s *Store, policy *keyturn.Policy, what keyturn.Firing) error {
	if policy.Paused {
		return nil
	}
	for i := range what.Start {
		start := &what.Start[i]
		only, err := selectionText(&start.Only)
		if err != nil {
			return err
		}
		p, id, slot, reason := &f.slots, s.newID(), start.Slot.Name(), clean(start.Reason)
		n := len(p.Ids)
		p.Ids, p.Policies = append(p.Ids, id), append(p.Policies, policy.Name)
		f.targets.add(policy.Target)
		f.names.add(slot)
		seldom(&p.Reasons, n, reason, "")
		seldom(&p.Only, n, only, everything)
		seldom(&p.OpenUntils, n, orEpoch(start.Opening.Until), time.Unix(0, 0))
		seldom(&p.LookAts, n, orEpoch(start.Opening.LookAt), time.Unix(0, 0))
		seldom(&p.Supersede, n, start.Supersedes, false)
		f.rotations = append(f.rotations, keyturn.Rotation{
			ID: id, Policy: policy.Name, Target: policy.Target, Trigger: keyturn.TriggerSchedule, Slot: slot,
			Reason: reason, Only: start.Only, State: keyturn.RotationRequested, RequestedAt: f.now,
		})
	}
	return nil
}

// everything is the selection that selects all.
const everything = "{}"

func selectionText(only *keyturn.Selection) (string, error) {
	if reflect.ValueOf(only).Elem().IsZero() {
		return everything, nil
	}
	text, err := json.Marshal(only)
	if err != nil {
		return "", fmt.Errorf("writing the selection of a rotation: %w", err)
	}
	return string(text), nil
}

// orEpoch stands for no time in an array that has no room for NULL.
func orEpoch(t *time.Time) time.Time {
	if t == nil {
		return time.Unix(0, 0)
	}
	return *t
}

// fireNew inserts the rotations, of which none is there yet.
func (s *Store) fireNew(ctx context.Context, tx pgx.Tx, f *firing) error {
	return s.q.FireNewSlots(ctx, tx, db.FireNewSlotsParams(f.slots))
}

// fireMissing inserts those rotations that are not there yet, and forgets the others.
func (s *Store) fireMissing(ctx context.Context, tx pgx.Tx, f *firing) error {
	inserted, err := s.q.FireSlots(ctx, tx, f.slots)
	if err != nil {
		return err
	}
	f.rotations = slices.DeleteFunc(f.rotations, func(r keyturn.Rotation) bool { return !slices.Contains(inserted, r.ID) })
	return nil
}

// moveOn writes down what becomes of the policies.
func (s *Store) moveOn(ctx context.Context, tx pgx.Tx, f *firing) error {
	if len(f.advance.places) > 0 {
		if err := s.advancePolicies(ctx, tx, &f.advance); err != nil {
			return err
		}
	}
	if len(f.skipped.Names) > 0 {
		if err := s.q.NoteSkipped(ctx, tx, f.skipped); err != nil {
			return err
		}
	}
	if len(f.broken) > 0 {
		until := f.now.Add(leaveAlone)
		if err := s.q.LeavePolicies(ctx, tx, db.LeavePoliciesParams{Until: &until, Names: f.broken}); err != nil {
			return err
		}
	}
	return nil
}

// NextDue returns how long it is until there is something to do; negative: overdue.
func (s *Store) NextDue(ctx context.Context) (time.Duration, bool, error) {
	row, err := s.q.NextDue(ctx, s.pool, s.clock())
	if err != nil {
		return 0, false, fmt.Errorf("reading the next slot: %w", err)
	}
	if row.WakeAt.Unix() == 0 {
		return 0, false, nil
	}
	return row.WakeAt.Sub(row.Now), true, nil
}
