package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// SaveRollout does what SavePlan does, for a plan in waves.
func (s *Store) SaveRollout(ctx context.Context, id keyturn.ID, owner string, plan keyturn.RolloutPlan) error {
	units, waves := s.rollout(plan)
	if len(units) == 0 {
		return s.FailRotation(ctx, id, owner, nothingSelected)
	}
	waves.Rotation = id
	begin := db.BeginRolloutParams{ID: id, Waves: int32Of(len(waves.Lasts))}
	if n := min(plan.Canary, len(waves.Lasts)); n > 0 {
		begin.CanaryTurn = &waves.Lasts[n-1]
	}
	if plan.MaxFailures != nil {
		most := int32Of(*plan.MaxFailures)
		begin.MaxFailures = &most
	}
	return s.savePlan(ctx, id, owner, units, 0, func(tx pgx.Tx) error {
		if len(waves.Lasts) == 0 { // nothing can be rotated
			return nil
		}
		if err := s.q.SaveWaves(ctx, tx, waves); err != nil {
			return err
		}
		return s.q.BeginRollout(ctx, tx, begin)
	})
}

// rollout gives every unit, once, a task and a turn: those of a wave come after those of the waves before, and
// within a wave every project's first comes before every project's second. What can't be rotated comes last.
func (s *Store) rollout(p keyturn.RolloutPlan) ([]planned, db.SaveWavesParams) {
	var plan []planned
	var ids []keyturn.ID
	var waves db.SaveWavesParams
	seen := map[string]bool{}
	add := func(u keyturn.Unit, turn int32) {
		seen[u.ID] = true
		u.Reason = clean(u.Reason)
		plan, ids = append(plan, planned{Unit: u, turn: turn}), append(ids, s.newID())
	}
	last := int32(0)
	for _, wave := range p.Waves {
		before, turns := last, map[string]int32{}
		for _, u := range wave.Units {
			if seen[u.ID] || !u.Rotatable {
				continue
			}
			turns[u.ProjectID]++
			add(u, before+turns[u.ProjectID])
			last = max(last, before+turns[u.ProjectID])
		}
		if last == before {
			continue
		}
		waves.Waves, waves.Firsts = append(waves.Waves, int32Of(len(waves.Waves)+1)), append(waves.Firsts, before+1)
		waves.Lasts, waves.Pauses = append(waves.Lasts, last), append(waves.Pauses, micros(wave.Pause.Std()))
	}
	for _, u := range p.Skipped {
		if !seen[u.ID] {
			u.Rotatable, u.Reason = false, cmp.Or(u.Reason, "it can't be rotated")
			add(u, last+1)
		}
	}
	inTurn(plan, ids)
	return plan, waves
}

// AdvanceRollouts halts rollouts in which too much went wrong, and opens the waves that may begin.
func (s *Store) AdvanceRollouts(ctx context.Context) (opened, halted []keyturn.Rotation, err error) {
	bad, err := s.q.RolloutsToHalt(ctx, s.pool)
	if err != nil {
		return nil, nil, fmt.Errorf("finding rollouts to halt: %w", err)
	}
	for _, row := range bad {
		changed, err := s.haltRollout(ctx, row)
		if err != nil {
			return nil, halted, fmt.Errorf("halting rotation %s: %w", row.ID, err)
		}
		if !changed { // somebody else has stopped it
			continue
		}
		r, err := s.Rotation(ctx, row.ID)
		if err != nil {
			return nil, halted, err
		}
		halted = append(halted, r)
	}
	rows, err := retry(ctx, func() ([]db.Rotation, error) { return s.q.OpenWaves(ctx, s.pool, s.clock()) })
	if err != nil {
		return nil, halted, fmt.Errorf("opening waves: %w", err)
	}
	opened, err = rotationsOf(rows)
	return opened, halted, err
}

func (s *Store) haltRollout(ctx context.Context, row db.RolloutsToHaltRow) (changed bool, err error) {
	most := -1
	if row.MaxFailures != nil {
		most = int(*row.MaxFailures)
	}
	reason := keyturn.HaltReason(int(row.Canary), int(row.Bad), most, row.Why)
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		changed, err = s.stopRotation(ctx, tx, row.ID, "", reason, false)
		return err
	})
	if errors.Is(err, keyturn.ErrConflict) { // it has ended meanwhile
		return false, nil
	}
	return changed, err
}
