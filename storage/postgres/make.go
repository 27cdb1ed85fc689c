package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// Amend replaces what an open intent wants, before anything was sent for it.
func (s *Store) Amend(
	ctx context.Context, task keyturn.ID, owner string, epoch int64, intent keyturn.Intent, applyFor, lease time.Duration,
) error {
	n, err := s.q.Amend(ctx, s.pool, db.AmendParams{
		ID: task, Owner: clean(owner), Epoch: epoch, Want: clean(intent.Want), Data: intent.Data,
		ApplyFor: micros(applyFor), Lease: micros(lease), Now: s.clock(),
	})
	if err == nil && n == 0 {
		err = s.notRenewed(ctx, task)
	}
	if err != nil {
		return fmt.Errorf("amending the intent of task %s: %w", task, notFound(err))
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
