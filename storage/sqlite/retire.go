package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

// UsersOfKey implements retain.Store.
func (s *Store) UsersOfKey(ctx context.Context, key string, limit int) ([]string, error) {
	names, suffix := keyturn.NamesOfKey(key)
	ids, err := collectByKey(ctx, s, scanText, `SELECT k.unit_id FROM (SELECT DISTINCT unit_id FROM key_uses WHERE key_id IN (?1, ?2)) r
		JOIN unit_keys k ON k.unit_id = r.unit_id WHERE k.key_id IN (?1, ?2)
		UNION
		SELECT k.unit_id FROM unit_keys k WHERE ?3 <> '' AND substr(k.key_id, -length(?3)) = ?3 ORDER BY unit_id LIMIT ?4`,
		key, names[len(names)-1], suffix, limit)
	if err != nil {
		return nil, fmt.Errorf("looking for who uses key %s: %w", key, err)
	}
	return ids, nil
}

// AskRetirement implements retain.Store.
func (s *Store) AskRetirement(ctx context.Context, key keyturn.KeyRef, by, reason string) error {
	return s.inTx(ctx, "recording that key "+key.KeyID+" is to be disabled", func(ctx context.Context, tx *tx) error {
		done, err := tx.ExecContext(ctx, `INSERT INTO key_retirements AS k (id, target, key_id, requested_by, reason, asked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
			ON CONFLICT (target, key_id) DO UPDATE SET requested_by = excluded.requested_by, reason = excluded.reason, asked_at = excluded.asked_at,
				disabled_at = NULL
			WHERE k.disabled_at IS NOT NULL OR k.requested_by <> excluded.requested_by OR k.reason <> excluded.reason`, s.ids.next(tx.now).String(), key.Target, key.KeyID, by, reason, tx.now)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 { // 0: the same was asked already
			return err
		}
		return s.writeAudit(ctx, tx)
	})
}

// NoteRetired implements retain.Store.
func (s *Store) NoteRetired(ctx context.Context, key keyturn.KeyRef) (time.Time, error) {
	var at time.Time
	err := s.inTx(ctx, "recording that key "+key.KeyID+" was disabled", func(ctx context.Context, tx *tx) error {
		at = toTime(tx.now)
		err := changedOne(tx.ExecContext(ctx, `UPDATE key_retirements SET disabled_at = ?3 WHERE target = ?1 AND key_id = ?2`, key.Target, key.KeyID, tx.now))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO key_states (target, key_id, state, name, orphan, detail, seen_at, audit)
			VALUES (?1, ?2, 'disabled', '', 0, '', ?3, 0)
			ON CONFLICT (target, key_id) DO UPDATE SET state = excluded.state, seen_at = excluded.seen_at`, key.Target, key.KeyID, tx.now)
		if err != nil {
			return err
		}
		var id keyturn.ID
		err = tx.QueryRowContext(ctx, `SELECT id FROM key_retirements WHERE target = ?1 AND key_id = ?2`, key.Target, key.KeyID).Scan(&id)
		if err != nil {
			return err
		}
		return s.announceAll(ctx, tx, "retired", []keyturn.ID{id})
	})
	return at, err
}

// AnnouncedRetired implements worker.AnnounceStore.
func (s *Store) AnnouncedRetired(ctx context.Context, ids []keyturn.ID) ([]keyturn.RetiredKey, error) {
	var out []keyturn.RetiredKey
	err := each(ctx, s.read, `SELECT r.id, r.target, r.key_id, r.requested_by, r.reason, r.disabled_at FROM json_each(?1) ids
		CROSS JOIN key_retirements r ON r.id = ids.value WHERE r.disabled_at IS NOT NULL ORDER BY r.disabled_at, r.id`, ids, func(rows *sql.Rows) error {
		var k keyturn.RetiredKey
		var at int64
		if err := rows.Scan(&k.ID, &k.Target, &k.KeyID, &k.By, &k.Reason, &at); err != nil {
			return err
		}
		k.DisabledAt = toTime(at)
		out = append(out, k)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %d retired keys: %w", len(ids), err)
	}
	return out, nil
}
