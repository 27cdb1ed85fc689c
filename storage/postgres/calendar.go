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

// ResumeDue resumes policies whose pause has ended. next is called inside the transaction and must not
// use the store.
func (s *Store) ResumeDue(
	ctx context.Context, limit int, next func(policy keyturn.Policy, until, now time.Time) (*keyturn.Slot, error),
) ([]string, error) {
	var resumed []string
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		resumed = nil
		rows, err := s.q.EndedPauses(ctx, tx, db.EndedPausesParams{Now: s.clock(), Max: int32Of(limit)})
		if err != nil {
			return err
		}
		for _, row := range rows {
			policy, err := policyOf(row.Name, row.Spec, row.Generation, true)
			var slot *keyturn.Slot
			if err == nil {
				slot, err = next(policy, row.PausedUntil.UTC(), row.Now.UTC())
			}
			if err != nil { // it goes on without a slot: a rotation that is held must not wait for a schedule
				s.log.Error("next slot of a policy whose pause has ended", zap.String("policy", row.Name), zap.Error(err))
				slot = nil
			}
			local, timezone, at := slotColumns(slot)
			err = s.q.EndPause(ctx, tx, db.EndPauseParams{Now: row.Now, NextLocal: local, NextTimezone: timezone, NextAt: at, Name: row.Name})
			if err != nil {
				return err
			}
			resumed = append(resumed, row.Name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("resuming policies whose pause has ended: %w", err)
	}
	return resumed, nil
}

// LookAtWindows asks decide about rotations whose windows have to be looked at again. It is called inside
// the transaction and must not use the store.
func (s *Store) LookAtWindows(
	ctx context.Context, limit int, decide func(look keyturn.WindowLook, now time.Time) (keyturn.Opening, error),
) (int, error) {
	looked := 0
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		rows, err := s.q.DueLooks(ctx, tx, db.DueLooksParams{Max: int32Of(limit), Now: s.clock()})
		if err != nil {
			return err
		}
		looked = len(rows)
		for _, row := range rows {
			opening, err := s.look(ctx, tx, row, decide)
			if err != nil {
				return err
			}
			err = s.q.SetOpening(ctx, tx, db.SetOpeningParams{OpenUntil: opening.Until, LookAt: opening.LookAt, Now: row.Now, ID: row.ID})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("looking at the windows of rotations: %w", err)
	}
	return looked, nil
}

// look asks about one rotation. What can't be found out stays as it was, and is asked again.
func (s *Store) look(
	ctx context.Context, tx pgx.Tx, row db.DueLooksRow, decide func(look keyturn.WindowLook, now time.Time) (keyturn.Opening, error),
) (keyturn.Opening, error) {
	if row.Generation == 0 {
		return s.lookAgain(row, errors.New("the policy was removed"))
	}
	policy, err := policyOf(row.Policy, row.Spec, row.Generation, false)
	if err != nil {
		return s.lookAgain(row, err)
	}
	var broken error
	opening, err := decide(keyturn.WindowLook{Rotation: row.ID, Policy: policy, OldestKey: func() (*time.Time, error) {
		var since time.Time
		since, broken = s.q.OldestOpenKey(ctx, tx, row.ID)
		if broken != nil || since.Unix() == 0 {
			return nil, broken
		}
		return utc(&since), nil
	}}, row.Now.UTC())
	if broken != nil {
		return keyturn.Opening{}, fmt.Errorf("reading the oldest key of rotation %s: %w", row.ID, broken)
	}
	if err != nil {
		return s.lookAgain(row, err)
	}
	return opening, nil
}

func (s *Store) lookAgain(row db.DueLooksRow, cause error) (keyturn.Opening, error) {
	s.log.Error("windows of a rotation", zap.Stringer("rotation", row.ID), zap.String("policy", row.Policy), zap.Error(cause),
		zap.Duration("again_in", leaveAlone))
	again := row.Now.Add(leaveAlone)
	return keyturn.Opening{Until: row.OpenUntil, LookAt: &again}, nil
}

// Superseded returns rotations that have not ended although a later one of their policy takes their place.
func (s *Store) Superseded(ctx context.Context, limit int) ([]keyturn.ID, error) {
	ids, err := s.q.Superseded(ctx, s.pool, int32Of(limit))
	if err != nil {
		return nil, fmt.Errorf("finding rotations that are superseded: %w", err)
	}
	return ids, nil
}
