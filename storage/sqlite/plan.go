package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// ClaimRotation implements worker.PlanStore. A rotation whose policy was removed can never be
// planned: it ends here.
func (s *Store) ClaimRotation(
	ctx context.Context, id keyturn.ID, owner string, lease time.Duration,
) (keyturn.Rotation, keyturn.Policy, error) {
	var rotation keyturn.Rotation
	var policy keyturn.Policy
	orphan := false
	err := s.inTx(ctx, "claiming rotation "+id.String(), func(ctx context.Context, tx *tx) error {
		row, err := s.q.ClaimRotation(ctx, tx, db.ClaimRotationParams{
			ID: id.String(), Owner: text(owner), LeaseUntil: tx.in(lease), Now: at(tx.now),
		})
		if err != nil {
			return found(err)
		}
		if rotation, err = toRotation(row); err != nil {
			return err
		}
		policy, err = s.policy(ctx, tx, row.Policy)
		if errors.Is(err, keyturn.ErrNotFound) {
			orphan = true
			return s.failRotation(ctx, tx, id, owner, fmt.Sprintf("policy %q was removed before the rotation was planned", row.Policy))
		}
		if least := policy.Schedule.MinInterval.Std(); err == nil && least > 0 {
			err = s.q.SetMinInterval(ctx, tx, db.SetMinIntervalParams{MinInterval: least.Milliseconds(), ID: id.String()})
		}
		return err
	})
	if err == nil && orphan {
		err = fmt.Errorf("claiming rotation %s: its policy: %w", id, keyturn.ErrNotFound)
	}
	return rotation, policy, err
}

// policy reads a policy as it was applied, with its defaults.
func (s *Store) policy(ctx context.Context, on db.DBTX, name string) (keyturn.Policy, error) {
	row, err := s.q.Policy(ctx, on, name)
	if err != nil {
		return keyturn.Policy{}, fmt.Errorf("policy %q: %w", name, found(err))
	}
	return toPolicy(name, row.Spec, row.Generation, row.Paused != 0)
}

func toPolicy(name, spec string, generation int64, paused bool) (keyturn.Policy, error) {
	var policy keyturn.Policy
	if err := json.Unmarshal([]byte(spec), &policy); err != nil {
		return keyturn.Policy{}, fmt.Errorf("reading the spec of policy %q: %w", name, err)
	}
	policy.Name, policy.Generation, policy.Paused = name, generation, paused
	return policy.WithDefaults(), nil
}

// SavePlan implements worker.PlanStore.
func (s *Store) SavePlan(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit) error {
	return s.savePlan(ctx, id, owner, units, 0)
}

// SavePart implements worker.PlanStore.
func (s *Store) SavePart(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit, left int) error {
	return s.savePlan(ctx, id, owner, units, left)
}

func (s *Store) savePlan(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit, left int) error {
	return s.inTx(ctx, "saving the plan of rotation "+id.String(), func(ctx context.Context, tx *tx) error {
		if len(units) == 0 {
			return s.failRotation(ctx, tx, id, owner, "nothing is selected: the policy and what narrows it match no unit of the target")
		}
		p, err := s.planning(ctx, tx, id, owner)
		if err != nil {
			return err
		}
		// Turns go on after those that are saved.
		var turns keyturn.Turns
		last := p.claim.Saved
		for _, unit := range units {
			if p.planned[unit.ID] {
				continue
			}
			turn := p.claim.Saved + int64(turns.Next(&unit))
			if err := p.unit(ctx, unit, turn); err != nil {
				return err
			}
			last = max(last, turn)
		}
		if left > 0 {
			err := s.q.StartPart(ctx, tx, db.StartPartParams{ID: id.String(), PlanTurn: at(last), PlanLeft: int64(left)})
			if err != nil {
				return err
			}
		}
		return p.end(ctx, left == 0)
	})
}

// FailRotation implements worker.PlanStore.
func (s *Store) FailRotation(ctx context.Context, id keyturn.ID, owner, reason string) error {
	return s.inTx(ctx, "ending rotation "+id.String(), func(ctx context.Context, tx *tx) error {
		return s.failRotation(ctx, tx, id, owner, reason)
	})
}

// failRotation ends a rotation that can't be planned, and halts one whose plan can't be saved to its end.
func (s *Store) failRotation(ctx context.Context, tx *tx, id keyturn.ID, owner, reason string) error {
	reason = cmp.Or(reason, "no reason was given")
	n, err := s.q.FailRotation(ctx, tx, db.FailRotationParams{ID: id.String(), Owner: text(owner), Trouble: reason, Now: at(tx.now)})
	if err == nil && n == 0 {
		reason = keyturn.UnsavedTrouble(reason)
		return ours(s.q.HaltPlan(ctx, tx, db.HaltPlanParams{
			ID: id.String(), Owner: text(owner), StopReason: reason, Trouble: keyturn.StopTrouble("", reason, false),
		}))
	}
	if err := ours(n, err); err != nil {
		return err
	}
	return s.announce(ctx, tx, "rotation.completed", id)
}

// PostponeRotation implements worker.PlanStore.
func (s *Store) PostponeRotation(ctx context.Context, id keyturn.ID, owner, reason string, after time.Duration) error {
	return s.inTx(ctx, "postponing rotation "+id.String(), func(ctx context.Context, tx *tx) error {
		return ours(s.q.PostponeRotation(ctx, tx, db.PostponeRotationParams{
			ID: id.String(), Owner: text(owner), NotBefore: tx.in(after), Trouble: reason,
		}))
	})
}

// ours makes ErrConflict of a statement that found the rotation claimed by somebody else, or by nobody.
func ours(n int64, err error) error {
	if err == nil && n == 0 {
		return fmt.Errorf("%w: the claim was lost", keyturn.ErrConflict)
	}
	return err
}
