package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// PruneAlerts implements alerts.Store.
func (s *Store) PruneAlerts(ctx context.Context, age time.Duration, limit int) (int, error) {
	n := 0
	err := s.inTx(ctx, "removing alerts that are long over", func(ctx context.Context, tx *tx) error {
		gone, err := collect(ctx, tx, scanText, `DELETE FROM alerts WHERE id IN (
			SELECT id FROM alerts WHERE resolved_at < ?1 ORDER BY resolved_at LIMIT ?2) RETURNING id`, tx.in(-age), limit)
		if n = len(gone); err != nil || n == 0 {
			return err
		}
		ids, err := json.Marshal(gone)
		if err != nil {
			return fmt.Errorf("naming alerts: %w", err)
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM alert_changes WHERE alert_id IN (SELECT value FROM json_each(?1))`, string(ids))
		return err
	})
	return n, err
}

// PruneNotices implements alerts.Store.
func (s *Store) PruneNotices(ctx context.Context, age time.Duration, limit int) (int, error) {
	var n int64
	err := s.inTx(ctx, "removing old notices", func(ctx context.Context, tx *tx) (err error) {
		// Ids have the order of time: the first ones are the oldest. What nobody was told of yet stays.
		n, err = changed(tx.ExecContext(ctx, `DELETE FROM notices WHERE id IN (
			SELECT o.id FROM (SELECT id, at FROM notices ORDER BY id LIMIT ?2) o WHERE o.at < ?1
				AND NOT EXISTS (SELECT 1 FROM announcements a WHERE a.notice_id = o.id))`, tx.in(-age), limit))
		return err
	})
	return int(n), err
}

// PruneHookRequests implements worker.DeliveryStore.
func (s *Store) PruneHookRequests(ctx context.Context, age time.Duration, limit int) (int, error) {
	var n int64
	err := s.inTx(ctx, "removing old calls of hooks", func(ctx context.Context, tx *tx) (err error) {
		n, err = changed(tx.ExecContext(ctx, `DELETE FROM hook_requests WHERE seq IN (
			SELECT o.seq FROM (SELECT seq, received_at FROM hook_requests ORDER BY seq LIMIT ?2) o WHERE o.received_at < ?1)`, tx.in(-age), limit))
		return err
	})
	return int(n), err
}
