package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// watchMost bounds what one look returns.
const watchMost = 1000

// MissedPolicies returns policies whose slot is overdue by more than grace and has no rotation.
func (s *Store) MissedPolicies(ctx context.Context, grace time.Duration) ([]keyturn.MissedPolicy, error) {
	rows, err := s.q.MissedPolicies(ctx, s.pool, db.MissedPoliciesParams{Now: s.clock(), Grace: micros(grace), Max: watchMost})
	if err != nil {
		return nil, fmt.Errorf("finding missed slots: %w", err)
	}
	out := make([]keyturn.MissedPolicy, len(rows))
	for i, r := range rows {
		slot := keyturn.Slot{Local: r.NextLocal, Timezone: r.NextTimezone}
		out[i] = keyturn.MissedPolicy{Policy: r.Name, Target: r.Target, Slot: slot.Name(), At: r.NextAt.UTC(), Late: r.Now.Sub(r.NextAt)}
	}
	return out, nil
}

// StuckRotations returns rotations that may go on and in which nothing has happened for longer than after.
func (s *Store) StuckRotations(ctx context.Context, after time.Duration) ([]keyturn.StuckRotation, error) {
	rows, err := s.q.StuckRotations(ctx, s.pool, db.StuckRotationsParams{Now: s.clock(), After: micros(after), Max: watchMost})
	if err != nil {
		return nil, fmt.Errorf("finding rotations that stand still: %w", err)
	}
	out := make([]keyturn.StuckRotation, len(rows))
	for i, r := range rows {
		out[i] = keyturn.StuckRotation{
			Rotation: r.ID, Policy: r.Policy, Target: r.Target, State: keyturn.RotationState(r.State), Idle: r.Now.Sub(r.IdleSince),
		}
	}
	return out, nil
}

// PastDeadlines returns policies of which a key gets too old before the next window opens.
func (s *Store) PastDeadlines(ctx context.Context) ([]keyturn.PastDeadline, error) {
	rows, err := s.q.PastDeadlines(ctx, s.pool, watchMost)
	if err != nil {
		return nil, fmt.Errorf("finding windows that open too late: %w", err)
	}
	out := make([]keyturn.PastDeadline, len(rows))
	for i, r := range rows {
		out[i] = keyturn.PastDeadline{Policy: r.Name, Target: r.Target, At: r.DeadlineAt.UTC()}
		if r.NextAt.Unix() != 0 {
			out[i].NextAt = r.NextAt.UTC()
		}
	}
	return out, nil
}
