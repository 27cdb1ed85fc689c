package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/keyturn/keyturn"
)

// DueGroups implements alerts.Store.
func (s *Store) DueGroups(ctx context.Context, now time.Time, limit int) ([]keyturn.AlertGroupState, error) {
	out, err := collect(ctx, s.read, func(rows *sql.Rows) (keyturn.AlertGroupState, error) {
		var g keyturn.AlertGroupState
		var told, since sql.NullInt64
		err := rows.Scan(&g.Group.Kind, &g.Group.Name, &g.Group.Target, &g.Version, &g.Urgent, &g.ToldState, &g.ToldSeverity, &told, &since, &g.Touched)
		g.ToldAt, g.ToldSince = timeOf(told), timeOf(since)
		return g, err
	}, `SELECT kind, policy, target, version, urgent, told_state, told_severity, told_at, told_since, version <> told_version
		FROM alert_groups WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2`, now.UnixMilli(), limit)
	if err != nil {
		return nil, fmt.Errorf("reading groups of alerts: %w", err)
	}
	return out, nil
}

// SummarizeGroup implements alerts.Store.
func (s *Store) SummarizeGroup(ctx context.Context, g keyturn.AlertGroup) (keyturn.AlertGroupSummary, error) {
	sum, err := summarize(ctx, s.read, g)
	if err != nil {
		return keyturn.AlertGroupSummary{}, fmt.Errorf("summing up alerts %s: %w", g, err)
	}
	return sum, nil
}

func summarize(ctx context.Context, on querier, g keyturn.AlertGroup) (keyturn.AlertGroupSummary, error) {
	return only(collect(ctx, on, func(rows *sql.Rows) (keyturn.AlertGroupSummary, error) {
		var sum keyturn.AlertGroupSummary
		var worst int
		var oldest, newest int64
		err := rows.Scan(&sum.Open, &sum.Firing, &sum.Critical, &sum.Warning, &worst, &oldest, &newest, &sum.Clusters, &sum.Silenced)
		sum.Worst, sum.Oldest, sum.Newest = keyturn.SeverityOfRank(worst), toTime(oldest), toTime(newest)
		return sum, err
	}, `SELECT count(*), count(*) FILTER (WHERE state = 'firing'), count(*) FILTER (WHERE severity = 'critical'),
			count(*) FILTER (WHERE severity = 'warning'), coalesce(max(rank) FILTER (WHERE state = 'firing'), 0), coalesce(min(since), 0),
			coalesce(max(since) FILTER (WHERE state = 'firing'), 0), count(DISTINCT CASE WHEN cluster <> '' THEN project || '/' || cluster END),
			count(*) FILTER (WHERE silenced)
		FROM alerts WHERE open AND kind = ?1 AND group_policy = ?2 AND target = ?3`, string(g.Kind), g.Name, g.Target))
}

const alertColumns = `a.id, a.kind, a.severity, a.state, a.subject, a.message, a.since, a.policy, a.target, a.cluster, a.resolved_at,
    a.acked_by, a.acked_until, a.ack_note, a.silenced`

// lastTold is when somebody was last told of an alert: as its group was told, as long as it is open.
const lastTold = `CASE WHEN a.open AND NOT a.silenced AND g.told_at >= a.since THEN g.told_at ELSE a.told_at END
    FROM alerts a LEFT JOIN alert_groups g ON g.kind = a.kind AND g.policy = a.group_policy AND g.target = a.target`

func scanAlert(rows *sql.Rows) (keyturn.Alert, error) {
	var a keyturn.Alert
	var since int64
	var resolved, acked, told sql.NullInt64
	err := rows.Scan(&a.ID, &a.Kind, &a.Severity, &a.State, &a.Subject, &a.Message, &since, &a.Policy, &a.Target, &a.Cluster, &resolved,
		&a.AckedBy, &acked, &a.AckNote, &a.Silenced, &told)
	a.Since, a.ResolvedAt, a.AckedUntil, a.LastNotifiedAt = toTime(since), toTimePtr(resolved), toTimePtr(acked), toTimePtr(told)
	return a, err
}

// FiringAlerts implements alerts.Store.
func (s *Store) FiringAlerts(ctx context.Context, g keyturn.AlertGroup, after *keyturn.Alert, limit int) ([]keyturn.Alert, error) {
	rank, since, id := math.MinInt16, int64(0), ""
	if after != nil {
		rank, since, id = -after.Severity.Rank(), after.Since.UnixMilli(), after.ID.String()
	}
	out, err := collect(ctx, s.read, scanAlert, `SELECT `+alertColumns+`, a.told_at FROM alerts a
		WHERE a.open AND a.kind = ?1 AND a.group_policy = ?2 AND a.target = ?3 AND a.state = 'firing' AND (-a.rank, a.since, a.id) > (?4, ?5, ?6)
		ORDER BY a.rank DESC, a.since, a.id LIMIT ?7`, string(g.Kind), g.Name, g.Target, rank, since, id, limit)
	if err != nil {
		return nil, fmt.Errorf("listing alerts %s: %w", g, err)
	}
	return out, nil
}

// MarkSilenced implements alerts.Store.
func (s *Store) MarkSilenced(ctx context.Context, ids []keyturn.ID, silenced bool) error {
	if len(ids) == 0 {
		return nil
	}
	return s.inTx(ctx, "noting silenced alerts", func(ctx context.Context, tx *tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE alerts SET silenced = ?2 WHERE id IN (SELECT value FROM json_each(?1)) AND silenced <> ?2`,
			jsonIDs(ids), silenced)
		return err
	})
}

// SaveNotice implements alerts.Store.
func (s *Store) SaveNotice(ctx context.Context, owner string, w keyturn.NoticeWrite) error {
	g := w.Seen.Group
	return s.inTx(ctx, "saving a notice of "+g.String(), func(ctx context.Context, tx *tx) error {
		if err := holdSweep(ctx, tx, owner); err != nil {
			return err
		}
		told := w.Seen
		if n := w.Notice; n != nil {
			n.At = toTime(tx.now)
			told.ToldState, told.ToldSeverity, told.ToldAt, told.ToldSince = n.State, n.Severity, n.At, n.Since
		}
		changes, err := changed(tx.ExecContext(ctx, `UPDATE alert_groups SET version = version + ?5,
			told_version = CASE WHEN ?5 THEN version + 1 ELSE told_version END, urgent = ?6, due_at = ?7,
			told_state = ?8, told_severity = ?9, told_at = ?10, told_since = ?11
			WHERE kind = ?1 AND policy = ?2 AND target = ?3 AND version = ?4`, string(g.Kind), g.Name, g.Target, w.Seen.Version,
			w.Notice != nil, w.Seen.Urgent && w.Notice == nil, fromTimePtr(w.DueAt), string(told.ToldState), string(told.ToldSeverity),
			nonZero(told.ToldAt), nonZero(told.ToldSince)))
		if err != nil || changes == 0 || w.Notice == nil {
			return err
		}
		return s.insertNotice(ctx, tx, g, w.Notice)
	})
}

func (s *Store) insertNotice(ctx context.Context, tx *tx, g keyturn.AlertGroup, n *keyturn.Notice) error {
	if n.ID == (keyturn.ID{}) {
		n.ID = s.ids.next(tx.now)
	}
	body, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("writing the notice: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO notices (id, kind, policy, target, state, at, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)`,
		n.ID.String(), string(g.Kind), g.Name, g.Target, string(n.State), n.At.UnixMilli(), string(body)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO announcements (id, type, notice_id, notice_group) VALUES (?1, 'notice', ?2, ?3)`,
		s.ids.next(tx.now).String(), n.ID.String(), g.String())
	return err
}

// Notice implements worker.AnnounceStore.
func (s *Store) Notice(ctx context.Context, id keyturn.ID) (keyturn.Notice, error) {
	n, err := only(collect(ctx, s.read, func(rows *sql.Rows) (n keyturn.Notice, err error) {
		var body string
		if err = rows.Scan(&body); err == nil {
			err = json.Unmarshal([]byte(body), &n)
		}
		return n, err
	}, `SELECT body FROM notices WHERE id = ?1`, id.String()))
	if err != nil {
		return keyturn.Notice{}, fmt.Errorf("reading notice %s: %w", id, err)
	}
	return n, nil
}

// AckAlert implements api.AlertStore.
func (s *Store) AckAlert(ctx context.Context, id keyturn.ID, ack keyturn.Ack) (out keyturn.Alert, err error) {
	err = s.inTx(ctx, "acknowledging alert "+id.String(), func(ctx context.Context, tx *tx) error {
		found, err := only(collect(ctx, tx, scanOpen, `SELECT `+openColumns+` FROM alerts a WHERE a.id = ?1`, id.String()))
		if err != nil {
			return err
		}
		if found.State == keyturn.AlertResolved {
			return fmt.Errorf("it is resolved, there is nothing to acknowledge: %w", keyturn.ErrConflict)
		}
		g := found.Fact.Group()
		acked, err := collect(ctx, tx, scanOpen, `SELECT `+openColumns+` FROM alerts a WHERE a.open AND (a.id = ?1 OR (?2
			AND a.kind = ?3 AND a.group_policy = ?4 AND a.target = ?5)) ORDER BY a.rank DESC, a.since, a.id`,
			id.String(), ack.Group, string(g.Kind), g.Name, g.Target)
		if err != nil {
			return err
		}
		for _, a := range acked {
			if err := ackOne(ctx, tx, a, ack); err != nil {
				return err
			}
		}
		told := make([]keyturn.ID, 0, keyturn.NoticeAlerts)
		for _, a := range acked[:min(len(acked), keyturn.NoticeAlerts)] {
			told = append(told, a.ID)
		}
		alerts, err := alertsByID(ctx, tx, told)
		if err != nil {
			return err
		}
		open, err := summarize(ctx, tx, g)
		if err != nil {
			return err
		}
		n := keyturn.AckNotice(g, ack, alerts, len(acked), open.Open, toTime(tx.now))
		if err := s.insertNotice(ctx, tx, g, &n); err != nil {
			return err
		}
		if err := s.writeAudit(ctx, tx); err != nil {
			return err
		}
		out, err = only(alertsByID(ctx, tx, []keyturn.ID{id}))
		return err
	})
	return out, err
}

func ackOne(ctx context.Context, tx *tx, a keyturn.OpenAlert, ack keyturn.Ack) error {
	if _, err := tx.ExecContext(ctx, `UPDATE alerts SET state = 'acknowledged', acked_by = ?2, acked_until = ?3, ack_note = ?4, version = version + 1
		WHERE id = ?1`, a.ID.String(), ack.By, fromTimePtr(ack.Until), ack.Note); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO alert_changes (alert_id, at, state, severity, by, note) VALUES (?1, ?2, 'acknowledged', ?3, ?4, ?5)`,
		a.ID.String(), tx.now, string(a.Fact.Severity), ack.By, ack.Note)
	return err
}

// RaiseAlert implements alerts.External.
func (s *Store) RaiseAlert(ctx context.Context, fact keyturn.AlertFact) error {
	return s.changeExternal(ctx, fact.Kind, fact.Subject, func(open []keyturn.OpenAlert) keyturn.AlertBatch {
		return keyturn.Raise(fact, open)
	})
}

// ResolveAlert implements alerts.External.
func (s *Store) ResolveAlert(ctx context.Context, kind keyturn.AlertKind, subject string) error {
	return s.changeExternal(ctx, kind, subject, func(open []keyturn.OpenAlert) keyturn.AlertBatch {
		return keyturn.AlertBatch{Resolve: open}
	})
}

func (s *Store) changeExternal(
	ctx context.Context, kind keyturn.AlertKind, subject string, change func([]keyturn.OpenAlert) keyturn.AlertBatch,
) error {
	return s.inTx(ctx, fmt.Sprintf("changing the alert %s of %s", kind, subject), func(ctx context.Context, tx *tx) error {
		open, err := s.openAlertsOf(ctx, tx, []keyturn.AlertKind{kind}, []string{subject})
		if err != nil {
			return err
		}
		batch := change(open)
		return s.saveAlerts(ctx, tx, &batch)
	})
}

// Alert implements api.AlertStore.
func (s *Store) Alert(ctx context.Context, id keyturn.ID) (keyturn.Alert, []keyturn.AlertChange, error) {
	a, err := only(alertsByID(ctx, s.read, []keyturn.ID{id}))
	if err != nil {
		return keyturn.Alert{}, nil, fmt.Errorf("reading alert %s: %w", id, err)
	}
	changes, err := collect(ctx, s.read, func(rows *sql.Rows) (keyturn.AlertChange, error) {
		var c keyturn.AlertChange
		var ms int64
		err := rows.Scan(&ms, &c.State, &c.Severity, &c.By, &c.Note)
		c.At = toTime(ms)
		return c, err
	}, `SELECT at, state, severity, by, note FROM alert_changes WHERE alert_id = ?1 ORDER BY seq`, id.String())
	if err != nil {
		return keyturn.Alert{}, nil, fmt.Errorf("reading the history of alert %s: %w", id, err)
	}
	return a, changes, nil
}

func alertsByID(ctx context.Context, on querier, ids []keyturn.ID) ([]keyturn.Alert, error) {
	return collect(ctx, on, scanAlert, `SELECT `+alertColumns+`, `+lastTold+`
		WHERE a.id IN (SELECT value FROM json_each(?1)) ORDER BY a.rank DESC, a.since, a.id`, jsonIDs(ids))
}

// Alerts implements api.AlertStore.
func (s *Store) Alerts(ctx context.Context, f keyturn.AlertFilter) ([]keyturn.Alert, string, error) {
	open, id, err := keyturn.AlertCursor(f.Page.After)
	if err != nil {
		return nil, "", err
	}
	rows, err := collect(ctx, s.read, scanAlert, `SELECT `+alertColumns+`, `+lastTold+`
		WHERE (a.open, a.id) < (?1, ?2) AND (?3 = '' OR a.state = ?3) AND (?4 = '' OR a.kind = ?4) AND (?5 = '' OR a.policy = ?5)
			AND (?6 = '' OR a.target = ?6)
		ORDER BY a.open DESC, a.id DESC LIMIT ?7`, open, id.String(), string(f.State), string(f.Kind), f.Policy, f.Target, limit(f.Page)+1)
	if err != nil {
		return nil, "", fmt.Errorf("listing alerts: %w", err)
	}
	rows, next := cut(rows, f.Page, keyturn.Alert.Cursor)
	return rows, next, nil
}

// OpenAlertCounts implements alerts.Store.
func (s *Store) OpenAlertCounts(ctx context.Context) ([]keyturn.AlertCount, error) {
	out, err := collect(ctx, s.read, func(rows *sql.Rows) (keyturn.AlertCount, error) {
		var c keyturn.AlertCount
		err := rows.Scan(&c.Kind, &c.Severity, &c.Open)
		return c, err
	}, `SELECT kind, severity, count(*) FROM alerts WHERE open GROUP BY kind, severity`)
	if err != nil {
		return nil, fmt.Errorf("counting open alerts: %w", err)
	}
	return out, nil
}
