package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// Resources implements api.ResourceStore.
func (s *Store) Resources(ctx context.Context) ([]keyturn.Resource, error) {
	return s.resources(ctx, "", "")
}

// ResourcesOf implements api.ResourceStore.
func (s *Store) ResourcesOf(ctx context.Context, kind keyturn.ResourceKind) ([]keyturn.Resource, error) {
	return s.resources(ctx, kind, "")
}

// Resource implements api.ResourceStore.
func (s *Store) Resource(ctx context.Context, kind keyturn.ResourceKind, name string) (keyturn.Resource, error) {
	if name == "" {
		return keyturn.Resource{}, fmt.Errorf("%s without a name: %w", kind, keyturn.ErrNotFound)
	}
	resources, err := s.resources(ctx, kind, name)
	if err != nil {
		return keyturn.Resource{}, err
	}
	if len(resources) == 0 {
		return keyturn.Resource{}, fmt.Errorf("%s %q: %w", kind, name, keyturn.ErrNotFound)
	}
	return resources[0], nil
}

// resources lists resources of the kind and with the name; empty ones do not narrow.
func (s *Store) resources(ctx context.Context, kind keyturn.ResourceKind, name string) ([]keyturn.Resource, error) {
	rows, err := s.q.Resources(ctx, s.read, db.ResourcesParams{Kind: string(kind), Name: name})
	if err != nil {
		return nil, fmt.Errorf("listing resources: %w", err)
	}
	out := make([]keyturn.Resource, len(rows))
	for i, row := range rows {
		out[i] = toResource(row, s.nowMS())
	}
	return out, nil
}

func toResource(row db.ResourcesRow, now int64) keyturn.Resource {
	r := keyturn.Resource{
		Kind: keyturn.ResourceKind(row.Kind), Name: row.Name, Spec: json.RawMessage(row.Spec), Generation: row.Generation,
		CreatedAt: toTime(row.CreatedAt), UpdatedAt: toTime(row.UpdatedAt),
		Status: keyturn.ResourceStatus{
			Paused: row.Paused.Int64 != 0, PausedBy: row.PausedBy.String, PauseNote: row.PauseNote.String, NextAt: toTimePtr(row.NextAt),
		},
	}
	r.Status.PausedUntil = toTimePtr(row.PausedUntil)
	r.Status.SkippedSlot, r.Status.SkippedReason, r.Status.SkippedAt = row.SkippedSlot.String, row.SkippedReason.String, toTimePtr(row.SkippedAt)
	if row.NextAt.Valid {
		r.Status.NextSlot = keyturn.Slot{Local: row.NextLocal.String, Timezone: row.NextTimezone.String}.Name()
	}
	if row.HoldUntil.Valid && row.HoldUntil.Int64 > now {
		r.Status.HeldUntil, r.Status.HoldReason = toTimePtr(row.HoldUntil), row.HoldReason.String
	}
	return r
}

// ApplyResources implements api.ResourceStore.
func (s *Store) ApplyResources(ctx context.Context, changes []keyturn.ResourceChange) error {
	if len(changes) == 0 {
		return nil
	}
	return s.inTx(ctx, "applying resources", func(ctx context.Context, tx *tx) error {
		for _, change := range changes {
			if err := s.apply(ctx, tx, change); err != nil {
				return fmt.Errorf("%s %q: %w", change.Kind, change.Name, err)
			}
		}
		if err := s.checkTargets(ctx, tx, changes); err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
}

func (s *Store) apply(ctx context.Context, tx *tx, change keyturn.ResourceChange) error {
	row, err := s.q.Resource(ctx, tx, db.ResourceParams{Kind: string(change.Kind), Name: change.Name})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if row.Generation != change.Expect { // 0: there is no row
		return fmt.Errorf("%w: it is at generation %d and the change was made from %d: apply again", keyturn.ErrConflict, row.Generation, change.Expect)
	}
	switch {
	case change.Spec == nil:
		return s.remove(ctx, tx, change)
	case row.Generation == 0:
		err = s.q.InsertResource(ctx, tx, db.InsertResourceParams{
			Kind: string(change.Kind), Name: change.Name, Spec: string(change.Spec), Now: tx.now,
		})
	default:
		err = s.q.UpdateResource(ctx, tx, db.UpdateResourceParams{
			Kind: string(change.Kind), Name: change.Name, Spec: string(change.Spec), Now: tx.now,
		})
	}
	if err != nil {
		return err
	}
	switch change.Kind {
	case keyturn.KindTarget:
		return s.q.UpsertTarget(ctx, tx, change.Name)
	case keyturn.KindPolicy:
		if err := s.q.LookAgain(ctx, tx, db.LookAgainParams{Now: at(tx.now), Policy: change.Name}); err != nil {
			return err
		}
		local, timezone, instant := slotColumns(change.Next)
		return s.q.UpsertPolicySlot(ctx, tx, db.UpsertPolicySlotParams{
			Name: change.Name, NextLocal: local, NextTimezone: timezone, NextAt: instant, WakeAt: firstWake(change),
		})
	default:
		return nil
	}
}

func (s *Store) remove(ctx context.Context, tx *tx, change keyturn.ResourceChange) error {
	if err := s.q.DeleteResource(ctx, tx, db.DeleteResourceParams{Kind: string(change.Kind), Name: change.Name}); err != nil {
		return err
	}
	switch change.Kind {
	case keyturn.KindPolicy:
		held, err := s.q.PausedUnfinished(ctx, tx, change.Name)
		if err == nil && held == 1 {
			err = fmt.Errorf("%w: it is paused, or has windows, and a rotation of it has not ended, which its removal would let go on", keyturn.ErrConflict)
		}
		if err != nil {
			return err
		}
		return s.q.DeletePolicy(ctx, tx, change.Name)
	case keyturn.KindTarget:
		open, err := s.q.UnfinishedOfTarget(ctx, tx, change.Name)
		if err == nil && open == 1 {
			err = fmt.Errorf("%w: a rotation of it has not ended: wait for its end", keyturn.ErrConflict)
		}
		return err
	default:
		return nil
	}
}

// checkTargets answers ErrConflict when the changes leave a policy without its target. It looks at
// the whole, so that the order of the changes does not matter.
func (s *Store) checkTargets(ctx context.Context, tx *tx, changes []keyturn.ResourceChange) error {
	for _, change := range changes {
		var err error
		switch {
		case change.Kind == keyturn.KindTarget && change.Spec == nil:
			err = s.unnamed(ctx, tx, change.Name)
		case change.Kind == keyturn.KindPolicy && change.Spec != nil:
			err = s.hasTarget(ctx, tx, change.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) hasTarget(ctx context.Context, tx *tx, policy string) error {
	target, err := s.q.MissingTarget(ctx, tx, policy)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: policy %q names target %q, which does not exist: apply the target too", keyturn.ErrConflict, policy, target)
}

// unnamed answers ErrConflict when a policy names the target, which is about to be gone.
func (s *Store) unnamed(ctx context.Context, tx *tx, target string) error {
	policy, err := s.q.PolicyOfTarget(ctx, tx, target)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: target %q can't be removed while policy %q names it: remove the policy first", keyturn.ErrConflict, target, policy)
}

// firstWake is when a scheduler first looks at a policy: at its slot, or at once if a window moved that.
func firstWake(c keyturn.ResourceChange) sql.NullInt64 {
	var policy keyturn.Policy
	if c.Next == nil {
		return sql.NullInt64{}
	}
	if err := json.Unmarshal(c.Spec, &policy); err == nil && len(policy.Schedule.Windows) > 0 {
		return at(0)
	}
	return at(c.Next.At.UnixMilli())
}

// SetPaused implements api.ResourceStore.
func (s *Store) SetPaused(ctx context.Context, policy string, paused bool, by, note string, next *keyturn.Slot) error {
	return s.inTx(ctx, fmt.Sprintf("pausing or resuming policy %q", policy), func(ctx context.Context, tx *tx) error {
		var n int64
		var err error
		if paused {
			n, err = s.q.PausePolicy(ctx, tx, db.PausePolicyParams{Name: policy, PausedBy: by, PauseNote: note})
		} else {
			local, timezone, instant := slotColumns(next)
			n, err = s.q.ResumePolicy(ctx, tx, db.ResumePolicyParams{
				Now: at(tx.now), Name: policy, NextLocal: local, NextTimezone: timezone, NextAt: instant,
			})
		}
		return s.auditChange(ctx, tx, n, err, func() (int64, error) { return s.q.PolicyExists(ctx, tx, policy) })
	})
}

// PauseUntil implements api.ResourceStore.
func (s *Store) PauseUntil(ctx context.Context, policy, by, note string, until time.Time) error {
	return s.inTx(ctx, fmt.Sprintf("pausing policy %q", policy), func(ctx context.Context, tx *tx) error {
		n, err := s.q.PausePolicy(ctx, tx, db.PausePolicyParams{Name: policy, PausedBy: by, PauseNote: note, PausedUntil: at(until.UnixMilli())})
		return s.auditChange(ctx, tx, n, err, func() (int64, error) { return s.q.PolicyExists(ctx, tx, policy) })
	})
}
