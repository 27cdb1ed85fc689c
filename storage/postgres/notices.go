package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// DueGroups returns groups of which somebody may have to be told, the longest due first.
func (s *Store) DueGroups(ctx context.Context, now time.Time, limit int) ([]keyturn.AlertGroupState, error) {
	rows, err := s.q.DueGroups(ctx, s.pool, db.DueGroupsParams{Now: now, Max: int32Of(limit)})
	if err != nil {
		return nil, fmt.Errorf("reading groups of alerts: %w", err)
	}
	out := make([]keyturn.AlertGroupState, len(rows))
	for i, r := range rows {
		out[i] = keyturn.AlertGroupState{
			Group:   keyturn.AlertGroup{Kind: keyturn.AlertKind(r.Kind), Name: r.Policy, Target: r.Target},
			Version: r.Version, Touched: r.Touched, Urgent: r.Urgent, ToldState: keyturn.AlertState(r.ToldState), ToldSeverity: keyturn.Severity(r.ToldSeverity),
			ToldAt: timeOf(r.ToldAt), ToldSince: timeOf(r.ToldSince),
		}
	}
	return out, nil
}

// SummarizeGroup sums up the open alerts of a group.
func (s *Store) SummarizeGroup(ctx context.Context, g keyturn.AlertGroup) (keyturn.AlertGroupSummary, error) {
	row, err := s.q.SummarizeGroup(ctx, s.pool, db.SummarizeGroupParams{Kind: string(g.Kind), Policy: g.Name, Target: g.Target})
	if err != nil {
		return keyturn.AlertGroupSummary{}, fmt.Errorf("summing up alerts %s: %w", g, err)
	}
	clusters, err := s.q.CountClusters(ctx, s.pool, db.CountClustersParams{Kind: string(g.Kind), Policy: g.Name, Target: g.Target})
	if err != nil {
		return keyturn.AlertGroupSummary{}, fmt.Errorf("counting the clusters of alerts %s: %w", g, err)
	}
	return keyturn.AlertGroupSummary{
		Open: int(row.Open), Firing: int(row.Firing), Critical: int(row.Critical), Warning: int(row.Warning),
		Worst: keyturn.SeverityOfRank(int(row.Worst)), Oldest: row.Oldest.UTC(), Newest: row.Newest.UTC(), Clusters: int(clusters), Silenced: int(row.Silenced),
	}, nil
}

// FiringAlerts returns the alerts of a group that fire, the worst and oldest first, behind after.
func (s *Store) FiringAlerts(ctx context.Context, g keyturn.AlertGroup, after *keyturn.Alert, limit int) ([]keyturn.Alert, error) {
	arg := db.GroupFiringParams{Kind: string(g.Kind), Policy: g.Name, Target: g.Target, AfterRank: math.MinInt16, Max: int32Of(limit)}
	if after != nil {
		arg.AfterRank, arg.AfterSince, arg.AfterID = -int32Of(after.Severity.Rank()), after.Since, after.ID
	}
	rows, err := s.q.GroupFiring(ctx, s.pool, arg)
	if err != nil {
		return nil, fmt.Errorf("listing alerts %s: %w", g, err)
	}
	out := make([]keyturn.Alert, len(rows))
	for i, row := range rows {
		out[i] = alertOf(row, row.ToldAt)
	}
	return out, nil
}

// MarkSilenced notes of which alerts nobody is told.
func (s *Store) MarkSilenced(ctx context.Context, ids []keyturn.ID, silenced bool) error {
	if len(ids) == 0 {
		return nil
	}
	if err := s.q.MarkSilenced(ctx, s.pool, db.MarkSilencedParams{Silenced: silenced, Ids: ids}); err != nil {
		return fmt.Errorf("noting silenced alerts: %w", err)
	}
	return nil
}

// SaveNotice writes down what came of looking at a group, with the announcement of its notice. When the
// group has changed meanwhile nothing is written: it is looked at again.
func (s *Store) SaveNotice(ctx context.Context, owner string, w keyturn.NoticeWrite) error {
	g := w.Seen.Group
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		now, err := s.holdSweep(ctx, tx, owner)
		if err != nil {
			return err
		}
		arg := db.TellGroupParams{
			Kind: string(g.Kind), Policy: g.Name, Target: g.Target, Version: w.Seen.Version, DueAt: w.DueAt,
			Told: w.Notice != nil, Urgent: w.Seen.Urgent && w.Notice == nil,
			ToldState: string(w.Seen.ToldState), ToldSeverity: string(w.Seen.ToldSeverity),
			ToldAt: nonZero(w.Seen.ToldAt), ToldSince: nonZero(w.Seen.ToldSince),
		}
		if n := w.Notice; n != nil {
			n.At = now.UTC()
			arg.ToldState, arg.ToldSeverity, arg.ToldAt, arg.ToldSince = string(n.State), string(n.Severity), &n.At, &n.Since
		}
		changed, err := s.q.TellGroup(ctx, tx, arg)
		if err != nil || changed == 0 || w.Notice == nil {
			return err
		}
		return s.insertNotice(ctx, tx, g, w.Notice)
	})
	if err != nil {
		return fmt.Errorf("saving a notice of %s: %w", g, err)
	}
	return nil
}

func (s *Store) insertNotice(ctx context.Context, tx pgx.Tx, g keyturn.AlertGroup, n *keyturn.Notice) error {
	if n.ID == (keyturn.ID{}) {
		n.ID = s.newID()
	}
	n.Message = clean(n.Message)
	body, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("writing the notice: %w", err)
	}
	return s.q.InsertNotice(ctx, tx, db.InsertNoticeParams{
		ID: n.ID, Kind: string(g.Kind), Policy: g.Name, Target: g.Target, State: string(n.State), At: n.At, Body: body, Announcement: s.newID(), NoticeGroup: g.String(),
	})
}

// Notice returns what was told.
func (s *Store) Notice(ctx context.Context, id keyturn.ID) (keyturn.Notice, error) {
	body, err := s.q.Notice(ctx, s.pool, id)
	if err != nil {
		return keyturn.Notice{}, fmt.Errorf("reading notice %s: %w", id, notFound(err))
	}
	var n keyturn.Notice
	if err := json.Unmarshal(body, &n); err != nil {
		return keyturn.Notice{}, fmt.Errorf("reading notice %s: %w", id, err)
	}
	return n, nil
}

// AckAlert notes that somebody cares for an alert, and tells so.
func (s *Store) AckAlert(ctx context.Context, id keyturn.ID, ack keyturn.Ack) (keyturn.Alert, error) {
	ack.By, ack.Note = clean(ack.By), clean(ack.Note)
	var out keyturn.Alert
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		row, err := s.q.LockAlert(ctx, tx, id)
		if err != nil {
			return notFound(err)
		}
		if !row.Open {
			return fmt.Errorf("it is resolved, there is nothing to acknowledge: %w", keyturn.ErrConflict)
		}
		g := keyturn.AlertGroup{Kind: keyturn.AlertKind(row.Kind), Name: row.GroupPolicy, Target: row.Target}
		acked, err := s.q.AckAlerts(ctx, tx, db.AckAlertsParams{
			Now: s.clock(), By: ack.By, Until: ack.Until, Note: ack.Note, ID: id, Whole: ack.Group,
			Kind: string(g.Kind), Policy: g.Name, Target: g.Target,
		})
		if err != nil {
			return err
		}
		told := make([]keyturn.ID, 0, keyturn.NoticeAlerts)
		for _, a := range acked[:min(len(acked), keyturn.NoticeAlerts)] {
			told = append(told, a.ID)
		}
		alerts, err := s.alertsByID(ctx, tx, told)
		if err != nil {
			return err
		}
		open, err := s.q.SummarizeGroup(ctx, tx, db.SummarizeGroupParams{Kind: string(g.Kind), Policy: g.Name, Target: g.Target})
		if err != nil {
			return err
		}
		n := keyturn.AckNotice(g, ack, alerts, len(acked), int(open.Open), acked[0].Now.UTC())
		if err := s.insertNotice(ctx, tx, g, &n); err != nil {
			return err
		}
		if err := s.writeAudit(ctx, tx); err != nil {
			return err
		}
		one, err := s.alertsByID(ctx, tx, []keyturn.ID{id})
		if err == nil {
			out = one[0]
		}
		return err
	})
	if err != nil {
		return keyturn.Alert{}, fmt.Errorf("acknowledging alert %s: %w", id, err)
	}
	return out, nil
}

// RaiseAlert begins the alert of a fact that somebody else tells of, or brings its open one up to date.
func (s *Store) RaiseAlert(ctx context.Context, fact keyturn.AlertFact) error {
	return s.changeExternal(ctx, fact.Kind, fact.Subject, func(open []keyturn.OpenAlert) keyturn.AlertBatch {
		return keyturn.Raise(fact, open)
	})
}

// ResolveAlert ends the open alert of a kind and subject, if there is one.
func (s *Store) ResolveAlert(ctx context.Context, kind keyturn.AlertKind, subject string) error {
	return s.changeExternal(ctx, kind, subject, func(open []keyturn.OpenAlert) keyturn.AlertBatch {
		return keyturn.AlertBatch{Resolve: open}
	})
}

func (s *Store) changeExternal(
	ctx context.Context, kind keyturn.AlertKind, subject string, change func([]keyturn.OpenAlert) keyturn.AlertBatch,
) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		now, err := s.q.Clock(ctx, tx, s.clock())
		if err != nil {
			return err
		}
		rows, err := s.q.OpenAlertsOf(ctx, tx, db.OpenAlertsOfParams{Kinds: []string{string(kind)}, Subjects: []string{clean(subject)}})
		open, err := openAlerts("of a subject", rows, err)
		if err != nil {
			return err
		}
		batch := change(open)
		return s.saveAlerts(ctx, tx, now, &batch)
	})
	if err != nil {
		return fmt.Errorf("changing the alert %s of %s: %w", kind, subject, err)
	}
	return nil
}

// Alert returns an alert with its history, the oldest change first.
func (s *Store) Alert(ctx context.Context, id keyturn.ID) (keyturn.Alert, []keyturn.AlertChange, error) {
	found, err := s.alertsByID(ctx, s.pool, []keyturn.ID{id})
	if err == nil && len(found) == 0 {
		err = keyturn.ErrNotFound
	}
	if err != nil {
		return keyturn.Alert{}, nil, fmt.Errorf("reading alert %s: %w", id, err)
	}
	rows, err := s.q.AlertChanges(ctx, s.pool, id)
	if err != nil {
		return keyturn.Alert{}, nil, fmt.Errorf("reading the history of alert %s: %w", id, err)
	}
	changes := make([]keyturn.AlertChange, len(rows))
	for i, r := range rows {
		changes[i] = keyturn.AlertChange{At: r.At.UTC(), State: keyturn.AlertState(r.State), Severity: keyturn.Severity(r.Severity), By: r.By, Note: r.Note}
	}
	return found[0], changes, nil
}

func (s *Store) alertsByID(ctx context.Context, on db.DBTX, ids []keyturn.ID) ([]keyturn.Alert, error) {
	rows, err := s.q.AlertsByID(ctx, on, ids)
	if err != nil {
		return nil, err
	}
	out := make([]keyturn.Alert, len(rows))
	for i, r := range rows {
		out[i] = alertOf(r.Alert, &r.LastToldAt)
	}
	return out, nil
}

// Alerts lists alerts: the open ones first, and of those and the others the newest first.
func (s *Store) Alerts(ctx context.Context, f keyturn.AlertFilter) ([]keyturn.Alert, string, error) {
	limit := limitOf(f.Page)
	arg := db.AlertsParams{
		State: string(f.State), Kind: string(f.Kind), Policy: f.Policy, Target: f.Target, Max: int32Of(limit + 1),
	}
	var err error
	if arg.BeforeOpen, arg.BeforeID, err = keyturn.AlertCursor(f.Page.After); err != nil {
		return nil, "", err
	}
	rows, err := s.q.Alerts(ctx, s.pool, arg)
	if err != nil {
		return nil, "", fmt.Errorf("listing alerts: %w", err)
	}
	out := make([]keyturn.Alert, len(rows))
	for i, r := range rows {
		out[i] = alertOf(r.Alert, &r.LastToldAt)
	}
	out, next := cut(out, limit, keyturn.Alert.Cursor)
	return out, next, nil
}

// OpenAlertCounts counts the open alerts.
func (s *Store) OpenAlertCounts(ctx context.Context) ([]keyturn.AlertCount, error) {
	rows, err := s.q.CountOpenAlerts(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("counting open alerts: %w", err)
	}
	out := make([]keyturn.AlertCount, len(rows))
	for i, r := range rows {
		out[i] = keyturn.AlertCount{Kind: keyturn.AlertKind(r.Kind), Severity: keyturn.Severity(r.Severity), Open: int(r.Open)}
	}
	return out, nil
}

func alertOf(r db.Alert, told *time.Time) keyturn.Alert {
	if told != nil && told.Unix() == 0 {
		told = nil
	}
	return keyturn.Alert{
		ID: r.ID, Kind: keyturn.AlertKind(r.Kind), Severity: keyturn.Severity(r.Severity), State: keyturn.AlertState(r.State),
		Subject: r.Subject, Message: r.Message, Since: r.Since.UTC(), LastNotifiedAt: utc(told), Policy: r.Policy, Target: r.Target,
		Cluster: r.Cluster, ResolvedAt: utc(r.ResolvedAt), AckedBy: r.AckedBy, AckedUntil: utc(r.AckedUntil), AckNote: r.AckNote, Silenced: r.Silenced,
	}
}
