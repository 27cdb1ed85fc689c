package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

// sweepLease is how long whoever changes alerts keeps the leave to evaluate them from then on.
const sweepLease = 30 * time.Second

// collect runs a query and reads its rows. Rows are closed when it returns: the one connection that
// writes has room for one statement at a time.
func collect[T any](ctx context.Context, on querier, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := on.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells what went wrong
	var out []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("reading a row: %w", err)
		}
		out = append(out, item)
	}
	return out, rows.Err()
}

// ClaimSweep implements alerts.Store.
func (s *Store) ClaimSweep(ctx context.Context, owner string, lease time.Duration) (keyturn.AlertSweep, error) {
	var sweep keyturn.AlertSweep
	err := s.inTx(ctx, "claiming the evaluation of alerts", func(ctx context.Context, tx *tx) error {
		rows, err := collect(ctx, tx, func(rows *sql.Rows) ([3]sql.NullInt64, error) {
			var at [3]sql.NullInt64
			err := rows.Scan(&at[0], &at[1], &at[2])
			return at, err
		}, `UPDATE alert_sweeper SET owner = ?1, lease_until = ?2 WHERE lease_until IS NULL OR lease_until <= ?3 OR owner = ?1
			RETURNING keys_at, facts_at, turned_at`, owner, tx.in(lease), tx.now)
		if err == nil && len(rows) == 0 {
			err = keyturn.ErrNotFound
		}
		if err != nil {
			return err
		}
		sweep = keyturn.AlertSweep{Now: toTime(tx.now), KeysAt: timeOf(rows[0][0]), FactsAt: timeOf(rows[0][1]), TurnedAt: timeOf(rows[0][2])}
		return nil
	})
	return sweep, err
}

// timeOf is the zero time for NULL.
func timeOf(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return toTime(ms.Int64)
}

// nonZero is NULL for the zero time.
func nonZero(t time.Time) sql.NullInt64 {
	if t.IsZero() {
		return sql.NullInt64{}
	}
	return at(t.UnixMilli())
}

// NoteSweep implements alerts.Store.
func (s *Store) NoteSweep(ctx context.Context, owner string, done keyturn.AlertSweep) error {
	return s.inTx(ctx, "noting how far alerts were evaluated", func(ctx context.Context, tx *tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE alert_sweeper SET keys_at = coalesce(?2, keys_at), facts_at = coalesce(?3, facts_at),
			turned_at = coalesce(?4, turned_at) WHERE owner = ?1`, owner, nonZero(done.KeysAt), nonZero(done.FactsAt), nonZero(done.TurnedAt))
		return err
	})
}

// SweepPolicies implements alerts.Store.
func (s *Store) SweepPolicies(ctx context.Context) ([]keyturn.Policy, error) {
	out, err := collect(ctx, s.read, func(rows *sql.Rows) (keyturn.Policy, error) {
		var name, spec string
		var generation int64
		var paused bool
		if err := rows.Scan(&name, &spec, &generation, &paused); err != nil {
			return keyturn.Policy{}, err
		}
		p, err := toPolicy(name, spec, generation, paused)
		return p.WithDefaults(), err
	}, `SELECT s.name, s.spec, s.generation, p.paused FROM resources s JOIN policies p ON p.name = s.name
		WHERE s.kind = 'Policy' AND s.spec ->> '$.target' IN
			(SELECT t.name FROM targets t WHERE EXISTS (SELECT 1 FROM units u WHERE u.id > t.name || '.' AND u.id < t.name || '/')) ORDER BY s.name`)
	if err != nil {
		return nil, fmt.Errorf("reading the policies of targets: %w", err)
	}
	return out, nil
}

const keyedColumns = `u.id, u.target, u.project_id, u.project_name, u.cluster_id, u.cluster_name, u.component, u.name, u.rotatable, u.reason,
    k.key_since, k.key_exact`

func scanKeyed(rows *sql.Rows) (keyturn.KeyedUnit, error) {
	var k keyturn.KeyedUnit
	var since int64
	err := rows.Scan(&k.ID, &k.Target, &k.ProjectID, &k.ProjectName, &k.ClusterID, &k.ClusterName, &k.Component, &k.Name, &k.Rotatable,
		&k.Reason, &since, &k.Exact)
	k.Since = toTime(since)
	return k, err
}

// OldKeys implements alerts.Store.
func (s *Store) OldKeys(
	ctx context.Context, before time.Time, after keyturn.KeyCursor, alerted []keyturn.AlertKind, limit int,
) ([]keyturn.KeyedUnit, error) {
	kinds, err := json.Marshal(alerted)
	if err != nil {
		return nil, err
	}
	where := ""
	if len(alerted) > 0 { // the first test is made once, and mostly there is no such alert at all
		where = `AND EXISTS (SELECT 1 FROM alerts a WHERE a.open AND a.kind IN (SELECT value FROM json_each(?5)))
			AND EXISTS (SELECT 1 FROM alerts a WHERE a.open AND a.kind IN (SELECT value FROM json_each(?5)) AND a.subject = k.unit_id)`
	}
	out, err := collect(ctx, s.read, scanKeyed, `
		SELECT `+keyedColumns+` FROM unit_keys k INDEXED BY unit_keys_age CROSS JOIN units u ON u.id = k.unit_id
		WHERE k.key_since IS NOT NULL AND k.key_since <= ?1 AND (k.key_since, k.unit_id) > (?2, ?3) `+where+`
		ORDER BY k.key_since, k.unit_id LIMIT ?4`, before.UnixMilli(), after.Since.UnixMilli(), after.Unit, limit, string(kinds))
	if err != nil {
		return nil, fmt.Errorf("reading old keys: %w", err)
	}
	return out, nil
}

const openColumns = `a.id, a.version, a.kind, a.subject, a.severity, a.policy, a.target, a.project, a.cluster, a.message, a.state, a.gone_since, a.acked_until`

func scanOpen(rows *sql.Rows) (keyturn.OpenAlert, error) {
	var a keyturn.OpenAlert
	var gone, acked sql.NullInt64
	f := &a.Fact
	err := rows.Scan(&a.ID, &a.Version, &f.Kind, &f.Subject, &f.Severity, &f.Policy, &f.Target, &f.Project, &f.Cluster, &f.Message,
		&a.State, &gone, &acked)
	a.GoneSince, a.AckedUntil = toTimePtr(gone), toTimePtr(acked)
	return a, err
}

func (s *Store) openAlerts(ctx context.Context, on querier, which, query string, args ...any) ([]keyturn.OpenAlert, error) {
	out, err := collect(ctx, on, scanOpen, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading open alerts %s: %w", which, err)
	}
	return out, nil
}

// BaselessKeyAlerts implements alerts.Store.
func (s *Store) BaselessKeyAlerts(
	ctx context.Context, kind keyturn.AlertKind, cutoffs map[string]time.Time, after string, limit int,
) ([]keyturn.OpenAlert, string, error) {
	ms := make(map[string]int64, len(cutoffs))
	for target, at := range cutoffs {
		ms[target] = at.UnixMilli()
	}
	object, err := json.Marshal(ms)
	if err != nil {
		return nil, "", err
	}
	out, err := s.openAlerts(ctx, s.read, "whose keys are not old", `
		WITH cut AS MATERIALIZED (SELECT key AS target, value AS at FROM json_each(?1))
		SELECT `+openColumns+` FROM alerts a LEFT JOIN unit_keys k ON k.unit_id = a.subject LEFT JOIN cut ON cut.target = a.target
		WHERE a.open AND a.kind = ?2 AND a.subject > ?3 AND (k.key_since IS NULL OR cut.at IS NULL OR k.key_since > cut.at)
		ORDER BY a.subject LIMIT ?4`, string(object), string(kind), after, limit)
	if err != nil || len(out) < limit {
		return out, "", err
	}
	return out, out[limit-1].Fact.Subject, nil
}

const alertsOfSubjects = `SELECT ` + openColumns + ` FROM json_each(?1) kinds CROSS JOIN json_each(?2) subjects
    CROSS JOIN alerts a ON a.open AND a.kind = kinds.value AND a.subject = subjects.value`

// OpenAlertsOf implements alerts.Store.
func (s *Store) OpenAlertsOf(ctx context.Context, kinds []keyturn.AlertKind, subjects []string) ([]keyturn.OpenAlert, error) {
	return s.openAlertsOf(ctx, s.read, kinds, subjects)
}

func (s *Store) openAlertsOf(ctx context.Context, on querier, kinds []keyturn.AlertKind, subjects []string) ([]keyturn.OpenAlert, error) {
	k, err := json.Marshal(kinds)
	if err != nil {
		return nil, err
	}
	names, err := json.Marshal(subjects)
	if err != nil {
		return nil, err
	}
	return s.openAlerts(ctx, on, "of some subjects", alertsOfSubjects, string(k), string(names))
}

// OpenAlerts implements alerts.Store.
func (s *Store) OpenAlerts(ctx context.Context, kind keyturn.AlertKind, after string, limit int) ([]keyturn.OpenAlert, error) {
	return s.openAlerts(ctx, s.read, "of kind "+string(kind), `SELECT `+openColumns+` FROM alerts a
		WHERE a.open AND a.kind = ?1 AND a.subject > ?2 ORDER BY a.subject LIMIT ?3`, string(kind), after, limit)
}

// LapsedAcks implements alerts.Store.
func (s *Store) LapsedAcks(ctx context.Context, now time.Time, limit int) ([]keyturn.OpenAlert, error) {
	return s.openAlerts(ctx, s.read, "whose acknowledgement has ended", `SELECT `+openColumns+` FROM alerts a
		WHERE a.state = 'acknowledged' AND a.acked_until <= ?1 ORDER BY a.acked_until LIMIT ?2`, now.UnixMilli(), limit)
}

// SaveAlerts implements alerts.Store.
func (s *Store) SaveAlerts(ctx context.Context, owner string, batch *keyturn.AlertBatch) error {
	return s.inTx(ctx, fmt.Sprintf("saving %d changes of alerts", batch.Size()), func(ctx context.Context, tx *tx) error {
		if err := holdSweep(ctx, tx, owner); err != nil {
			return err
		}
		return s.saveAlerts(ctx, tx, batch)
	})
}

// holdSweep keeps others from evaluating for a lease from now on.
func holdSweep(ctx context.Context, tx *tx, owner string) error {
	n, err := changed(tx.ExecContext(ctx, `UPDATE alert_sweeper SET lease_until = ?2 WHERE owner = ?1 AND lease_until > ?3`,
		owner, tx.in(sweepLease), tx.now))
	if err == nil && n == 0 {
		err = fmt.Errorf("another process evaluates alerts: %w", keyturn.ErrConflict)
	}
	return err
}

func changed(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (s *Store) saveAlerts(ctx context.Context, tx *tx, batch *keyturn.AlertBatch) error {
	touched := map[keyturn.AlertGroup]bool{} // whether someone must be told at once
	for _, a := range batch.Resolve {
		n, err := changed(tx.ExecContext(ctx, `UPDATE alerts SET state = 'resolved', open = 0, resolved_at = ?3, gone_since = NULL, version = version + 1,
			told_at = (SELECT g.told_at FROM alert_groups g WHERE g.kind = alerts.kind AND g.policy = alerts.group_policy
				AND g.target = alerts.target AND g.told_at >= alerts.since AND NOT alerts.silenced)
			WHERE id = ?1 AND version = ?2 AND open`, a.ID.String(), a.Version, tx.now))
		if err != nil {
			return err
		}
		if n == 0 {
			continue // somebody was first
		}
		if err := noteChange(ctx, tx, a.ID, keyturn.AlertResolved, a.Fact.Severity); err != nil {
			return err
		}
		touch(touched, a.Fact.Group(), false)
	}
	if err := updateAlerts(ctx, tx, batch.Update, touched); err != nil {
		return err
	}
	for _, f := range batch.Open {
		if err := s.beginAlert(ctx, tx, f, touched); err != nil {
			return err
		}
	}
	for gone, ids := range map[bool][]keyturn.ID{true: batch.Gone, false: batch.Back} {
		since := sql.NullInt64{}
		if gone {
			since = at(tx.now)
		}
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, `UPDATE alerts SET gone_since = ?2 WHERE id = ?1 AND open`, id.String(), since); err != nil {
				return err
			}
		}
	}
	return touchGroups(ctx, tx, touched)
}

func touch(touched map[keyturn.AlertGroup]bool, g keyturn.AlertGroup, urgent bool) {
	touched[g] = touched[g] || urgent
}

func noteChange(ctx context.Context, tx *tx, id keyturn.ID, state keyturn.AlertState, severity keyturn.Severity) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO alert_changes (alert_id, at, state, severity) VALUES (?1, ?2, ?3, ?4)`,
		id.String(), tx.now, string(state), string(severity))
	return err
}

func updateAlerts(ctx context.Context, tx *tx, updates []keyturn.AlertUpdate, touched map[keyturn.AlertGroup]bool) error {
	for _, u := range updates {
		n, err := changed(tx.ExecContext(ctx, `UPDATE alerts SET state = ?3, severity = ?4, rank = ?5, message = ?6, version = version + 1,
			acked_by = CASE WHEN ?3 = 'acknowledged' THEN acked_by ELSE '' END,
			acked_until = CASE WHEN ?3 = 'acknowledged' THEN acked_until END,
			ack_note = CASE WHEN ?3 = 'acknowledged' THEN ack_note ELSE '' END
			WHERE id = ?1 AND version = ?2 AND open`, u.ID.String(), u.Version, string(u.State), string(u.Severity), u.Severity.Rank(), u.Message))
		if err != nil {
			return err
		}
		if n == 0 {
			continue // somebody was first
		}
		if !u.Noted {
			continue
		}
		if err := noteChange(ctx, tx, u.ID, u.State, u.Severity); err != nil {
			return err
		}
		touch(touched, u.Group, u.Urgent)
	}
	return nil
}

func (s *Store) beginAlert(ctx context.Context, tx *tx, f keyturn.AlertFact, touched map[keyturn.AlertGroup]bool) error {
	id, g := s.ids.next(tx.now), f.Group()
	n, err := changed(tx.ExecContext(ctx, `INSERT INTO alerts
		(id, kind, subject, severity, rank, state, open, policy, target, project, cluster, group_policy, message, since)
		VALUES (?1, ?2, ?3, ?4, ?5, 'firing', 1, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (kind, subject) WHERE open DO NOTHING`,
		id.String(), string(f.Kind), f.Subject, string(f.Severity), f.Severity.Rank(), f.Policy, f.Target, f.Project, f.Cluster, g.Name,
		f.Message, tx.now))
	if err != nil || n == 0 {
		return err
	}
	touch(touched, g, false)
	return noteChange(ctx, tx, id, keyturn.AlertFiring, f.Severity)
}

func touchGroups(ctx context.Context, tx *tx, touched map[keyturn.AlertGroup]bool) error {
	for g, urgent := range touched {
		due := tx.in(keyturn.GroupWait)
		if urgent {
			due = at(tx.now)
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO alert_groups AS g (kind, policy, target, due_at, urgent) VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT (kind, policy, target) DO UPDATE SET due_at = min(coalesce(g.due_at, excluded.due_at), excluded.due_at),
				urgent = g.urgent OR excluded.urgent, version = g.version + 1`, string(g.Kind), g.Name, g.Target, due, urgent); err != nil {
			return err
		}
	}
	return nil
}

// only answers ErrNotFound for no row.
func only[T any](rows []T, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	if len(rows) == 0 {
		return none, keyturn.ErrNotFound
	}
	return rows[0], nil
}
