package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// Resources returns all resources, ordered by kind and name.
func (s *Store) Resources(ctx context.Context) ([]keyturn.Resource, error) {
	out, err := s.resources(ctx, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("listing resources: %w", err)
	}
	return out, nil
}

// ResourcesOf returns the resources of one kind, ordered by name.
func (s *Store) ResourcesOf(ctx context.Context, kind keyturn.ResourceKind) ([]keyturn.Resource, error) {
	of := string(kind)
	out, err := s.resources(ctx, &of, nil)
	if err != nil {
		return nil, fmt.Errorf("listing resources of kind %s: %w", kind, err)
	}
	return out, nil
}

// Resource returns one resource; it answers ErrNotFound when there is none.
func (s *Store) Resource(ctx context.Context, kind keyturn.ResourceKind, name string) (keyturn.Resource, error) {
	of := string(kind)
	out, err := s.resources(ctx, &of, &name)
	if err == nil && len(out) == 0 {
		err = keyturn.ErrNotFound
	}
	if err != nil {
		return keyturn.Resource{}, fmt.Errorf("reading %s %s: %w", kind, name, err)
	}
	return out[0], nil
}

func (s *Store) resources(ctx context.Context, kind, name *string) ([]keyturn.Resource, error) {
	rows, err := s.q.Resources(ctx, s.pool, db.ResourcesParams{Now: s.clock(), Kind: kind, Name: name})
	if err != nil {
		return nil, err
	}
	out := make([]keyturn.Resource, len(rows))
	for i, r := range rows {
		out[i] = keyturn.Resource{
			Kind: keyturn.ResourceKind(r.Kind), Name: r.Name, Spec: r.Spec, Generation: r.Generation,
			CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Status: statusOf(r),
		}
	}
	return out, nil
}

func statusOf(r db.ResourcesRow) keyturn.ResourceStatus {
	st := keyturn.ResourceStatus{Paused: r.Paused, PausedBy: r.PausedBy, PauseNote: r.PauseNote}
	st.PausedUntil = utc(r.PausedUntil)
	st.SkippedSlot, st.SkippedReason, st.SkippedAt = text(r.SkippedSlot), text(r.SkippedReason), utc(r.SkippedAt)
	if r.NextAt != nil {
		slot := keyturn.Slot{Local: text(r.NextLocal), Timezone: text(r.NextTimezone), At: r.NextAt.UTC()}
		st.NextSlot, st.NextAt = slot.Name(), &slot.At
	}
	if r.HoldUntil != nil && r.HoldUntil.After(r.Now) {
		st.HeldUntil, st.HoldReason = utc(r.HoldUntil), r.HoldReason
	}
	return st
}

// ApplyResources makes all the changes or none. It answers ErrConflict also for a policy whose target
// does not exist when all changes are made.
func (s *Store) ApplyResources(ctx context.Context, changes []keyturn.ResourceChange) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if err := s.q.LockResources(ctx, tx); err != nil {
			return err
		}
		for _, c := range changes {
			if err := s.apply(ctx, tx, c); err != nil {
				return fmt.Errorf("%s %s: %w", c.Kind, c.Name, err)
			}
		}
		orphans, err := s.q.OrphanedPolicies(ctx, tx)
		if err != nil {
			return err
		}
		if len(orphans) > 0 {
			return fmt.Errorf("policy %s names target %q, which would not exist: %w", orphans[0].Name, orphans[0].Target, keyturn.ErrConflict)
		}
		return s.writeAudit(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("applying %d changes: %w", len(changes), err)
	}
	return nil
}

func (s *Store) apply(ctx context.Context, tx pgx.Tx, c keyturn.ResourceChange) error {
	changed, err := s.write(ctx, tx, c)
	if err != nil {
		return err
	}
	if changed == 0 {
		return fmt.Errorf("it is not at generation %d any more: read it again: %w", c.Expect, keyturn.ErrConflict)
	}
	switch {
	case c.Kind == keyturn.KindPolicy && c.Spec == nil:
		held, err := s.q.PausedUnfinished(ctx, tx, c.Name)
		if err == nil && held {
			err = fmt.Errorf("it is paused, or has windows, and a rotation of it has not ended, which its removal would let go on: %w", keyturn.ErrConflict)
		}
		if err != nil {
			return err
		}
		return s.q.DeletePolicy(ctx, tx, c.Name)
	case c.Kind == keyturn.KindPolicy:
		if err := s.q.LookAgain(ctx, tx, db.LookAgainParams{Now: s.clock(), Policy: c.Name}); err != nil {
			return err
		}
		return s.setSlot(ctx, tx, c)
	case c.Kind == keyturn.KindTarget && c.Spec == nil:
		open, err := s.q.UnfinishedOfTarget(ctx, tx, c.Name)
		if err == nil && open {
			err = fmt.Errorf("a rotation of it has not ended: wait for its end: %w", keyturn.ErrConflict)
		}
		if err != nil {
			return err
		}
		return s.q.FreeTarget(ctx, tx, c.Name)
	case c.Kind == keyturn.KindTarget:
		return s.q.AddTarget(ctx, tx, c.Name)
	default:
		return nil
	}
}

// write makes one change of the resource itself and returns how many rows it changed: 0 is a conflict.
func (s *Store) write(ctx context.Context, tx pgx.Tx, c keyturn.ResourceChange) (int64, error) {
	switch {
	case c.Spec == nil:
		return s.q.DeleteResource(ctx, tx, db.DeleteResourceParams{Kind: string(c.Kind), Name: c.Name, Expect: c.Expect})
	case c.Expect == 0:
		return s.q.CreateResource(ctx, tx, db.CreateResourceParams{Kind: string(c.Kind), Name: c.Name, Spec: c.Spec, Now: s.clock()})
	default:
		return s.q.UpdateResource(ctx, tx, db.UpdateResourceParams{
			Spec: c.Spec, Now: s.clock(), Kind: string(c.Kind), Name: c.Name, Expect: c.Expect,
		})
	}
}

func slotColumns(slot *keyturn.Slot) (local, timezone *string, at *time.Time) {
	if slot == nil {
		return nil, nil, nil
	}
	return &slot.Local, &slot.Timezone, &slot.At
}

// setSlot writes what schedulers need of a policy.
func (s *Store) setSlot(ctx context.Context, tx pgx.Tx, c keyturn.ResourceChange) error {
	local, timezone, at := slotColumns(c.Next)
	p := db.SetSlotParams{Name: c.Name, NextLocal: local, NextTimezone: timezone, NextAt: at, WakeAt: at}
	var policy keyturn.Policy
	if err := json.Unmarshal(c.Spec, &policy); err == nil { // or schedulers will say what is wrong with it
		if p.Timetable, p.Schedule, err = timetableOf(policy.Schedule); err != nil {
			return err
		}
		if p.Timetable != nil {
			p.Target = &policy.Target
		}
		if at != nil && len(policy.Schedule.Windows) > 0 { // it waits for one: a key may get too old until then
			p.WakeAt = &time.Time{}
		}
	}
	return s.q.SetSlot(ctx, tx, p)
}

// SetPaused pauses or resumes a policy. A paused policy keeps its next slot, which schedulers move on
// without firing it; resuming sets it to next.
func (s *Store) SetPaused(ctx context.Context, policy string, paused bool, by, note string, next *keyturn.Slot) error {
	err := s.audited(ctx, func(on db.DBTX) (bool, error) {
		var n int64
		var err error
		if paused {
			n, err = s.q.PausePolicy(ctx, on, db.PausePolicyParams{By: clean(by), Note: clean(note), Name: policy})
		} else {
			local, timezone, at := slotColumns(next)
			n, err = s.q.ResumePolicy(ctx, on, db.ResumePolicyParams{Now: s.clock(), NextLocal: local, NextTimezone: timezone, NextAt: at, Name: policy})
		}
		return changedRow(n, err, func() (bool, error) { return s.q.PolicyExists(ctx, on, policy) })
	})
	if err != nil {
		return fmt.Errorf("pausing or resuming policy %s: %w", policy, err)
	}
	return nil
}

// PauseUntil pauses a policy until a time by the database's clock, at which a scheduler resumes it.
func (s *Store) PauseUntil(ctx context.Context, policy, by, note string, until time.Time) error {
	err := s.audited(ctx, func(on db.DBTX) (bool, error) {
		n, err := s.q.PausePolicy(ctx, on, db.PausePolicyParams{By: clean(by), Note: clean(note), Until: &until, Name: policy})
		return changedRow(n, err, func() (bool, error) { return s.q.PolicyExists(ctx, on, policy) })
	})
	if err != nil {
		return fmt.Errorf("pausing policy %s until %s: %w", policy, until.UTC().Format(time.RFC3339), err)
	}
	return nil
}
