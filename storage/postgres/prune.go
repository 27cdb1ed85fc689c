package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// PruneAlerts removes alerts that were resolved longer than age ago, and their history.
func (s *Store) PruneAlerts(ctx context.Context, age time.Duration, limit int) (int, error) {
	n := 0
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		gone, err := s.q.PruneAlerts(ctx, tx, db.PruneAlertsParams{Now: s.clock(), Age: micros(age), Max: int32Of(limit)})
		if n = len(gone); err != nil || n == 0 {
			return err
		}
		return s.q.PruneAlertChanges(ctx, tx, gone)
	})
	if err != nil {
		return 0, fmt.Errorf("removing alerts that are long over: %w", err)
	}
	return n, nil
}

// PruneNotices removes notices that were written longer than age ago, and told.
func (s *Store) PruneNotices(ctx context.Context, age time.Duration, limit int) (int, error) {
	n, err := s.q.PruneNotices(ctx, s.pool, db.PruneNoticesParams{Now: s.clock(), Age: micros(age), Max: int32Of(limit)})
	if err != nil {
		return 0, fmt.Errorf("removing old notices: %w", err)
	}
	return int(n), nil
}
