package postgres

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// Amend replaces what an open intent wants, before anything was sent for it.
func (s *Store) Amend(ctx context.Context, epoch int64, w keyturn.IntentWrite) error {
	n, err := s.q.Amend(ctx, s.pool, db.AmendParams{
		ID: w.Task, Owner: clean(w.Owner), Epoch: epoch, Want: clean(w.Intent.Want), Data: w.Intent.Data,
		ApplyFor: micros(w.ApplyFor), Lease: micros(w.Lease), Now: s.clock(),
	})
	if err == nil && n == 0 {
		err = s.notRenewed(ctx, w.Task)
	}
	if err != nil {
		return fmt.Errorf("amending the intent of task %s: %w", w.Task, notFound(err))
	}
	return nil
}

// ProvidedKey returns the key that the rotation's trigger named for the unit.
func (s *Store) ProvidedKey(ctx context.Context, rotation keyturn.ID, unit string) (string, error) {
	key, err := s.q.ProvidedKey(ctx, s.pool, db.ProvidedKeyParams{ID: rotation, Unit: clean(unit)})
	if err != nil {
		return "", fmt.Errorf("reading which key was provided for unit %s: %w", unit, notFound(err))
	}
	return key, nil
}
