package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// SaveRollout implements worker.PlanStore. The tasks of a wave come after those of the waves before; within a
// wave every project's first comes before every project's second. What can't be rotated comes last.
func (s *Store) SaveRollout(ctx context.Context, id keyturn.ID, owner string, plan keyturn.RolloutPlan) error {
	return s.inTx(ctx, "saving the plan of rotation "+id.String(), func(ctx context.Context, tx *tx) error {
		if len(plan.Waves)+len(plan.Skipped) == 0 {
			return s.failRotation(ctx, tx, id, owner, "nothing is selected: the policy and what narrows it match no unit of the target")
		}
		p, err := s.planning(ctx, tx, id, owner)
		if err != nil {
			return err
		}
		r := rollout{planning: p}
		for _, wave := range plan.Waves {
			if err := r.wave(ctx, wave, plan.Canary); err != nil {
				return err
			}
		}
		for _, unit := range plan.Skipped {
			unit.Rotatable, unit.Reason = false, cmp.Or(unit.Reason, "it can't be rotated")
			if r.planned[unit.ID] {
				continue
			}
			if err := r.unit(ctx, unit, r.last+1); err != nil {
				return err
			}
		}
		if err := r.begin(ctx, plan.MaxFailures); err != nil {
			return err
		}
		return r.end(ctx, true)
	})
}

// rollout is a plan in waves that is being saved.
type rollout struct {
	*planning
	waves  int64
	last   int64         // turn
	first  int64         // the last turn of the first wave
	canary sql.NullInt64 // the last turn of the canary
}

func (r *rollout) wave(ctx context.Context, wave keyturn.PlannedWave, canary int) error {
	before, turns := r.last, map[string]int64{}
	for _, unit := range wave.Units {
		if r.planned[unit.ID] || !unit.Rotatable {
			continue
		}
		turns[unit.ProjectID]++
		if err := r.unit(ctx, unit, before+turns[unit.ProjectID]); err != nil {
			return err
		}
		r.last = max(r.last, before+turns[unit.ProjectID])
	}
	if r.last == before {
		return nil
	}
	r.waves++
	if r.waves == 1 {
		r.first = r.last
	}
	if r.waves <= int64(canary) {
		r.canary = at(r.last)
	}
	return r.s.q.InsertWave(ctx, r.tx, db.InsertWaveParams{
		RotationID: r.id.String(), Wave: r.waves, FirstTurn: before + 1, LastTurn: r.last, Pause: wave.Pause.Std().Milliseconds(),
	})
}

func (r *rollout) begin(ctx context.Context, maxFailures *int) error {
	if r.waves == 0 { // nothing can be rotated
		return nil
	}
	p := db.BeginRolloutParams{ID: r.id.String(), Waves: at(r.waves), TurnLimit: at(r.first), CanaryTurn: r.canary}
	if maxFailures != nil {
		p.MaxFailures = at(int64(*maxFailures))
	}
	return r.s.q.BeginRollout(ctx, r.tx, p)
}

// AdvanceRollouts implements worker.FeedStore.
func (s *Store) AdvanceRollouts(ctx context.Context) (opened, halted []keyturn.Rotation, err error) {
	// Mostly there is nothing to do, and then nobody has to wait for the write lock.
	rows, err := s.q.RollingRotations(ctx, s.read)
	if err != nil {
		return nil, nil, fmt.Errorf("finding rollouts: %w", err)
	}
	now := s.nowMS()
	for _, row := range rows {
		step, err := s.rolloutStep(ctx, s.read, row, now)
		if err != nil {
			return opened, halted, fmt.Errorf("looking at the rollout of rotation %s: %w", row.ID, err)
		}
		if step == (rolloutStep{}) {
			continue
		}
		if step, err = s.advanceRollout(ctx, row.ID); err != nil {
			return opened, halted, err
		}
		if step == (rolloutStep{}) {
			continue
		}
		row, err := s.q.Rotation(ctx, s.read, row.ID)
		if err != nil {
			return opened, halted, fmt.Errorf("reading rotation %s: %w", row.ID, err)
		}
		r, err := toRotation(row)
		if err != nil {
			return opened, halted, err
		}
		if step.halt != "" {
			halted = append(halted, r)
		} else {
			opened = append(opened, r)
		}
	}
	return opened, halted, nil
}

// rolloutStep is what is to be done about a rollout; the zero value: nothing.
type rolloutStep struct {
	halt  string // the reason
	wave  int64  // the wave that begins
	limit int64  // its last turn
	pause int64  // milliseconds until it begins; 0: now
}

// advanceRollout does under the write lock what is still to be done about a rollout.
func (s *Store) advanceRollout(ctx context.Context, id string) (step rolloutStep, err error) {
	err = s.inTx(ctx, "advancing rotation "+id, func(ctx context.Context, tx *tx) error {
		row, err := s.q.Rotation(ctx, tx, id)
		if err != nil {
			return found(err)
		}
		if row.State != string(keyturn.RotationRunning) || row.Halted != 0 {
			return nil
		}
		if step, err = s.rolloutStep(ctx, tx, row, tx.now); err != nil {
			return err
		}
		switch {
		case step == (rolloutStep{}):
			return nil
		case step.halt != "":
			rotation, err := keyturn.ParseID(id)
			if err != nil {
				return err
			}
			changed, err := s.stopRotation(ctx, tx, rotation, "", step.halt, false)
			if !changed {
				step = rolloutStep{}
			}
			return err
		case step.pause > 0:
			return one(s.q.DelayWave(ctx, tx, db.DelayWaveParams{ID: id, Was: row.Wave, NextWaveAt: at(tx.now + step.pause)}))
		default:
			return one(s.q.OpenWave(ctx, tx, db.OpenWaveParams{ID: id, Was: row.Wave, Wave: at(step.wave), TurnLimit: at(step.limit)}))
		}
	})
	return step, err
}

func (s *Store) rolloutStep(ctx context.Context, on db.DBTX, r db.Rotation, now int64) (rolloutStep, error) {
	bad, err := s.q.UnturnedTasks(ctx, on, db.UnturnedTasksParams{RotationID: r.ID, CanaryTurn: r.CanaryTurn.Int64})
	if err != nil {
		return rolloutStep{}, err
	}
	if bad.Canary > 0 || r.MaxFailures.Valid && bad.Bad > r.MaxFailures.Int64 {
		left, err := s.q.HasPending(ctx, on, db.HasPendingParams{RotationID: r.ID, Target: r.Target})
		if err != nil || left == 0 {
			return rolloutStep{}, err
		}
		most := -1
		if r.MaxFailures.Valid {
			most = int(r.MaxFailures.Int64)
		}
		return rolloutStep{halt: keyturn.HaltReason(int(bad.Canary), int(bad.Bad), most, bad.Why)}, nil
	}
	if r.NextWaveAt.Valid && r.NextWaveAt.Int64 > now {
		return rolloutStep{}, nil
	}
	if open, err := s.openUpTo(ctx, on, r, r.TurnLimit.Int64); err != nil || open {
		return rolloutStep{}, err
	}
	if left, err := s.openUpTo(ctx, on, r, math.MaxInt64); err != nil || !left { // it ends
		return rolloutStep{}, err
	}
	next, err := s.q.Wave(ctx, on, db.WaveParams{RotationID: r.ID, Wave: r.Wave.Int64 + 1})
	if errors.Is(err, sql.ErrNoRows) {
		return rolloutStep{}, nil
	}
	if err != nil {
		return rolloutStep{}, err
	}
	step := rolloutStep{wave: next.Wave, limit: next.LastTurn}
	if !r.NextWaveAt.Valid {
		step.pause = next.Pause
	}
	return step, nil
}

func (s *Store) openUpTo(ctx context.Context, on db.DBTX, r db.Rotation, turn int64) (bool, error) {
	open, err := s.q.OpenUpTo(ctx, on, db.OpenUpToParams{RotationID: r.ID, Target: r.Target, Turn: turn})
	return open == 1, err
}
