package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

const keyJobs = `
SELECT s.name, k.column1, s.created_at, coalesce(j.turn, 0), j.asked_at, j.done_at, j.not_before, coalesce(j.trouble, ''), coalesce(j.result, ''),
    coalesce(j.lease_until > ?2, 0), g.hold_until,
    EXISTS (SELECT 1 FROM rotations r WHERE r.target = s.name AND r.state = 'running')
        OR EXISTS (SELECT 1 FROM rotations r WHERE r.target = s.name AND r.state IN ('requested', 'planning'))
        OR EXISTS (SELECT 1 FROM policies p CROSS JOIN resources o ON o.kind = 'Policy' AND o.name = p.name
            WHERE p.wake_at <= ?3 AND NOT p.paused AND o.spec ->> '$.target' = s.name)
FROM resources s CROSS JOIN (VALUES ('audit'), ('snapshots')) k
LEFT JOIN key_jobs j ON j.target = s.name AND j.kind = k.column1 LEFT JOIN targets g ON g.name = s.name
WHERE s.kind = 'Target' AND (?1 = '' OR s.name = ?1) ORDER BY s.name, k.column1`

// KeyJobs implements retain.Store.
func (s *Store) KeyJobs(ctx context.Context, target string, soon time.Duration) ([]keyturn.KeyJob, error) {
	now := s.nowMS()
	out, err := collect(ctx, s.read, func(rows *sql.Rows) (keyturn.KeyJob, error) {
		var j keyturn.KeyJob
		var created int64
		var asked, done, after, held sql.NullInt64
		var result string
		err := rows.Scan(&j.Target, &j.Kind, &created, &j.Turn, &asked, &done, &after, &j.Trouble, &result, &j.Taken, &held, &j.Busy)
		if err != nil {
			return j, err
		}
		j.CreatedAt, j.AskedAt, j.DoneAt = toTime(created), toTimePtr(asked), toTimePtr(done)
		j.NotBefore, j.HeldUntil = toTimePtr(after), toTimePtr(held)
		if result != "" {
			err = json.Unmarshal([]byte(result), &j.Result)
		}
		return j, err
	}, keyJobs, target, now, now+soon.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("listing the looks at snapshots and keys: %w", err)
	}
	return out, nil
}

// ClaimKeyJob implements retain.Store.
func (s *Store) ClaimKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, lease time.Duration) (keyturn.KeyJob, error) {
	err := s.inTx(ctx, fmt.Sprintf("claiming the %s of target %s", job.Kind, job.Target), func(ctx context.Context, tx *tx) error {
		return changedOne(tx.ExecContext(ctx, `INSERT INTO key_jobs AS j (target, kind, turn, began_at, owner, lease_until) VALUES (?1, ?2, 1, ?3, ?4, ?5)
			ON CONFLICT (target, kind) DO UPDATE SET turn = j.turn + 1, began_at = excluded.began_at, owner = excluded.owner, lease_until = excluded.lease_until
			WHERE j.turn = ?6 AND (j.lease_until IS NULL OR j.lease_until <= ?3)`,
			job.Target, string(job.Kind), tx.now, owner, tx.in(lease), job.Turn))
	})
	job.Turn++
	return job, err
}

// changedOne answers ErrNotFound when a statement changed nothing.
func changedOne(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return keyturn.ErrNotFound
	}
	return err
}

// RenewKeyJob implements retain.Store.
func (s *Store) RenewKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, lease time.Duration) (bool, error) {
	busy := false
	err := s.inTx(ctx, fmt.Sprintf("renewing the %s of target %s", job.Kind, job.Target), func(ctx context.Context, tx *tx) error {
		err := changedOne(tx.ExecContext(ctx, `UPDATE key_jobs SET lease_until = ?5 WHERE target = ?1 AND kind = ?2 AND owner = ?3 AND turn = ?4`,
			job.Target, string(job.Kind), owner, job.Turn, tx.in(lease)))
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM rotations WHERE target = ?1 AND state = 'running')
			OR EXISTS (SELECT 1 FROM targets WHERE name = ?1 AND hold_until > ?2)`, job.Target, tx.now).Scan(&busy)
	})
	return busy, err
}

// EndKeyJob implements retain.Store.
func (s *Store) EndKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, end keyturn.KeyJobEnd) error {
	return s.inTx(ctx, fmt.Sprintf("ending the %s of target %s", job.Kind, job.Target), func(ctx context.Context, tx *tx) error {
		var result sql.NullString
		if end.Result != nil {
			raw, err := json.Marshal(end.Result)
			if err != nil {
				return fmt.Errorf("writing the result: %w", err)
			}
			result = text(string(raw))
		}
		return changedOne(tx.ExecContext(ctx, `UPDATE key_jobs SET owner = NULL, lease_until = NULL, trouble = ?5,
				done_at = CASE WHEN ?6 THEN ?7 ELSE done_at END,
				asked_at = CASE WHEN ?6 AND asked_at <= began_at THEN NULL ELSE asked_at END,
				not_before = CASE WHEN ?6 THEN NULL ELSE ?8 END, result = coalesce(?9, result)
			WHERE target = ?1 AND kind = ?2 AND owner = ?3 AND turn = ?4`,
			job.Target, string(job.Kind), owner, job.Turn, end.Trouble, end.Done, tx.now, tx.in(end.Retry), result))
	})
}

// AskKeyJob implements api.RetainedStore.
func (s *Store) AskKeyJob(ctx context.Context, target string, kind keyturn.KeyJobKind) error {
	return s.inTx(ctx, fmt.Sprintf("asking for the %s of target %s", kind, target), func(ctx context.Context, tx *tx) error {
		err := changedOne(tx.ExecContext(ctx, `INSERT INTO key_jobs (target, kind, asked_at)
			SELECT s.name, ?2, ?3 FROM resources s WHERE s.kind = 'Target' AND s.name = ?1
			ON CONFLICT (target, kind) DO UPDATE SET asked_at = excluded.asked_at, not_before = NULL, trouble = ''`, target, string(kind), tx.now))
		if err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
}

// BeginSnapshotLooks implements retain.Store.
func (s *Store) BeginSnapshotLooks(ctx context.Context, units []string) ([]keyturn.SnapshotLook, error) {
	looks := make([]keyturn.SnapshotLook, 0, len(units))
	err := s.inTx(ctx, fmt.Sprintf("beginning to look at the snapshots of %d units", len(units)), func(ctx context.Context, tx *tx) error {
		for _, unit := range slices.Sorted(slices.Values(units)) {
			look := keyturn.SnapshotLook{Unit: unit}
			err := tx.QueryRowContext(ctx, `INSERT INTO snapshot_looks AS l (unit_id, began, began_at) VALUES (?1, 1, ?2)
				ON CONFLICT (unit_id) DO UPDATE SET began = l.began + 1, began_at = excluded.began_at RETURNING began`, unit, tx.now).Scan(&look.Number)
			if err != nil {
				return fmt.Errorf("unit %s: %w", unit, err)
			}
			looks = append(looks, look)
		}
		return nil
	})
	return looks, err
}

// SaveSnapshots implements retain.Store.
func (s *Store) SaveSnapshots(ctx context.Context, seen []keyturn.SeenSnapshot) error {
	return s.inTx(ctx, fmt.Sprintf("saving %d snapshots", len(seen)), func(ctx context.Context, tx *tx) error {
		for _, n := range seen {
			if n.ID == "" {
				continue
			}
			target, _, _ := strings.Cut(n.Unit, ".")
			_, err := tx.ExecContext(ctx, `INSERT INTO snapshots AS s (unit_id, id, target, cluster_name, key_id, created_at, expires_at, complete, keep, look)
				VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
				ON CONFLICT (unit_id, id) DO UPDATE SET cluster_name = excluded.cluster_name, key_id = excluded.key_id, created_at = excluded.created_at,
					expires_at = excluded.expires_at, complete = excluded.complete, keep = excluded.keep, look = excluded.look
				WHERE excluded.look >= s.look`,
				n.Unit, n.ID, target, n.ClusterName, n.KeyID, n.CreatedAt.UnixMilli(), fromTimePtr(n.ExpiresAt), n.Complete, n.Keep, n.Look)
			if err != nil {
				return fmt.Errorf("snapshot %s of unit %s: %w", n.ID, n.Unit, err)
			}
		}
		return nil
	})
}

// EndSnapshotLooks implements retain.Store. A look that came to its end forgets what it did not see, if that had
// expired or the last look did not see it either: a listing in pages may leave one out while others go.
func (s *Store) EndSnapshotLooks(ctx context.Context, looks []keyturn.SnapshotLook) error {
	return s.inTx(ctx, fmt.Sprintf("ending the look at the snapshots of %d units", len(looks)), func(ctx context.Context, tx *tx) error {
		for _, look := range looks {
			if err := endSnapshotLook(ctx, tx, look); err != nil {
				return fmt.Errorf("unit %s: %w", look.Unit, err)
			}
		}
		return nil
	})
}

func endSnapshotLook(ctx context.Context, tx *tx, look keyturn.SnapshotLook) error {
	if look.Trouble != "" {
		// Of a unit that can't be asked any more, what expired long ago is forgotten.
		_, err := tx.ExecContext(ctx, `DELETE FROM snapshots AS s WHERE s.unit_id = ?1 AND NOT s.keep AND s.expires_at <= ?3
			AND EXISTS (SELECT 1 FROM snapshot_looks l WHERE l.unit_id = ?1 AND l.began = ?2)`, look.Unit, look.Number, tx.now-(7*keyturn.Day).Milliseconds())
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE snapshot_looks SET trouble = ?3 WHERE unit_id = ?1 AND began = ?2`, look.Unit, look.Number, look.Trouble)
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM snapshots AS s WHERE s.unit_id = ?1 AND s.look < ?2
		AND EXISTS (SELECT 1 FROM snapshot_looks l WHERE l.unit_id = ?1 AND l.began = ?2 AND (s.expires_at <= ?3 OR s.look < l.done))`,
		look.Unit, look.Number, tx.now)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE snapshot_looks SET done = began, looked_at = began_at, trouble = '' WHERE unit_id = ?1 AND began = ?2`,
		look.Unit, look.Number)
	return err
}

// targetOf is the beginning of a unit's id, its target's name.
const targetOf = `substr(r.unit_id, 1, instr(r.unit_id, '.') - 1)`

// unitsCalled are the units that a person calls so: by id, name, component id, or as PROJECT/NAME.
const unitsCalled = `SELECT u.id FROM units u WHERE u.id = ?5 OR u.name = ?5 OR u.cluster_id = ?5
            OR u.project_name || '/' || u.name = ?5 OR u.project_id || '/' || u.name = ?5`

const retainedPage = `
SELECT * FROM (SELECT ` + targetOf + ` AS target, r.key_id FROM key_uses r
    WHERE r.key_id >= ?1 AND (r.key_id > ?1 OR ` + targetOf + ` > ?2) AND (?3 = '' OR r.key_id = ?3)
        AND (?4 = '' OR (r.unit_id > ?4 || '.' AND r.unit_id < ?4 || '/'))
        AND (?5 = '' OR r.unit_id IN (` + unitsCalled + `))
        AND (NOT ?6 OR NOT EXISTS (SELECT 1 FROM key_uses o JOIN unit_keys k ON k.unit_id = o.unit_id AND k.key_id = o.key_id
            WHERE o.key_id = r.key_id AND substr(o.unit_id, 1, instr(o.unit_id, '.')) = ` + targetOf + ` || '.'))
        AND (r.key_id NOT LIKE 'kmip-rotated-at:%' OR NOT EXISTS (SELECT 1 FROM key_names m WHERE m.unit_id = r.unit_id AND m.marker = r.key_id))
    GROUP BY r.key_id, 1 ORDER BY r.key_id, 1 LIMIT ?7)
UNION
SELECT * FROM (SELECT ` + targetOf + ` AS target, r.key_id FROM key_names r
    WHERE r.key_id >= ?1 AND (r.key_id > ?1 OR ` + targetOf + ` > ?2) AND (?3 = '' OR r.key_id = ?3)
        AND (?4 = '' OR (r.unit_id > ?4 || '.' AND r.unit_id < ?4 || '/'))
        AND (?5 = '' OR r.unit_id IN (` + unitsCalled + `))
        AND (NOT ?6 OR NOT EXISTS (SELECT 1 FROM key_names o JOIN unit_keys k ON k.unit_id = o.unit_id AND k.key_id = o.marker
            WHERE o.key_id = r.key_id AND substr(o.unit_id, 1, instr(o.unit_id, '.')) = ` + targetOf + ` || '.'))
    GROUP BY r.key_id, 1 ORDER BY r.key_id, 1 LIMIT ?7)
UNION
SELECT * FROM (SELECT s.target, s.key_id FROM snapshots s
    WHERE s.key_id <> '' AND s.key_id >= ?1 AND (s.key_id > ?1 OR s.target > ?2) AND (?3 = '' OR s.key_id = ?3) AND (?4 = '' OR s.target = ?4)
        AND (?5 = '' OR s.unit_id IN (` + unitsCalled + `))
        AND (NOT ?6 OR NOT EXISTS (SELECT 1 FROM key_uses o JOIN unit_keys k ON k.unit_id = o.unit_id AND k.key_id = o.key_id
            WHERE o.key_id = s.key_id AND substr(o.unit_id, 1, instr(o.unit_id, '.')) = s.target || '.'))
        AND (NOT ?6 OR NOT EXISTS (SELECT 1 FROM key_names o JOIN unit_keys k ON k.unit_id = o.unit_id AND k.key_id = o.marker
            WHERE o.key_id = s.key_id AND substr(o.unit_id, 1, instr(o.unit_id, '.')) = s.target || '.'))
    GROUP BY s.key_id, s.target ORDER BY s.key_id, s.target LIMIT ?7)
ORDER BY 2, 1 LIMIT ?7`

// RetainedPage implements retain.Store.
func (s *Store) RetainedPage(ctx context.Context, f keyturn.KeyFilter) ([]keyturn.KeyRef, string, error) {
	afterTarget, afterKey, _ := strings.Cut(f.Page.After, " ")
	names, err := collectByKey(ctx, s, scanKeyName, retainedPage, afterKey, afterTarget, f.Key, f.Target, f.Unit, f.Old, limit(f.Page)+1)
	if err != nil {
		return nil, "", fmt.Errorf("listing keys: %w", err)
	}
	names, next := cut(names, f.Page, func(k keyturn.KeyRef) string { return k.Target + " " + k.KeyID })
	return names, next, nil
}

func scanKeyName(rows *sql.Rows) (keyturn.KeyRef, error) {
	var k keyturn.KeyRef
	err := rows.Scan(&k.Target, &k.KeyID)
	return k, err
}

// keyNames are keys as statements take them: [["target", "id"], …].
func keyNames(keys []keyturn.KeyRef) (string, error) {
	list := make([][2]string, len(keys))
	for i, k := range keys {
		list[i] = [2]string{k.Target, k.KeyID}
	}
	raw, err := json.Marshal(list)
	return string(raw), err
}

const keyUses = `
WITH records AS MATERIALIZED (
    SELECT r.key_id, r.key_id AS marker, r.seq, r.id, r.unit_id, r.used_from, r.origin
    FROM json_each(?1) w CROSS JOIN key_uses x ON x.key_id = w.value ->> 1 AND x.unit_id > (w.value ->> 0) || '.' AND x.unit_id < (w.value ->> 0) || '/'
    CROSS JOIN key_records r ON r.unit_id = x.unit_id AND r.key_id = x.key_id
    UNION ALL
    SELECT m.key_id, r.key_id, r.seq, r.id, r.unit_id, r.used_from, r.origin
    FROM json_each(?1) w CROSS JOIN key_names m ON m.key_id = w.value ->> 1 AND m.unit_id > (w.value ->> 0) || '.' AND m.unit_id < (w.value ->> 0) || '/'
    CROSS JOIN key_records r ON r.unit_id = m.unit_id AND r.key_id = m.marker
)
SELECT r.key_id, r.used_from, r.origin,
    (SELECT a.used_from FROM key_records a WHERE a.unit_id = r.unit_id AND a.seq > r.seq ORDER BY a.seq LIMIT 1),
    (SELECT a.used_from FROM key_records a WHERE a.unit_id = r.unit_id AND a.seq < r.seq ORDER BY a.seq DESC LIMIT 1),
    k.key_id = r.marker,
    EXISTS (SELECT 1 FROM tasks t WHERE t.unit_id = r.unit_id AND t.state = 'intended'),
    EXISTS (SELECT 1 FROM tasks t WHERE t.unit_id = r.unit_id AND t.state = 'parked'),
    EXISTS (SELECT 1 FROM rotations o WHERE o.finished_at IS NULL AND o.id =
        (SELECT a.rotation_id FROM key_records a WHERE a.unit_id = r.unit_id AND a.seq > r.seq ORDER BY a.seq LIMIT 1)),
    l.looked_at, coalesce(l.trouble, ''),
    u.id, u.target, u.system, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name
FROM records r CROSS JOIN units u ON u.id = r.unit_id CROSS JOIN unit_keys k ON k.unit_id = r.unit_id
LEFT JOIN snapshot_looks l ON l.unit_id = r.unit_id
ORDER BY r.key_id, u.target, r.used_from, r.id`

// KeyUses implements retain.Store.
func (s *Store) KeyUses(ctx context.Context, keys []keyturn.KeyRef) ([]keyturn.KeyUse, error) {
	wanted, err := keyNames(keys)
	if err != nil {
		return nil, fmt.Errorf("finding who used %d keys: %w", len(keys), err)
	}
	out, err := collectByKey(ctx, s, func(rows *sql.Rows) (keyturn.KeyUse, error) {
		var k keyturn.KeyUse
		var from int64
		var until, before, looked sql.NullInt64
		u := &k.Unit
		err := rows.Scan(&k.KeyID, &from, &k.Origin, &until, &before, &k.InUse, &k.Busy, &k.Parked, &k.Replacing, &looked, &k.Trouble,
			&u.ID, &u.Target, &u.System, &u.ProjectID, &u.ProjectName, &u.ClusterID, &u.ClusterName, &u.Component, &u.Name)
		k.From, k.Until, k.Before, k.LookedAt = toTime(from), toTimePtr(until), toTimePtr(before), toTimePtr(looked)
		return k, err
	}, keyUses, wanted)
	if err != nil {
		return nil, fmt.Errorf("finding who used %d keys: %w", len(keys), err)
	}
	return out, nil
}

// unnamed: the snapshot names no key of its target's history.
const unnamed = `(s.key_id = '' OR (
    NOT EXISTS (SELECT 1 FROM key_uses r WHERE r.key_id = s.key_id AND r.unit_id > s.target || '.' AND r.unit_id < s.target || '/')
    AND NOT EXISTS (SELECT 1 FROM key_names m WHERE m.key_id = s.key_id AND m.unit_id > s.target || '.' AND m.unit_id < s.target || '/')))`

const keyNeeds = `
WITH hits AS MATERIALIZED (
    SELECT w.key AS n, s.unit_id, s.id, s.cluster_name, s.expires_at, s.keep, 1 AS named
    FROM json_each(?1) w CROSS JOIN snapshots s ON s.target = w.value ->> 0 AND s.key_id = w.value ->> 1 AND s.key_id <> ''
    UNION ALL
    SELECT DISTINCT w.value ->> 0, s.unit_id, s.id, s.cluster_name, s.expires_at, s.keep, 0
    FROM json_each(?2) w CROSS JOIN snapshots s ON s.unit_id = w.value ->> 1 AND s.created_at BETWEEN w.value ->> 2 AND w.value ->> 3
    WHERE ` + unnamed + `
)
SELECT n, sum(named), sum(NOT named), sum(keep OR expires_at IS NULL),
    count(DISTINCT substr(substr(unit_id, instr(unit_id, '.') + 1), 1, instr(substr(unit_id, instr(unit_id, '.') + 1), '.')) || cluster_name), max(expires_at)
FROM hits GROUP BY n`

// windowList is windows as statements take them: [[key, "unit", from, to], …].
func windowList(windows []keyturn.NeedWindow) (string, error) {
	list := make([][4]any, len(windows))
	for i, w := range windows {
		list[i] = [4]any{w.Key, w.Unit, w.From.UnixMilli(), w.To.UnixMilli()}
	}
	raw, err := json.Marshal(list)
	return string(raw), err
}

// KeyNeeds implements retain.Store.
func (s *Store) KeyNeeds(ctx context.Context, keys []keyturn.KeyRef, windows []keyturn.NeedWindow) ([]keyturn.KeyNeed, error) {
	out := make([]keyturn.KeyNeed, len(keys))
	wanted, err := keyNames(keys)
	if err == nil {
		var times string
		if times, err = windowList(windows); err == nil {
			_, err = collectByKey(ctx, s, func(rows *sql.Rows) (struct{}, error) {
				var n int
				var need keyturn.KeyNeed
				var until sql.NullInt64
				err := rows.Scan(&n, &need.Named, &need.ByTime, &need.Endless, &need.Clusters, &until)
				if err == nil && n >= 0 && n < len(out) {
					need.Until = toTimePtr(until)
					out[n] = need
				}
				return struct{}{}, err
			}, keyNeeds, wanted, times)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("counting the snapshots that need %d keys: %w", len(keys), err)
	}
	return out, nil
}

const needingSnapshots = `
SELECT s.unit_id, s.id, s.cluster_name, s.key_id, s.created_at, s.expires_at, s.complete, s.keep
FROM snapshots s WHERE s.target = ?1 AND s.key_id = ?2 AND s.key_id <> ''
UNION
SELECT s.unit_id, s.id, s.cluster_name, s.key_id, s.created_at, s.expires_at, s.complete, s.keep
FROM json_each(?3) w CROSS JOIN snapshots s ON s.unit_id = w.value ->> 1 AND s.created_at BETWEEN w.value ->> 2 AND w.value ->> 3
WHERE ` + unnamed + `
ORDER BY 6 DESC NULLS FIRST, 1, 2 LIMIT ?4`

// NeedingSnapshots implements retain.Store.
func (s *Store) NeedingSnapshots(ctx context.Context, key keyturn.KeyRef, windows []keyturn.NeedWindow, limit int) ([]keyturn.Snapshot, error) {
	times, err := windowList(windows)
	if err != nil {
		return nil, fmt.Errorf("finding the snapshots that need key %s: %w", key.KeyID, err)
	}
	out, err := collectByKey(ctx, s, func(rows *sql.Rows) (keyturn.Snapshot, error) {
		var n keyturn.Snapshot
		var created int64
		var expires sql.NullInt64
		err := rows.Scan(&n.Unit, &n.ID, &n.ClusterName, &n.KeyID, &created, &expires, &n.Complete, &n.Keep)
		n.CreatedAt, n.ExpiresAt = toTime(created), toTimePtr(expires)
		return n, err
	}, needingSnapshots, key.Target, key.KeyID, times, limit)
	if err != nil {
		return nil, fmt.Errorf("finding the snapshots that need key %s: %w", key.KeyID, err)
	}
	return out, nil
}
