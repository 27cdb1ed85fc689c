package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// TakenSlots implements api.Store.
func (s *Store) TakenSlots(ctx context.Context, policy string, slots []string) ([]string, error) {
	wanted, err := json.Marshal(slots)
	if err != nil {
		return nil, fmt.Errorf("looking for the rotations of slots: %w", err)
	}
	rows, err := s.q.TakenSlots(ctx, s.read, db.TakenSlotsParams{Policy: policy, Slots: string(wanted)})
	if err != nil {
		return nil, fmt.Errorf("looking for the rotations of slots: %w", err)
	}
	taken := make([]string, len(rows))
	for i, row := range rows {
		taken[i] = row.String
	}
	return taken, nil
}
