package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// sweepLease is how long whoever changes alerts keeps the leave to evaluate them from then on.
const sweepLease = 30 * time.Second

// ClaimSweep makes owner the one who evaluates alerts.
func (s *Store) ClaimSweep(ctx context.Context, owner string, lease time.Duration) (keyturn.AlertSweep, error) {
	row, err := s.q.ClaimSweep(ctx, s.pool, db.ClaimSweepParams{Now: s.clock(), Owner: clean(owner), Lease: micros(lease)})
	if err != nil {
		return keyturn.AlertSweep{}, fmt.Errorf("claiming the evaluation of alerts: %w", notFound(err))
	}
	return keyturn.AlertSweep{Now: row.Now.UTC(), KeysAt: timeOf(row.KeysAt), FactsAt: timeOf(row.FactsAt), TurnedAt: timeOf(row.TurnedAt)}, nil
}

// NoteSweep notes how far the evaluation got; zero times stay what they were.
func (s *Store) NoteSweep(ctx context.Context, owner string, done keyturn.AlertSweep) error {
	err := s.q.NoteSweep(ctx, s.pool, db.NoteSweepParams{
		Owner: clean(owner), KeysAt: nonZero(done.KeysAt), FactsAt: nonZero(done.FactsAt), TurnedAt: nonZero(done.TurnedAt),
	})
	if err != nil {
		return fmt.Errorf("noting how far alerts were evaluated: %w", err)
	}
	return nil
}

// SweepPolicies returns the policies of targets that have units.
func (s *Store) SweepPolicies(ctx context.Context) ([]keyturn.Policy, error) {
	rows, err := s.q.PoliciesOfTargets(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("reading the policies of targets: %w", err)
	}
	out := make([]keyturn.Policy, len(rows))
	for i, row := range rows {
		p, err := policyOf(row.Name, row.Spec, row.Generation, row.Paused)
		if err != nil {
			return nil, err
		}
		out[i] = p.WithDefaults()
	}
	return out, nil
}

// OldKeys returns keys that are in use since before or longer, behind the cursor, the oldest first: all, or
// those whose unit has an open alert of one of the kinds.
func (s *Store) OldKeys(
	ctx context.Context, before time.Time, after keyturn.KeyCursor, alerted []keyturn.AlertKind, limit int,
) ([]keyturn.KeyedUnit, error) {
	rows, err := s.q.OldKeys(ctx, s.pool, db.OldKeysParams{
		Before: before, AfterSince: after.Since, AfterUnit: after.Unit, Alerted: namesOf(alerted), Max: int32Of(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("reading old keys: %w", err)
	}
	out := make([]keyturn.KeyedUnit, len(rows))
	for i, row := range rows {
		out[i] = keyedOf(row)
	}
	return out, nil
}

func keyedOf(r db.OldKeysRow) keyturn.KeyedUnit {
	return keyturn.KeyedUnit{
		Unit: keyturn.Unit{
			ID: r.ID, Target: r.Target, ProjectID: r.ProjectID, ProjectName: r.ProjectName, ClusterID: r.ClusterID, ClusterName: r.ClusterName,
			Component: keyturn.Component(r.Component), Name: r.Name, Rotatable: r.Rotatable, Reason: r.Reason,
		},
		Since: r.KeySince.UTC(), Exact: r.KeyExact,
	}
}

// BaselessKeyAlerts looks at a page of the open alerts about the age of keys, by subject: it returns those
// whose key is not older than the cutoff of its target, and the last subject of the page; "" after the last page.
func (s *Store) BaselessKeyAlerts(
	ctx context.Context, kind keyturn.AlertKind, cutoffs map[string]time.Time, after string, limit int,
) ([]keyturn.OpenAlert, string, error) {
	arg := db.BaselessKeyAlertsParams{Kind: string(kind), After: after, Max: int32Of(limit)}
	for target, at := range cutoffs {
		arg.Targets, arg.Cutoffs = append(arg.Targets, target), append(arg.Cutoffs, at)
	}
	rows, err := s.q.BaselessKeyAlerts(ctx, s.pool, arg)
	var baseless []db.OpenAlertsRow
	for _, r := range rows {
		if r.Baseless {
			baseless = append(baseless, db.OpenAlertsRow{
				ID: r.ID, Version: r.Version, Kind: r.Kind, Subject: r.Subject, Severity: r.Severity, Policy: r.Policy, Target: r.Target,
				Project: r.Project, Cluster: r.Cluster, Message: r.Message, State: r.State, GoneSince: r.GoneSince, AckedUntil: r.AckedUntil,
			})
		}
	}
	next := ""
	if len(rows) == limit {
		next = rows[limit-1].Subject
	}
	out, err := openAlerts("whose keys are not old", baseless, err)
	return out, next, err
}

// OpenAlertsOf returns the open alerts of the kinds about the subjects.
func (s *Store) OpenAlertsOf(ctx context.Context, kinds []keyturn.AlertKind, subjects []string) ([]keyturn.OpenAlert, error) {
	rows, err := s.q.OpenAlertsOf(ctx, s.pool, db.OpenAlertsOfParams{Subjects: subjects, Kinds: namesOf(kinds)})
	return openAlerts("of some subjects", rows, err)
}

// namesOf is never nil: an array of a statement has to be one.
func namesOf(kinds []keyturn.AlertKind) []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return names
}

// OpenAlerts returns the open alerts of a kind, by subject.
func (s *Store) OpenAlerts(ctx context.Context, kind keyturn.AlertKind, after string, limit int) ([]keyturn.OpenAlert, error) {
	rows, err := s.q.OpenAlerts(ctx, s.pool, db.OpenAlertsParams{Kind: string(kind), After: after, Max: int32Of(limit)})
	return openAlerts("of kind "+string(kind), rows, err)
}

// LapsedAcks returns alerts whose acknowledgement has ended.
func (s *Store) LapsedAcks(ctx context.Context, now time.Time, limit int) ([]keyturn.OpenAlert, error) {
	rows, err := s.q.LapsedAcks(ctx, s.pool, db.LapsedAcksParams{Now: now, Max: int32Of(limit)})
	return openAlerts("whose acknowledgement has ended", rows, err)
}

func openAlerts[R db.OpenAlertsRow | db.OpenAlertsOfRow | db.LapsedAcksRow](
	which string, rows []R, err error,
) ([]keyturn.OpenAlert, error) {
	if err != nil {
		return nil, fmt.Errorf("reading open alerts %s: %w", which, err)
	}
	out := make([]keyturn.OpenAlert, len(rows))
	for i, row := range rows {
		r := db.OpenAlertsRow(row)
		out[i] = keyturn.OpenAlert{
			ID: r.ID, Version: r.Version, State: keyturn.AlertState(r.State), GoneSince: utc(r.GoneSince), AckedUntil: utc(r.AckedUntil),
			Fact: keyturn.AlertFact{
				Kind: keyturn.AlertKind(r.Kind), Subject: r.Subject, Severity: keyturn.Severity(r.Severity), Policy: r.Policy,
				Target: r.Target, Project: r.Project, Cluster: r.Cluster, Message: r.Message,
			},
		}
	}
	return out, nil
}

// SaveAlerts makes changes, for the one who may. It answers ErrConflict when that is not owner any more.
func (s *Store) SaveAlerts(ctx context.Context, owner string, batch *keyturn.AlertBatch) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		now, err := s.holdSweep(ctx, tx, owner)
		if err != nil {
			return err
		}
		return s.saveAlerts(ctx, tx, now, batch)
	})
	if err != nil {
		return fmt.Errorf("saving %d changes of alerts: %w", batch.Size(), err)
	}
	return nil
}

// holdSweep keeps others from evaluating until the transaction ends, and for a lease from now on.
func (s *Store) holdSweep(ctx context.Context, tx pgx.Tx, owner string) (time.Time, error) {
	now, err := s.q.HoldSweep(ctx, tx, db.HoldSweepParams{Now: s.clock(), Owner: clean(owner), Lease: micros(sweepLease)})
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, fmt.Errorf("another process evaluates alerts: %w", keyturn.ErrConflict)
	}
	return now, err
}

func (s *Store) saveAlerts(ctx context.Context, tx pgx.Tx, now time.Time, batch *keyturn.AlertBatch) error {
	touched := map[keyturn.AlertGroup]bool{} // whether someone must be told at once
	if len(batch.Resolve) > 0 {
		arg := db.ResolveAlertsParams{Now: now}
		for _, a := range batch.Resolve {
			arg.Ids, arg.Versions = append(arg.Ids, a.ID), append(arg.Versions, a.Version)
		}
		groups, err := s.q.ResolveAlerts(ctx, tx, arg)
		if err != nil {
			return err
		}
		for _, g := range groups {
			touch(touched, g.Kind, g.GroupPolicy, g.Target, false)
		}
	}
	if err := s.updateAlerts(ctx, tx, now, batch.Update, touched); err != nil {
		return err
	}
	if err := s.beginAlerts(ctx, tx, now, batch.Open, touched); err != nil {
		return err
	}
	for gone, ids := range map[bool][]keyturn.ID{true: batch.Gone, false: batch.Back} {
		if len(ids) == 0 {
			continue
		}
		if err := s.q.MarkGone(ctx, tx, db.MarkGoneParams{Gone: gone, Now: now, Ids: ids}); err != nil {
			return err
		}
	}
	return s.touchGroups(ctx, tx, now, touched)
}

func touch(touched map[keyturn.AlertGroup]bool, kind, policy, target string, urgent bool) {
	g := keyturn.AlertGroup{Kind: keyturn.AlertKind(kind), Name: policy, Target: target}
	touched[g] = touched[g] || urgent
}

func (s *Store) updateAlerts(
	ctx context.Context, tx pgx.Tx, now time.Time, updates []keyturn.AlertUpdate, touched map[keyturn.AlertGroup]bool,
) error {
	if len(updates) == 0 {
		return nil
	}
	arg := db.UpdateAlertsParams{Now: now}
	for _, u := range updates {
		arg.Ids, arg.Versions = append(arg.Ids, u.ID), append(arg.Versions, u.Version)
		arg.States, arg.Severities = append(arg.States, string(u.State)), append(arg.Severities, string(u.Severity))
		arg.Messages, arg.Urgents = append(arg.Messages, clean(u.Message)), append(arg.Urgents, u.Urgent)
		arg.Noted = append(arg.Noted, u.Noted)
	}
	groups, err := s.q.UpdateAlerts(ctx, tx, arg)
	for _, g := range groups {
		touch(touched, g.Kind, g.GroupPolicy, g.Target, g.Urgent)
	}
	return err
}

func (s *Store) beginAlerts(
	ctx context.Context, tx pgx.Tx, now time.Time, facts []keyturn.AlertFact, touched map[keyturn.AlertGroup]bool,
) error {
	if len(facts) == 0 {
		return nil
	}
	arg := db.BeginAlertsParams{Now: now}
	for _, f := range facts {
		arg.Ids, arg.Kinds, arg.Subjects = append(arg.Ids, s.newID()), append(arg.Kinds, string(f.Kind)), append(arg.Subjects, clean(f.Subject))
		arg.Severities, arg.Policies = append(arg.Severities, string(f.Severity)), append(arg.Policies, f.Policy)
		arg.Targets, arg.Projects = append(arg.Targets, f.Target), append(arg.Projects, f.Project)
		arg.Clusters, arg.GroupPolicies = append(arg.Clusters, f.Cluster), append(arg.GroupPolicies, clean(f.Group().Name))
		arg.Messages = append(arg.Messages, clean(f.Message))
	}
	groups, err := s.q.BeginAlerts(ctx, tx, arg)
	for _, g := range groups {
		touch(touched, g.Kind, g.GroupPolicy, g.Target, false)
	}
	return err
}

func (s *Store) touchGroups(ctx context.Context, tx pgx.Tx, now time.Time, touched map[keyturn.AlertGroup]bool) error {
	if len(touched) == 0 {
		return nil
	}
	arg := db.TouchGroupsParams{Now: now, Wait: micros(keyturn.GroupWait)}
	for g, urgent := range touched {
		arg.Kinds, arg.Policies = append(arg.Kinds, string(g.Kind)), append(arg.Policies, g.Name)
		arg.Targets, arg.Urgents = append(arg.Targets, g.Target), append(arg.Urgents, urgent)
	}
	return s.q.TouchGroups(ctx, tx, arg)
}

// timeOf is the zero time for NULL.
func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// nonZero is NULL for the zero time.
func nonZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
