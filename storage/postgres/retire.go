package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// UsersOfKey returns units of any target that use a key now, by whatever name.
func (s *Store) UsersOfKey(ctx context.Context, key string, limit int) ([]string, error) {
	names, suffix := keyturn.NamesOfKey(key)
	ids, err := s.q.UsersOfKey(ctx, s.pool, db.UsersOfKeyParams{Names: names, Suffix: suffix, Max: int32Of(limit)})
	if err != nil {
		return nil, fmt.Errorf("looking for who uses key %s: %w", key, err)
	}
	return ids, nil
}

// AskRetirement writes down, with the audit entry, that a key is about to be disabled. The same that was asked, and not done yet, is
// neither written down nor audited again.
func (s *Store) AskRetirement(ctx context.Context, key keyturn.KeyRef, by, reason string) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		n, err := s.q.AskRetirement(ctx, tx, db.AskRetirementParams{
			ID: s.newID(), Target: key.Target, Key: key.KeyID, By: clean(by), Reason: clean(reason), Now: s.clock(),
		})
		if err != nil || n == 0 { // 0: the same was asked already
			return err
		}
		return s.writeAudit(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("recording that key %s is to be disabled: %w", key.KeyID, err)
	}
	return nil
}

// NoteRetired writes down that a key was disabled.
func (s *Store) NoteRetired(ctx context.Context, key keyturn.KeyRef) (time.Time, error) {
	at, err := s.q.NoteRetired(ctx, s.pool, db.NoteRetiredParams{Target: key.Target, Key: key.KeyID, Now: s.clock(), Announcement: s.newID()})
	if err != nil {
		return time.Time{}, fmt.Errorf("recording that key %s was disabled: %w", key.KeyID, notFound(err))
	}
	return at.UTC(), nil
}

// AnnouncedRetired returns the keys that an announcement says were disabled.
func (s *Store) AnnouncedRetired(ctx context.Context, ids []keyturn.ID) ([]keyturn.RetiredKey, error) {
	rows, err := s.q.RetiredKeys(ctx, s.pool, ids)
	if err != nil {
		return nil, fmt.Errorf("reading %d retired keys: %w", len(ids), err)
	}
	out := make([]keyturn.RetiredKey, len(rows))
	for i, r := range rows {
		out[i] = keyturn.RetiredKey{ID: r.ID, Target: r.Target, KeyID: r.KeyID, By: r.RequestedBy, Reason: r.Reason, DisabledAt: r.DisabledAt.UTC()}
	}
	return out, nil
}
