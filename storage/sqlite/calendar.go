package sqlite

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// ResumeDue implements scheduler.Store.
func (s *Store) ResumeDue(
	ctx context.Context, limit int, next func(policy keyturn.Policy, until, now time.Time) (*keyturn.Slot, error),
) ([]string, error) {
	// Mostly there is nothing to do, and then nobody has to wait for the write lock.
	if rows, err := s.q.EndedPauses(ctx, s.read, db.EndedPausesParams{Now: at(s.nowMS()), MaxRows: 1}); err != nil || len(rows) == 0 {
		return nil, err
	}
	var resumed []string
	err := s.inTx(ctx, "resuming policies whose pause has ended", func(ctx context.Context, tx *tx) error {
		rows, err := s.q.EndedPauses(ctx, tx, db.EndedPausesParams{Now: at(tx.now), MaxRows: int64(limit)})
		if err != nil {
			return err
		}
		for _, row := range rows {
			policy, err := toPolicy(row.Name, row.Spec, row.Generation, true)
			var slot *keyturn.Slot
			if err == nil {
				slot, err = next(policy, toTime(row.PausedUntil.Int64), toTime(tx.now))
			}
			if err != nil { // it goes on without a slot: a rotation that is held must not wait for a schedule
				s.log.Error("next slot of a policy whose pause has ended", zap.String("policy", row.Name), zap.Error(err))
				slot = nil
			}
			local, timezone, instant := slotColumns(slot)
			if _, err := s.q.ResumePolicy(ctx, tx, db.ResumePolicyParams{
				Now: at(tx.now), Name: row.Name, NextLocal: local, NextTimezone: timezone, NextAt: instant,
			}); err != nil {
				return err
			}
			resumed = append(resumed, row.Name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resumed, nil
}

// LookAtWindows implements scheduler.Store.
func (s *Store) LookAtWindows(
	ctx context.Context, limit int, decide func(look keyturn.WindowLook, now time.Time) (keyturn.Opening, error),
) (int, error) {
	if rows, err := s.q.DueLooks(ctx, s.read, db.DueLooksParams{Now: at(s.nowMS()), MaxRows: 1}); err != nil || len(rows) == 0 {
		return 0, err
	}
	looked := 0
	err := s.inTx(ctx, "looking at the windows of rotations", func(ctx context.Context, tx *tx) error {
		rows, err := s.q.DueLooks(ctx, tx, db.DueLooksParams{Now: at(tx.now), MaxRows: int64(limit)})
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := s.look(ctx, tx, row, decide); err != nil {
				return fmt.Errorf("rotation %s: %w", row.ID, err)
			}
		}
		looked = len(rows)
		return nil
	})
	return looked, err
}

// look asks about one rotation. What can't be found out stays as it was, and is asked again.
func (s *Store) look(
	ctx context.Context, tx *tx, row db.DueLooksRow, decide func(look keyturn.WindowLook, now time.Time) (keyturn.Opening, error),
) error {
	p := db.SetOpeningParams{ID: row.ID, OpenUntil: row.OpenUntil, LookAt: tx.in(leaveAlone)}
	look := keyturn.WindowLook{OldestKey: func() (*time.Time, error) {
		since, err := s.q.OldestOpenKey(ctx, tx, row.ID)
		if err != nil || since == 0 {
			return nil, err
		}
		return toTimePtr(at(since)), nil
	}}
	err := look.Rotation.Scan(row.ID)
	if err == nil {
		look.Policy, err = s.policy(ctx, tx, row.Policy)
	}
	var opening keyturn.Opening
	if err == nil {
		opening, err = decide(look, toTime(tx.now))
	}
	if err != nil {
		s.log.Error("windows of a rotation", zap.String("rotation", row.ID), zap.String("policy", row.Policy), zap.Error(err),
			zap.Duration("again_in", leaveAlone))
		return s.q.SetOpening(ctx, tx, p)
	}
	p.OpenUntil, p.LookAt = fromTimePtr(opening.Until), fromTimePtr(opening.LookAt)
	wasClosed := row.OpenUntil.Valid && row.OpenUntil.Int64 <= tx.now
	if isOpen := !p.OpenUntil.Valid || p.OpenUntil.Int64 > tx.now; wasClosed && isOpen {
		p.OpenedAt = at(tx.now)
	}
	return s.q.SetOpening(ctx, tx, p)
}

// Superseded implements scheduler.Store.
func (s *Store) Superseded(ctx context.Context, limit int) ([]keyturn.ID, error) {
	rows, err := s.q.Superseded(ctx, s.read, int64(limit))
	if err != nil {
		return nil, fmt.Errorf("finding rotations that are superseded: %w", err)
	}
	ids := make([]keyturn.ID, len(rows))
	for i, row := range rows {
		if ids[i], err = keyturn.ParseID(row); err != nil {
			return nil, err
		}
	}
	return ids, nil
}
