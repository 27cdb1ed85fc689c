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
	ctx context.Context, limit int, next func(due keyturn.Due, now time.Time) (*keyturn.Slot, error),
) ([]keyturn.Rotation, error) {
	var fired []keyturn.Rotation
	err := s.inTx(ctx, "firing due policies", func(ctx context.Context, tx *tx) error {
		rows, err := s.q.DuePolicies(ctx, tx, db.DuePoliciesParams{Now: at(tx.now), MaxRows: int64(limit)})
		if err != nil {
			return err
		}
		for _, row := range rows {
			r, err := s.fire(ctx, tx, row, next)
			if err != nil {
				return fmt.Errorf("policy %q: %w", row.Name, err)
			}
			if r != nil {
				fired = append(fired, *r)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return fired, nil
}

// fire advances one policy and returns its new rotation, if its slot makes one.
func (s *Store) fire(
	ctx context.Context, tx *tx, row db.DuePoliciesRow, next func(keyturn.Due, time.Time) (*keyturn.Slot, error),
) (*keyturn.Rotation, error) {
	policy, err := toPolicy(row.Name, row.Spec, row.Generation, row.Paused != 0)
	slot := keyturn.Slot{Local: row.NextLocal.String, Timezone: row.NextTimezone.String, At: toTime(row.NextAt.Int64)}
	var following *keyturn.Slot
	if err == nil {
		following, err = next(keyturn.Due{Policy: policy, Slot: slot}, toTime(tx.now))
	}
	if err == nil && following != nil && !following.At.After(slot.At) {
		err = fmt.Errorf("the slot after it, %s, is not later", following.Name()) // it would fire for ever
	}
	if err != nil {
		s.log.Warn("policy is left alone: its next slot can't be found", zap.String("policy", row.Name),
			zap.String("slot", slot.Name()), zap.Duration("for", leaveAlone), zap.Error(err))
		return nil, s.q.LeavePolicy(ctx, tx, db.LeavePolicyParams{Name: row.Name, WakeAt: tx.in(leaveAlone)})
	}
	local, timezone, instant := slotColumns(following)
	err = s.q.AdvancePolicy(ctx, tx, db.AdvancePolicyParams{Name: row.Name, NextLocal: local, NextTimezone: timezone, NextAt: instant})
	if err != nil || policy.Paused {
		return nil, err
	}
	r, created, err := s.insertRotation(ctx, tx, policy, keyturn.Request{Policy: row.Name, Trigger: keyturn.TriggerSchedule, Slot: &slot})
	if err != nil || !created {
		return nil, err
	}
	return &r, nil
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
	due, err := s.q.NextDue(ctx, s.read)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("finding the next slot: %w", err)
	}
	return span(s.nowMS(), due.Int64), true, nil
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
		r, created, err = s.insertRotation(ctx, tx, policy, req)
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

// insertRotation inserts a rotation, unless the same request made one before.
func (s *Store) insertRotation(ctx context.Context, tx *tx, policy keyturn.Policy, req keyturn.Request) (keyturn.Rotation, bool, error) {
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
	})
	if err != nil {
		return keyturn.Rotation{}, false, fmt.Errorf("inserting the rotation: %w", err)
	}
	return r, true, s.announce(ctx, tx, "rotation.requested", r.ID)
}
