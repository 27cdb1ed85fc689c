package postgres

import (
	"context"
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
// transaction. next is called inside it and must not use the store.
func (s *Store) FireDue(ctx context.Context, limit int, next func(due keyturn.Due, now time.Time) (*keyturn.Slot, error)) ([]keyturn.Rotation, error) {
	var fired []keyturn.Rotation
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		rows, err := s.q.DuePolicies(ctx, tx, db.DuePoliciesParams{Max: int32Of(limit), Now: s.clock()})
		if err != nil || len(rows) == 0 {
			fired = nil
			return err
		}
		fired, err = s.fire(ctx, tx, s.decide(rows, next))
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
	advance   db.AdvancePoliciesParams
	broken    []string // policies whose next slot can't be computed
}

// decide asks next for every policy that is due.
func (s *Store) decide(rows []db.DuePoliciesRow, next func(due keyturn.Due, now time.Time) (*keyturn.Slot, error)) firing {
	f := firing{rotations: make(map[keyturn.ID]keyturn.Rotation, len(rows))}
	for _, row := range rows {
		f.now = row.Now.UTC()
		slot := keyturn.Slot{Local: row.NextLocal, Timezone: row.NextTimezone, At: row.NextAt.UTC()}
		policy, err := policyOf(row.Name, row.Spec, row.Generation, row.Paused)
		if err != nil {
			s.leave(&f, row.Name, err)
			continue
		}
		following, err := next(keyturn.Due{Policy: policy, Slot: slot}, f.now)
		if err == nil && following != nil && !following.At.After(slot.At) {
			err = errors.New("the slot after it is not later")
		}
		if err != nil {
			s.leave(&f, row.Name, err)
			continue
		}
		f.advanceTo(row, following)
		if !policy.Paused {
			f.add(s.newID(), policy, slot)
		}
	}
	f.slots.Now = f.now
	return f
}

func (s *Store) leave(f *firing, policy string, err error) {
	s.log.Error("next slot of a policy", zap.String("policy", policy), zap.Error(err), zap.Duration("again_in", leaveAlone))
	f.broken = append(f.broken, policy)
}

func (f *firing) advanceTo(row db.DuePoliciesRow, slot *keyturn.Slot) {
	a := &f.advance
	a.Names, a.Was, a.Ends = append(a.Names, row.Name), append(a.Was, row.NextAt), append(a.Ends, slot == nil)
	if slot == nil {
		slot = &keyturn.Slot{}
	}
	a.Locals, a.Timezones, a.Ats = append(a.Locals, slot.Local), append(a.Timezones, slot.Timezone), append(a.Ats, slot.At)
}

func (f *firing) add(id keyturn.ID, policy keyturn.Policy, slot keyturn.Slot) {
	p := &f.slots
	p.Ids, p.Policies = append(p.Ids, id), append(p.Policies, policy.Name)
	p.Targets, p.Slots = append(p.Targets, policy.Target), append(p.Slots, slot.Name())
	f.rotations[id] = keyturn.Rotation{
		ID: id, Policy: policy.Name, Target: policy.Target, Trigger: keyturn.TriggerSchedule, Slot: slot.Name(),
		State: keyturn.RotationRequested, RequestedAt: f.now,
	}
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
	if len(f.advance.Names) > 0 {
		if err := s.q.AdvancePolicies(ctx, tx, f.advance); err != nil {
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

// NextDue returns how long it is until the next slot of any policy; negative: overdue.
func (s *Store) NextDue(ctx context.Context) (time.Duration, bool, error) {
	row, err := s.q.NextDue(ctx, s.pool, s.clock())
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading the next slot: %w", err)
	}
	return row.WakeAt.Sub(row.Now), true, nil
}
