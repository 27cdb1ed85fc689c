package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

const keyStateColumns = `s.target, s.key_id, s.state, s.name, s.initial_at, s.activation_at, s.deactivation_at, s.compromise_at, s.destroy_at,
	s.orphan, s.detail, s.seen_at`

func scanKeyState(rows *sql.Rows) (keyturn.KeyState, error) {
	var k keyturn.KeyState
	var dates [5]sql.NullInt64
	var seen int64
	err := rows.Scan(&k.Target, &k.KeyID, &k.State, &k.Name, &dates[0], &dates[1], &dates[2], &dates[3], &dates[4], &k.Orphan, &k.Detail, &seen)
	k.InitialAt, k.ActivationAt, k.DeactivationAt = toTimePtr(dates[0]), toTimePtr(dates[1]), toTimePtr(dates[2])
	k.CompromiseAt, k.DestroyAt, k.SeenAt = toTimePtr(dates[3]), toTimePtr(dates[4]), toTime(seen)
	return k, err
}

// KeyStates implements retain.Store.
func (s *Store) KeyStates(ctx context.Context, keys []keyturn.KeyRef) (map[keyturn.KeyRef]keyturn.KeyState, error) {
	wanted, err := keyNames(keys)
	if err != nil {
		return nil, fmt.Errorf("reading the states of %d keys: %w", len(keys), err)
	}
	rows, err := collect(ctx, s.read, scanKeyState, `SELECT `+keyStateColumns+` FROM json_each(?1) w
		CROSS JOIN key_states s ON s.target = w.value ->> 0 AND s.key_id = w.value ->> 1`, wanted)
	if err != nil {
		return nil, fmt.Errorf("reading the states of %d keys: %w", len(keys), err)
	}
	out := make(map[keyturn.KeyRef]keyturn.KeyState, len(rows))
	for _, k := range rows {
		out[keyturn.KeyRef{Target: k.Target, KeyID: k.KeyID}] = k
	}
	return out, nil
}

// BadKeys implements retain.Store.
func (s *Store) BadKeys(ctx context.Context, after keyturn.KeyRef, limit int) ([]keyturn.KeyState, error) {
	out, err := collect(ctx, s.read, scanKeyState, `SELECT `+keyStateColumns+` FROM key_states s
		WHERE (orphan OR state = 'deactivated' OR state = 'compromised' OR state = 'destroyed' OR state = 'missing')
			AND (s.target, s.key_id) > (?1, ?2) ORDER BY s.target, s.key_id LIMIT ?3`, after.Target, after.KeyID, limit)
	if err != nil {
		return nil, fmt.Errorf("looking for keys that are in a bad state: %w", err)
	}
	return out, nil
}

func scanText(rows *sql.Rows) (string, error) {
	var s string
	err := rows.Scan(&s)
	return s, err
}

// KeysToAudit implements retain.Store.
func (s *Store) KeysToAudit(ctx context.Context, target, after string, limit int) ([]string, error) {
	ids, err := collectByKey(ctx, s, scanText, `SELECT key_id FROM (
			SELECT DISTINCT r.key_id FROM key_uses r WHERE r.key_id > ?2 AND r.unit_id > ?1 || '.' AND r.unit_id < ?1 || '/'
				AND r.key_id NOT LIKE 'kmip-rotated-at:%' -- no server knows what only stands for a key
			ORDER BY r.key_id LIMIT ?3)
		UNION SELECT key_id FROM (SELECT DISTINCT m.key_id FROM key_names m WHERE m.key_id > ?2 AND m.unit_id > ?1 || '.' AND m.unit_id < ?1 || '/'
			ORDER BY m.key_id LIMIT ?3)
		UNION SELECT key_id FROM (SELECT DISTINCT s.key_id FROM snapshots s WHERE s.target = ?1 AND s.key_id <> '' AND s.key_id > ?2
			ORDER BY s.key_id LIMIT ?3)
		ORDER BY 1 LIMIT ?3`, target, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing the keys of target %s: %w", target, err)
	}
	return ids, nil
}

// KnownKeysAmong implements retain.Store.
func (s *Store) KnownKeysAmong(ctx context.Context, target string, keys []string) ([]string, error) {
	wanted, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("looking for %d keys in the history: %w", len(keys), err)
	}
	ids, err := collectByKey(ctx, s, scanText, `SELECT k.value FROM json_each(?2) k
		WHERE EXISTS (SELECT 1 FROM key_uses r WHERE r.key_id = k.value AND r.unit_id > ?1 || '.' AND r.unit_id < ?1 || '/')
			OR EXISTS (SELECT 1 FROM key_names m WHERE m.key_id = k.value AND m.unit_id > ?1 || '.' AND m.unit_id < ?1 || '/')
			OR EXISTS (SELECT 1 FROM snapshots s WHERE s.target = ?1 AND s.key_id = k.value AND s.key_id <> '')`, target, string(wanted))
	if err != nil {
		return nil, fmt.Errorf("looking for %d keys in the history: %w", len(keys), err)
	}
	return ids, nil
}

// SaveKeyStates implements retain.Store. The age of a key in use that was only known from when it was seen becomes
// exact by the day on which the server made it, if that fits: not later than it was seen, and not before the unit's
// key before it was.
func (s *Store) SaveKeyStates(ctx context.Context, target string, audit int64, states []keyturn.KeyState) error {
	if err := s.enterUses(ctx); err != nil { // what was recorded since is little, and entered with the states
		return err
	}
	return s.inTx(ctx, fmt.Sprintf("saving the states of %d keys", len(states)), func(ctx context.Context, tx *tx) error {
		if err := tx.enterAllUses(ctx); err != nil {
			return err
		}
		for _, k := range states {
			_, err := tx.ExecContext(ctx, `INSERT INTO key_states AS s (target, key_id, state, name, initial_at, activation_at, deactivation_at, compromise_at,
					destroy_at, orphan, detail, seen_at, audit) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
				ON CONFLICT (target, key_id) DO UPDATE SET state = excluded.state, name = excluded.name, initial_at = excluded.initial_at,
					activation_at = excluded.activation_at, deactivation_at = excluded.deactivation_at, compromise_at = excluded.compromise_at,
					destroy_at = excluded.destroy_at, orphan = excluded.orphan, detail = excluded.detail, seen_at = excluded.seen_at, audit = excluded.audit
				WHERE excluded.audit >= s.audit`,
				target, k.KeyID, string(k.State), k.Name, fromTimePtr(k.InitialAt), fromTimePtr(k.ActivationAt), fromTimePtr(k.DeactivationAt),
				fromTimePtr(k.CompromiseAt), fromTimePtr(k.DestroyAt), k.Orphan, k.Detail, tx.now, audit)
			if err != nil {
				return fmt.Errorf("key %s: %w", k.KeyID, err)
			}
			if made := datedBy(k); made != nil {
				if err := dateKey(ctx, tx, target, k.KeyID, *made); err != nil {
					return fmt.Errorf("key %s: %w", k.KeyID, err)
				}
			}
		}
		return nil
	})
}

// datedBy is when the server says that the key was made; nil: it does not, or the key is of no use.
func datedBy(k keyturn.KeyState) *time.Time {
	switch k.State {
	case keyturn.KeyPreActive, keyturn.KeyActive, keyturn.KeyDeactivated, keyturn.KeyCompromised:
		if k.Orphan {
			return nil
		}
		return k.Made()
	default:
		return nil
	}
}

func dateKey(ctx context.Context, tx *tx, target, key string, made time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE unit_keys AS k SET key_since = ?3, key_exact = 1
		WHERE k.unit_id IN (SELECT r.unit_id FROM key_uses r WHERE r.key_id = ?2 AND r.unit_id > ?1 || '.' AND r.unit_id < ?1 || '/')
			AND k.key_id = ?2 AND NOT k.key_exact AND ?3 <= k.key_since AND ?3 >= ?4
			AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.unit_id = k.unit_id AND t.state = 'intended')
			AND NOT EXISTS (SELECT 1 FROM key_records b WHERE b.unit_id = k.unit_id AND b.key_id <> ?2 AND b.used_from > ?3)`,
		target, key, made.UnixMilli(), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	return err
}

// EndKeyAudit implements retain.Store.
func (s *Store) EndKeyAudit(ctx context.Context, target string, audit int64) error {
	return s.inTx(ctx, "ending the audit of target "+target, func(ctx context.Context, tx *tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM key_states WHERE target = ?1 AND orphan AND audit < ?2`, target, audit)
		return err
	})
}
