package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

// The troubles of a target, as its row names them.
const (
	troubleUnreachable = "unreachable"
	troubleRejected    = "rejected"
)

const selectedColumns = `u.id, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name`

// badRotations are rotations that failed, wholly or in part, and that no later one has made good:
// neither one over the same units, nor by turning what was missing. Of each policy the newest is told, and its newest failures are
// looked through: whoever rotates daily has thousands by and by.
const badRotations = `
WITH bad AS MATERIALIZED (
    SELECT r.* FROM policies p CROSS JOIN rotations r ON r.id = (
        SELECT f.id FROM (SELECT o.* FROM rotations o WHERE o.policy = p.name AND o.state IN ('failed', 'partial') ORDER BY o.requested_at DESC LIMIT 64) f
        WHERE (f.total > 0 OR json_remove(f.only_units, '$.keys') = '{}')
            AND (f.total = 0 OR EXISTS (SELECT 1 FROM tasks t CROSS JOIN unit_keys k ON k.unit_id = t.unit_id
                WHERE t.rotation_id = f.id AND (t.state IN ('failed', 'parked') OR t.stopped) AND (k.key_since IS NULL OR k.key_since <= f.requested_at)))
            AND NOT EXISTS (SELECT 1 FROM rotations s WHERE s.policy = f.policy AND s.finished_at IS NOT NULL AND s.requested_at > f.requested_at
                AND s.state <> 'cancelled' AND (json_remove(s.only_units, '$.keys') = '{}' OR json_remove(s.only_units, '$.keys') = json_remove(f.only_units, '$.keys')))
        ORDER BY f.requested_at DESC LIMIT 1)
), cluster AS MATERIALIZED (
    SELECT b.id, u.project_name || '/' || u.cluster_name AS name,
        count(*) FILTER (WHERE (t.state IN ('failed', 'parked') OR t.stopped) AND (k.key_since IS NULL OR k.key_since <= b.requested_at)) AS missing,
        count(*) FILTER (WHERE t.state = 'succeeded') AS turned
    FROM bad b JOIN tasks t ON t.rotation_id = b.id JOIN units u ON u.id = t.unit_id JOIN unit_keys k ON k.unit_id = t.unit_id
    GROUP BY b.id, u.project_id, u.cluster_name
)
SELECT b.id, b.policy, b.target, b.state, b.trouble, b.finished_at, b.total,
    coalesce((SELECT sum(c.missing) FROM cluster c WHERE c.id = b.id), 0),
    (SELECT json_group_array(m.name) FROM
        (SELECT c.name FROM cluster c WHERE c.id = b.id AND c.missing > 0 AND c.turned > 0 ORDER BY c.name LIMIT 5) m)
FROM bad b ORDER BY b.policy LIMIT ?1`

// failingWebhooks are webhooks whose receiver takes nothing since before, or for ever, and those that
// something is parked for which no later delivery of its order has overtaken. What a paused one does not
// take is no failure.
const failingWebhooks = `
WITH parked AS MATERIALIZED (
    SELECT d.webhook, count(*) AS lost, min(d.finished_at) AS since
    FROM deliveries d
    WHERE d.state = 'parked' AND (d.order_key = '' OR NOT EXISTS (SELECT 1 FROM deliveries e
        WHERE e.webhook = d.webhook AND e.order_key = d.order_key AND e.order_key <> '' AND e.seq > d.seq AND e.state = 'delivered'))
    GROUP BY d.webhook
)
SELECT r.name, coalesce(s.failing_since, p.since, 0), coalesce(s.last_error, ''), coalesce(p.lost, 0),
    coalesce(s.gone_generation = r.generation, 0), coalesce(s.failing_since <= ?1, 0)
FROM resources r LEFT JOIN webhook_states s ON s.webhook = r.name LEFT JOIN parked p ON p.webhook = r.name
WHERE r.kind = 'Webhook' AND (p.lost > 0 OR s.gone_generation = r.generation
    OR s.failing_since <= ?1 AND NOT coalesce(r.spec ->> '$.paused', 0))
ORDER BY r.name LIMIT ?2`

// Evidence implements alerts.Store.
func (s *Store) Evidence(ctx context.Context, kind keyturn.AlertKind, at time.Time, limit int) ([]keyturn.AlertEvidence, error) {
	ms := at.UnixMilli()
	var out []keyturn.AlertEvidence
	var err error
	switch kind {
	case keyturn.AlertTaskParked:
		// The plus keeps SQLite from reading all tasks in the order of their ids.
		out, err = collect(ctx, s.read, scanTaskEvidence, `SELECT t.id, r.policy, t.reason, t.finished_at, t.target, `+selectedColumns+`
			FROM tasks t JOIN rotations r ON r.id = t.rotation_id JOIN units u ON u.id = t.unit_id
			WHERE t.state = 'parked' ORDER BY +t.id LIMIT ?1`, limit)
	case keyturn.AlertTargetUnreachable:
		out, err = s.troubles(ctx, troubleUnreachable, ms)
	case keyturn.AlertCredentialsRejected:
		out, err = s.troubles(ctx, troubleRejected, ms)
	case keyturn.AlertKeyDrift:
		out, err = collect(ctx, s.read, scanTaskEvidence, `SELECT k.unit_id, '', '', max(k.used_from), u.target, `+selectedColumns+`
			FROM key_records k JOIN units u ON u.id = k.unit_id
			WHERE k.origin = 'observed' AND k.previous_key_id <> '' AND k.used_from > ?1
				AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.unit_id = k.unit_id AND t.state = 'parked') -- it may be its change that shows now
			GROUP BY k.unit_id ORDER BY k.unit_id LIMIT ?2`, ms, limit)
	case keyturn.AlertRotationFailed, keyturn.AlertRotationPartial:
		out, err = collect(ctx, s.read, scanBadRotation, badRotations, limit)
	case keyturn.AlertWebhookFailing:
		out, err = collect(ctx, s.read, scanFailingWebhook, failingWebhooks, ms, limit)
	default:
		return nil, fmt.Errorf("the database knows nothing of alerts %s", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", kind, err)
	}
	return out, nil
}

func scanTaskEvidence(rows *sql.Rows) (keyturn.AlertEvidence, error) {
	var e keyturn.AlertEvidence
	var since int64
	u := &e.Unit
	err := rows.Scan(&e.Subject, &e.Policy, &e.Detail, &since, &e.Target,
		&u.ID, &u.ProjectID, &u.ProjectName, &u.ClusterID, &u.ClusterName, &u.Component, &u.Name)
	e.Since, u.Target = toTime(since), e.Target
	return e, err
}

func scanShortEvidence(rows *sql.Rows) (keyturn.AlertEvidence, error) {
	var e keyturn.AlertEvidence
	var since int64
	err := rows.Scan(&e.Subject, &e.Policy, &e.Target, &e.Detail, &since)
	e.Since = toTime(since)
	return e, err
}

func scanBadRotation(rows *sql.Rows) (keyturn.AlertEvidence, error) {
	var e keyturn.AlertEvidence
	var since int64
	var mixed string
	if err := rows.Scan(&e.Subject, &e.Policy, &e.Target, &e.State, &e.Detail, &since, &e.Total, &e.Count, &mixed); err != nil {
		return e, err
	}
	e.Since = toTime(since)
	return e, json.Unmarshal([]byte(mixed), &e.Mixed)
}

func scanFailingWebhook(rows *sql.Rows) (keyturn.AlertEvidence, error) {
	var e keyturn.AlertEvidence
	var since int64
	err := rows.Scan(&e.Subject, &since, &e.Detail, &e.Count, &e.Gone, &e.Failing)
	e.Since = toTime(since)
	return e, err
}

func (s *Store) troubles(ctx context.Context, trouble string, before int64) ([]keyturn.AlertEvidence, error) {
	return collect(ctx, s.read, scanShortEvidence, `SELECT t.name, '', t.name, t.trouble_words, t.trouble_since
		FROM targets t JOIN resources s ON s.kind = 'Target' AND s.name = t.name
		WHERE t.trouble = ?1 AND t.trouble_since <= ?2 ORDER BY t.name`, trouble, before)
}

// UnitsOf implements alerts.Store.
func (s *Store) UnitsOf(ctx context.Context, target, after string, limit int) ([]keyturn.Unit, error) {
	// A unit's id begins with its target's name.
	out, err := collect(ctx, s.read, func(rows *sql.Rows) (keyturn.Unit, error) {
		u := keyturn.Unit{Target: target}
		err := rows.Scan(&u.ID, &u.ProjectID, &u.ProjectName, &u.ClusterID, &u.ClusterName, &u.Component, &u.Name)
		return u, err
	}, `SELECT `+selectedColumns+` FROM units u WHERE u.id > ?1 AND u.id < ?2 AND u.target = ?3 ORDER BY u.id LIMIT ?4`,
		max(after, target+"."), target+"/", target, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the units of target %s: %w", target, err)
	}
	return out, nil
}

// CountUnits implements alerts.Store.
func (s *Store) CountUnits(ctx context.Context, target string) (int, error) {
	n, err := only(collect(ctx, s.read, func(rows *sql.Rows) (int, error) {
		var n int
		err := rows.Scan(&n)
		return n, err
	}, `SELECT count(*) FROM units u WHERE u.id > ?1 AND u.id < ?2 AND u.target = ?3`, target+".", target+"/", target))
	if err != nil {
		return 0, fmt.Errorf("counting the units of target %s: %w", target, err)
	}
	return n, nil
}

// TargetTrouble implements worker.TargetHealth.
func (s *Store) TargetTrouble(ctx context.Context, target string, rejected bool, words string) error {
	trouble := troubleUnreachable
	if rejected {
		trouble = troubleRejected
	}
	return s.inTx(ctx, "noting the trouble of target "+target, func(ctx context.Context, tx *tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO targets AS t (name, trouble, trouble_since, trouble_words) VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT (name) DO UPDATE SET trouble = excluded.trouble, trouble_words = excluded.trouble_words,
				trouble_since = CASE WHEN t.trouble = excluded.trouble THEN t.trouble_since ELSE excluded.trouble_since END`,
			target, trouble, tx.now, words)
		return err
	})
}

// TargetAnswered implements worker.TargetHealth.
func (s *Store) TargetAnswered(ctx context.Context, target string) error {
	return s.inTx(ctx, "noting that target "+target+" answers", func(ctx context.Context, tx *tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE targets SET trouble = '', trouble_since = NULL, trouble_words = '' WHERE name = ?1 AND trouble <> ''`, target)
		return err
	})
}
