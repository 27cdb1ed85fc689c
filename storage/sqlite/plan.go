package sqlite

import (
	"cmp"
	"context"
	"database/sql"
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
	return s.inTx(ctx, "saving the plan of rotation "+id.String(), func(ctx context.Context, tx *tx) error {
		if len(units) == 0 {
			return s.failRotation(ctx, tx, id, owner, "nothing is selected: the policy and what narrows it match no unit of the target")
		}
		claim, err := s.q.StartRotation(ctx, tx, db.StartRotationParams{ID: id.String(), Owner: text(owner)})
		if errors.Is(err, sql.ErrNoRows) {
			return ours(0, nil)
		}
		if err != nil {
			return err
		}
		if err := s.announce(ctx, tx, "rotation.started", id); err != nil {
			return err
		}
		var skipped []keyturn.ID
		var turns keyturn.Turns
		planned := make(map[string]bool, len(units))
		for _, unit := range units {
			if planned[unit.ID] {
				continue
			}
			planned[unit.ID] = true
			task, skip, err := s.planUnit(ctx, tx, id, unit, int64(turns.Next(&unit)), claim)
			if err != nil {
				return fmt.Errorf("unit %s: %w", unit.ID, err)
			}
			if skip {
				skipped = append(skipped, task)
			}
		}
		return s.announceTasks(ctx, tx, skipped)
	})
}

// saveUnit records a unit as it is now. What is known of its key stays.
func (s *Store) saveUnit(ctx context.Context, tx *tx, unit keyturn.Unit) error {
	err := s.q.UpsertUnit(ctx, tx, db.UpsertUnitParams{
		ID: unit.ID, Target: unit.Target, System: string(unit.System), ProjectID: unit.ProjectID, ProjectName: unit.ProjectName,
		ClusterID: unit.ClusterID, ClusterName: unit.ClusterName, Component: string(unit.Component), Name: unit.Name,
		Fcv: unit.FCV, Rotatable: number(unit.Rotatable), Reason: unit.Reason,
	})
	if err != nil {
		return fmt.Errorf("recording it: %w", err)
	}
	if err := s.q.InsertUnitKey(ctx, tx, unit.ID); err != nil {
		return fmt.Errorf("recording its key: %w", err)
	}
	return nil
}

// planUnit saves a unit and its task, and reports whether that is skipped.
func (s *Store) planUnit(
	ctx context.Context, tx *tx, rotation keyturn.ID, unit keyturn.Unit, turn int64, claim db.StartRotationRow,
) (id keyturn.ID, skip bool, err error) {
	if err := s.saveUnit(ctx, tx, unit); err != nil {
		return keyturn.ID{}, false, err
	}
	task := s.ids.next(tx.now)
	p := db.InsertTaskParams{
		ID: task.String(), RotationID: rotation.String(), UnitID: unit.ID, Target: unit.Target, ProjectID: unit.ProjectID,
		Turn: turn, State: string(keyturn.TaskPending), NotBefore: tx.now,
	}
	if begin := claim.RequestedAt + unit.Delay.Milliseconds(); unit.Delay > 0 && begin > tx.now {
		p.NotBefore, p.Back = begin, text(string(keyturn.TaskPending))
	}
	soon, err := s.tooSoon(ctx, tx, unit.ID, claim.MinInterval)
	if err != nil {
		return keyturn.ID{}, false, err
	}
	if !unit.Rotatable || soon {
		p.State, p.Reason, p.FinishedAt, p.Back = string(keyturn.TaskSkipped), unit.Reason, at(tx.now), text("")
	}
	if unit.Rotatable && soon {
		p.Reason = keyturn.TooSoon
	}
	if err := s.q.InsertTask(ctx, tx, p); err != nil {
		return keyturn.ID{}, false, fmt.Errorf("recording its task: %w", err)
	}
	return task, p.FinishedAt.Valid, nil
}

// tooSoon reports whether a task turned the unit less than the interval, in milliseconds, ago.
func (s *Store) tooSoon(ctx context.Context, tx *tx, unit string, interval int64) (bool, error) {
	if interval == 0 {
		return false, nil
	}
	turned, err := s.q.TurnedAt(ctx, tx, unit)
	if err != nil {
		return false, fmt.Errorf("reading when it was turned: %w", err)
	}
	return turned.Valid && turned.Int64 > tx.now-interval, nil
}

// FailRotation implements worker.PlanStore.
func (s *Store) FailRotation(ctx context.Context, id keyturn.ID, owner, reason string) error {
	return s.inTx(ctx, "ending rotation "+id.String(), func(ctx context.Context, tx *tx) error {
		return s.failRotation(ctx, tx, id, owner, reason)
	})
}

func (s *Store) failRotation(ctx context.Context, tx *tx, id keyturn.ID, owner, reason string) error {
	n, err := s.q.FailRotation(ctx, tx, db.FailRotationParams{ID: id.String(), Owner: text(owner), Trouble: cmp.Or(reason, "no reason was given"), Now: at(tx.now)})
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
