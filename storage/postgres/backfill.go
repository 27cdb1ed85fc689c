package postgres

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// TakenSlots implements api.Store.
func (s *Store) TakenSlots(ctx context.Context, policy string, slots []string) ([]string, error) {
	taken, err := s.q.TakenSlots(ctx, s.pool, db.TakenSlotsParams{Policy: policy, Slots: slots})
	if err != nil {
		return nil, fmt.Errorf("looking for the rotations of slots: %w", err)
	}
	return taken, nil
}
