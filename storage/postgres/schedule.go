package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
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
	var fired []keyturn.Rotation
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		rows, err := s.duePolicies(ctx, tx, limit)
		if err != nil || len(rows) == 0 {
			fired = nil
			return err
		}
		f, err := s.decide(ctx, tx, rows, decide)
		if err != nil {
			return err
		}
		fired, err = s.fire(ctx, tx, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("firing due policies: %w", err)
	}
	return fired, nil
}

// firing is what is to be written for the policies that are due.
type firing struct {
	now       time.Time
	rotations map[keyturn.ID]keyturn.Rotation
	slots     db.FireSlotsParams
	advance   advance
	skipped   db.NoteSkippedParams
	broken    []string // policies whose next slot can't be computed
}

// decide asks for every policy that is due what becomes of it.
func (s *Store) decide(
	ctx context.Context, tx pgx.Tx, rows []duePolicy, decide func(due keyturn.Due, now time.Time) (keyturn.Firing, error),
) (firing, error) {
	f := firing{rotations: make(map[keyturn.ID]keyturn.Rotation, len(rows))}
	for i := range rows {
		row := &rows[i]
		f.now = row.now.UTC()
		slot := keyturn.Slot{Local: row.nextLocal, Timezone: row.nextTimezone, At: row.nextAt.UTC()}
		policy, err := policyOf(row.name, row.spec, row.generation, row.paused)
		if err != nil {
			s.leave(&f, row.name, err)
			continue
		}
		units := &oldUnits{store: s, ctx: ctx, tx: tx, target: policy.Target}
		due := keyturn.Due{Policy: policy, Slot: slot, UnderWay: row.underWay, OldUnits: units.before}
		what, err := decide(due, f.now)
		if units.err != nil { // the transaction is lost, whatever was decided
			return firing{}, units.err
		}
		if err == nil {
			err = plausible(what, slot, f.now)
		}
		if err == nil {
			err = f.add(s, policy, what)
		}
		if err != nil {
			s.leave(&f, row.name, err)
			continue
		}
		f.advanceTo(row, what)
	}
	f.slots.Now, f.skipped.Now = f.now, f.now
	return f, nil
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

// oldUnits reads units for one decision.
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
	a, slot := &f.advance, what.Next
	a.places, a.names = append(a.places, row.place), append(a.names, row.name)
	a.was, a.ends = append(a.was, row.nextAt), append(a.ends, slot == nil)
	wake := time.Time{}
	if slot == nil {
		slot = &keyturn.Slot{}
	} else {
		wake = wakeAt(what)
	}
	a.locals, a.timezones = append(a.locals, slot.Local), append(a.timezones, slot.Timezone)
	a.ats, a.wakes = append(a.ats, slot.At), append(a.wakes, wake)
	a.deadlines = append(a.deadlines, orEpoch(what.Deadline))
	if what.Skipped != nil {
		n := &f.skipped
		n.Names, n.Slots, n.Reasons = append(n.Names, row.name), append(n.Slots, what.Skipped.Slot), append(n.Reasons, clean(what.Skipped.Reason))
	}
}

// add notes the rotations that start.
func (f *firing) add(s *Store, policy keyturn.Policy, what keyturn.Firing) error {
	if policy.Paused {
		return nil
	}
	for _, start := range what.Start {
		only, err := json.Marshal(start.Only)
		if err != nil {
			return fmt.Errorf("writing the selection of a rotation: %w", err)
		}
		id, p := s.newID(), &f.slots
		p.Ids, p.Policies = append(p.Ids, id), append(p.Policies, policy.Name)
		p.Targets, p.Slots = append(p.Targets, policy.Target), append(p.Slots, start.Slot.Name())
		p.Reasons, p.Only = append(p.Reasons, clean(start.Reason)), append(p.Only, string(only))
		p.OpenUntils, p.LookAts = append(p.OpenUntils, orEpoch(start.Opening.Until)), append(p.LookAts, orEpoch(start.Opening.LookAt))
		p.Supersede = append(p.Supersede, start.Supersedes)
		f.rotations[id] = keyturn.Rotation{
			ID: id, Policy: policy.Name, Target: policy.Target, Trigger: keyturn.TriggerSchedule, Slot: start.Slot.Name(),
			Reason: clean(start.Reason), Only: start.Only, State: keyturn.RotationRequested, RequestedAt: f.now,
		}
	}
	return nil
}

// orEpoch stands for no time in an array that has no room for NULL.
func orEpoch(t *time.Time) time.Time {
	if t == nil {
		return time.Unix(0, 0)
	}
	return *t
}

func (s *Store) fire(ctx context.Context, tx pgx.Tx, f firing) ([]keyturn.Rotation, error) {
	var fired []keyturn.Rotation
	if len(f.slots.Ids) > 0 {
		ids, err := s.q.FireSlots(ctx, tx, f.slots)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			fired = append(fired, f.rotations[id])
		}
	}
	if len(f.advance.names) > 0 {
		if err := s.advancePolicies(ctx, tx, &f.advance); err != nil {
			return nil, err
		}
	}
	if len(f.skipped.Names) > 0 {
		if err := s.q.NoteSkipped(ctx, tx, f.skipped); err != nil {
			return nil, err
		}
	}
	if len(f.broken) > 0 {
		until := f.now.Add(leaveAlone)
		if err := s.q.LeavePolicies(ctx, tx, db.LeavePoliciesParams{Until: &until, Names: f.broken}); err != nil {
			return nil, err
		}
	}
	return fired, nil
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
