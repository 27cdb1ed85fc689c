package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// watchMost bounds what one look returns.
const watchMost = 1000

// MissedPolicies implements worker.WatchStore.
func (s *Store) MissedPolicies(ctx context.Context, grace time.Duration) ([]keyturn.MissedPolicy, error) {
	now := s.nowMS()
	rows, err := s.q.MissedPolicies(ctx, s.read, db.MissedPoliciesParams{
		Soon: at(now + time.Minute.Milliseconds()), Late: at(now - grace.Milliseconds()), MaxRows: watchMost,
	})
	if err != nil {
		return nil, fmt.Errorf("finding missed slots: %w", err)
	}
	out := make([]keyturn.MissedPolicy, len(rows))
	for i, r := range rows {
		slot := keyturn.Slot{Local: r.NextLocal.String, Timezone: r.NextTimezone.String}
		out[i] = keyturn.MissedPolicy{Policy: r.Name, Target: r.Target, Slot: slot.Name(), At: toTime(r.NextAt.Int64), Late: span(r.NextAt.Int64, now)}
	}
	return out, nil
}

// StuckRotations implements worker.WatchStore.
func (s *Store) StuckRotations(ctx context.Context, after time.Duration) ([]keyturn.StuckRotation, error) {
	now := s.nowMS()
	rows, err := s.q.StuckRotations(ctx, s.read, db.StuckRotationsParams{Now: at(now), Cutoff: now - after.Milliseconds(), MaxRows: watchMost})
	if err != nil {
		return nil, fmt.Errorf("finding rotations that stand still: %w", err)
	}
	out := make([]keyturn.StuckRotation, len(rows))
	for i, r := range rows {
		out[i] = keyturn.StuckRotation{Policy: r.Policy, Target: r.Target, State: keyturn.RotationState(r.State), Idle: span(r.IdleSince, now)}
		if err := out[i].Rotation.Scan(r.ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// PastDeadlines implements worker.WatchStore.
func (s *Store) PastDeadlines(ctx context.Context) ([]keyturn.PastDeadline, error) {
	rows, err := s.q.PastDeadlines(ctx, s.read, watchMost)
	if err != nil {
		return nil, fmt.Errorf("finding windows that open too late: %w", err)
	}
	out := make([]keyturn.PastDeadline, len(rows))
	for i, r := range rows {
		out[i] = keyturn.PastDeadline{Policy: r.Name, Target: r.Target, At: toTime(r.DeadlineAt.Int64)}
		if r.NextAt.Valid {
			out[i].NextAt = toTime(r.NextAt.Int64)
		}
	}
	return out, nil
}
