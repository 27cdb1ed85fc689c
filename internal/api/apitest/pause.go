package apitest

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

// PauseUntil implements api.ResourceStore.
func (s *Store) PauseUntil(ctx context.Context, policy, by, note string, until time.Time) error {
	if err := s.begin(ctx, "PauseUntil"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	i := s.find(keyturn.KindPolicy, policy)
	if i < 0 {
		return keyturn.ErrNotFound
	}
	status := &s.resources[i].Status
	status.Paused, status.PausedBy, status.PauseNote, status.PausedUntil = true, by, note, &until
	return nil
}
