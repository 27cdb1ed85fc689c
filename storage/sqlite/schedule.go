package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// leaveAlone is how long a policy waits after its next slot could not be found.
const leaveAlone = time.Minute

// FireDue implements scheduler.Store.
func (s *Store) FireDue(
	ctx context.Context, limit int, decide func(due keyturn.Due, now time.Time) (keyturn.Firing, error),
) ([]keyturn.Rotation, error) {
	var fired []keyturn.Rotation
	err := s.inTx(ctx, "firing due policies", func(ctx context.Context, tx *tx) error {
		rows, err := s.q.DuePolicies(ctx, tx, db.DuePoliciesParams{Now: at(tx.now), MaxRows: int64(limit)})
		if err != nil {
			return err
		}
		for _, row := range rows {
			started, err := s.fire(ctx, tx, row, decide)
			if err != nil {
				return fmt.Errorf("policy %q: %w", row.Name, err)
			}
			fired = append(fired, started...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return fired, nil
}

// fire advances one policy and returns the rotations that its slot makes.
func (s *Store) fire(
	ctx context.Context, tx *tx, row db.DuePoliciesRow, decide func(keyturn.Due, time.Time) (keyturn.Firing, error),
) ([]keyturn.Rotation, error) {
	slot := keyturn.Slot{Local: row.NextLocal.String, Timezone: row.NextTimezone.String, At: toTime(row.NextAt.Int64)}
	policy, what, err := s.decide(ctx, tx, row, slot, decide)
	if err != nil {
		s.log.Warn("policy is left alone: its next slot can't be found", zap.String("policy", row.Name),
			zap.String("slot", slot.Name()), zap.Duration("for", leaveAlone), zap.Error(err))
		return nil, s.q.LeavePolicy(ctx, tx, db.LeavePolicyParams{Name: row.Name, WakeAt: tx.in(leaveAlone)})
	}
	if err := s.advance(ctx, tx, row.Name, what); err != nil || policy.Paused {
		return nil, err
	}
	var fired []keyturn.Rotation
	for _, start := range what.Start {
		r, created, err := s.insertRotation(ctx, tx, policy, keyturn.Request{
			Policy: row.Name, Trigger: keyturn.TriggerSchedule, Slot: &start.Slot, Reason: start.Reason, Only: start.Only,
		}, start)
		if err != nil {
			return nil, err
		}
		if created {
			fired = append(fired, r)
		}
	}
	return fired, nil
}

// decide asks what becomes of a slot.
func (s *Store) decide(
	ctx context.Context, tx *tx, row db.DuePoliciesRow, slot keyturn.Slot, decide func(keyturn.Due, time.Time) (keyturn.Firing, error),
) (keyturn.Policy, keyturn.Firing, error) {
	policy, err := toPolicy(row.Name, row.Spec, row.Generation, row.Paused != 0)
	if err != nil {
		return keyturn.Policy{}, keyturn.Firing{}, err
	}
	what, err := decide(keyturn.Due{
		Policy: policy, Slot: slot, UnderWay: row.UnderWay != 0,
		OldUnits: func(before time.Time) ([]keyturn.Unit, error) { return s.oldUnits(ctx, tx, policy.Target, before) },
	}, toTime(tx.now))
	if err == nil && what.Next != nil && !what.Next.At.After(slot.At) && (what.Next.Name() != slot.Name() || wakeAt(what) <= tx.now) {
		err = fmt.Errorf("the slot after it, %s, is not later", what.Next.Name()) // it would fire for ever
	}
	return policy, what, err
}

// wakeAt is when a policy is looked at again that has a next slot.
func wakeAt(what keyturn.Firing) int64 {
	if !what.Wake.IsZero() && what.Wake.Before(what.Next.At) {
		return what.Wake.UnixMilli()
	}
	return what.Next.At.UnixMilli()
}

func (s *Store) advance(ctx context.Context, tx *tx, policy string, what keyturn.Firing) error {
	local, timezone, instant := slotColumns(what.Next)
	wake := instant
	if what.Next != nil {
		wake = at(wakeAt(what))
	}
	err := s.q.AdvancePolicy(ctx, tx, db.AdvancePolicyParams{
		Name: policy, NextLocal: local, NextTimezone: timezone, NextAt: instant, WakeAt: wake,
		DeadlineAt: fromTimePtr(what.Deadline),
	})
	if err != nil || what.Skipped == nil {
		return err
	}
	return s.q.NoteSkipped(ctx, tx, db.NoteSkippedParams{
		Slot: text(what.Skipped.Slot), Reason: text(what.Skipped.Reason), Now: at(tx.now), Name: policy,
	})
}

// oldUnits returns the target's units whose key is in use since before or longer.
func (s *Store) oldUnits(ctx context.Context, tx *tx, target string, before time.Time) ([]keyturn.Unit, error) {
	rows, err := s.q.OldUnits(ctx, tx, db.OldUnitsParams{
		IdsFrom: target + ".", IdsTo: target + "/", Target: target, KeyBefore: at(before.UnixMilli()),
	})
	if err != nil {
		return nil, fmt.Errorf("reading units of target %s: %w", target, err)
	}
	units := make([]keyturn.Unit, len(rows))
	for i, r := range rows {
		units[i] = keyturn.Unit{
			ID: r.ID, Target: r.Target, System: keyturn.System(r.System), ProjectID: r.ProjectID, ProjectName: r.ProjectName,
			ClusterID: r.ClusterID, ClusterName: r.ClusterName, Component: keyturn.Component(r.Component), Name: r.Name,
			KeyID: r.KeyID, KeySince: toTimePtr(r.KeySince), KeySinceExact: r.KeyExact != 0, Rotatable: true,
		}
	}
	return units, nil
}

// slotColumns is a slot as policies keep it; nil: none.
func slotColumns(slot *keyturn.Slot) (local, timezone sql.NullString, instant sql.NullInt64) {
	if slot == nil {
		return local, timezone, instant
	}
	return sql.NullString{String: slot.Local, Valid: true}, sql.NullString{String: slot.Timezone, Valid: true}, at(slot.At.UnixMilli())
}

// NextDue implements scheduler.Store.
func (s *Store) NextDue(ctx context.Context) (time.Duration, bool, error) {
	var soonest sql.NullInt64
	for _, next := range []func(context.Context, db.DBTX) (sql.NullInt64, error){s.q.NextSlotDue, s.q.NextPauseEnds, s.q.NextLook} {
		due, err := next(ctx, s.read)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return 0, false, fmt.Errorf("finding the next slot: %w", err)
		}
		if !soonest.Valid || due.Int64 < soonest.Int64 {
			soonest = due
		}
	}
	return span(s.nowMS(), soonest.Int64), soonest.Valid, nil
}

// Request implements worker.TriggerStore and api.Store.
func (s *Store) Request(ctx context.Context, req keyturn.Request) (keyturn.Rotation, bool, error) {
	var r keyturn.Rotation
	var created bool
	err := s.inTx(ctx, fmt.Sprintf("requesting a rotation of policy %q", req.Policy), func(ctx context.Context, tx *tx) error {
		var err error
		if r, err = s.requested(ctx, tx, req); !errors.Is(err, keyturn.ErrNotFound) {
			return err
		}
		policy, err := s.policy(ctx, tx, req.Policy)
		if err != nil {
			return err
		}
		r, created, err = s.insertRotation(ctx, tx, policy, req, keyturn.Start{})
		if err == nil && created {
			err = s.writeAudit(ctx, tx)
		}
		return err
	})
	if err != nil {
		return keyturn.Rotation{}, false, err
	}
	return r, created, nil
}

// requested finds the rotation that the same request made before.
func (s *Store) requested(ctx context.Context, tx *tx, req keyturn.Request) (keyturn.Rotation, error) {
	row, err := db.Rotation{}, sql.ErrNoRows
	if req.TriggerID != "" {
		row, err = s.q.RotationOfTrigger(ctx, tx, text(req.TriggerID))
		if err == nil && row.Policy != req.Policy {
			return keyturn.Rotation{}, fmt.Errorf("%w: the id %q was used for policy %q", keyturn.ErrConflict, req.TriggerID, row.Policy)
		}
	}
	if req.Slot != nil && errors.Is(err, sql.ErrNoRows) {
		row, err = s.q.RotationOfSlot(ctx, tx, db.RotationOfSlotParams{Policy: req.Policy, Slot: text(req.Slot.Name())})
	}
	if err != nil {
		return keyturn.Rotation{}, found(err)
	}
	return s.withCounts(ctx, tx, row)
}

// insertRotation inserts a rotation, with what a schedule says about its start, unless the same request made one before.
func (s *Store) insertRotation(
	ctx context.Context, tx *tx, policy keyturn.Policy, req keyturn.Request, start keyturn.Start,
) (keyturn.Rotation, bool, error) {
	if r, err := s.requested(ctx, tx, req); !errors.Is(err, keyturn.ErrNotFound) {
		return r, false, err
	}
	only, err := json.Marshal(req.Only)
	if err != nil {
		return keyturn.Rotation{}, false, fmt.Errorf("writing what narrows it: %w", err)
	}
	r := keyturn.Rotation{
		ID: s.ids.next(tx.now), Policy: policy.Name, Target: policy.Target, Trigger: req.Trigger, TriggerID: req.TriggerID,
		Reason: req.Reason, RequestedBy: req.RequestedBy, Only: req.Only, State: keyturn.RotationRequested, RequestedAt: toTime(tx.now),
	}
	if req.Slot != nil {
		r.Slot = req.Slot.Name()
	}
	err = s.q.InsertRotation(ctx, tx, db.InsertRotationParams{
		ID: r.ID.String(), Policy: r.Policy, Target: r.Target, TriggeredBy: string(r.Trigger), TriggerID: text(r.TriggerID),
		Slot: text(r.Slot), Reason: r.Reason, RequestedBy: r.RequestedBy, OnlyUnits: string(only), RequestedAt: tx.now,
		OpenUntil: fromTimePtr(start.Opening.Until), LookAt: fromTimePtr(start.Opening.LookAt), Supersedes: number(start.Supersedes),
	})
	if err != nil {
		return keyturn.Rotation{}, false, fmt.Errorf("inserting the rotation: %w", err)
	}
	return r, true, s.announce(ctx, tx, "rotation.requested", r.ID)
}
