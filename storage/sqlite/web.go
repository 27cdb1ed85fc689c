package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// CreateSession implements web.SessionStore.
func (s *Store) CreateSession(ctx context.Context, hash [32]byte, session keyturn.Session, maxAge time.Duration) error {
	return s.inTx(ctx, "beginning a session", func(ctx context.Context, tx *tx) error {
		if err := s.q.DropSessions(ctx, tx, tx.now); err != nil {
			return fmt.Errorf("dropping sessions that have ended: %w", err)
		}
		arg := db.CreateSessionParams{
			Hash: hash[:], Name: session.Name, Role: string(session.Role), Remote: session.Remote,
			CreatedAt: tx.now, ExpiresAt: tx.now + maxAge.Milliseconds(),
		}
		if !session.Token.IsZero() {
			arg.TokenID = text(session.Token.String())
		}
		n, err := s.q.CreateSession(ctx, tx, arg)
		if err == nil && n == 0 {
			return keyturn.ErrConflict
		}
		if err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
}

// SessionByHash implements web.SessionStore.
func (s *Store) SessionByHash(ctx context.Context, hash [32]byte, idle time.Duration) (keyturn.Session, error) {
	now := s.nowMS()
	r, err := s.q.SessionByHash(ctx, s.read, db.SessionByHashParams{Hash: hash[:], Now: now, SeenAfter: now - idle.Milliseconds()})
	if err != nil {
		return keyturn.Session{}, fmt.Errorf("looking up a session: %w", found(err))
	}
	session := keyturn.Session{
		Name: r.Name, Role: keyturn.Role(r.Role), Remote: r.Remote,
		CreatedAt: toTime(r.CreatedAt), SeenAt: toTime(r.SeenAt), ExpiresAt: toTime(r.ExpiresAt),
	}
	return session, session.Token.UnmarshalText([]byte(r.TokenID.String))
}

// TouchSession implements web.SessionStore.
func (s *Store) TouchSession(ctx context.Context, hash [32]byte) error {
	return s.inTx(ctx, "noting that a session is used", func(ctx context.Context, tx *tx) error {
		return s.q.TouchSession(ctx, tx, db.TouchSessionParams{Now: tx.now, Hash: hash[:]})
	})
}

// EndSession implements web.SessionStore.
func (s *Store) EndSession(ctx context.Context, hash [32]byte) error {
	return s.inTx(ctx, "ending a session", func(ctx context.Context, tx *tx) error {
		n, err := s.q.EndSession(ctx, tx, hash[:])
		if err != nil || n == 0 {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
}

// Overview implements web.Store.
func (s *Store) Overview(ctx context.Context) (keyturn.Overview, error) {
	o := keyturn.Overview{At: toTime(s.nowMS())}
	for _, read := range []func(context.Context, *keyturn.Overview) error{s.overviewTargets, s.overviewOldest, s.overviewAlerts, s.overviewWork} {
		if err := read(ctx, &o); err != nil {
			return keyturn.Overview{}, fmt.Errorf("reading the overview: %w", err)
		}
	}
	return o, nil
}

func (s *Store) overviewTargets(ctx context.Context, o *keyturn.Overview) error {
	targets, err := s.q.OverviewTargets(ctx, s.read)
	if err != nil {
		return err
	}
	sums, err := s.q.OverviewSums(ctx, s.read, db.OverviewSumsParams{
		Warn: at(o.At.Add(-keyturn.KeyWarnAge).UnixMilli()), Critical: at(o.At.Add(-keyturn.KeyCriticalAge).UnixMilli()),
	})
	if err != nil {
		return err
	}
	of := make(map[string]int, len(targets))
	for i, r := range targets {
		t := keyturn.TargetOverview{Name: r.Name, Trouble: r.Trouble, TroubleSince: toTimePtr(r.TroubleSince), TroubleWords: r.TroubleWords}
		if until := toTimePtr(r.HoldUntil); until != nil && until.After(o.At) {
			t.HeldUntil, t.HoldReason = until, r.HoldReason
		}
		o.Targets, of[r.Name] = append(o.Targets, t), i
	}
	for _, r := range sums {
		i, ok := of[r.Target]
		if !ok { // its resource was deleted
			i, o.Targets = len(o.Targets), append(o.Targets, keyturn.TargetOverview{Name: r.Target})
		}
		t := &o.Targets[i]
		t.Units, t.Unknown, t.Fixed, t.Warn, t.Critical = int(r.Units), int(r.Unknown), int(r.Fixed), int(r.Warn), int(r.Critical)
		if r.Oldest > 0 {
			oldest := toTime(r.Oldest)
			t.Oldest = &oldest
		}
	}
	return nil
}

func (s *Store) overviewOldest(ctx context.Context, o *keyturn.Overview) error {
	row, err := s.q.OldestUnit(ctx, s.read)
	if err = found(err); errors.Is(err, keyturn.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	unit := toUnit(row.Unit, db.UnitKey{KeyID: row.KeyID, KeySince: row.KeySince, KeyExact: row.KeyExact})
	o.Oldest = &unit
	return nil
}

func (s *Store) overviewAlerts(ctx context.Context, o *keyturn.Overview) error {
	rows, err := s.q.OpenAlertCounts(ctx, s.read)
	if err != nil {
		return err
	}
	for _, r := range rows {
		n := int(r.Alerts)
		switch {
		case r.State == string(keyturn.AlertAcknowledged):
			o.Acknowledged += n
		case r.Severity == string(keyturn.SeverityCritical):
			o.Critical += n
		case r.Severity == string(keyturn.SeverityWarning):
			o.Warning += n
		default:
			o.Info += n
		}
	}
	return nil
}

func (s *Store) overviewWork(ctx context.Context, o *keyturn.Overview) error {
	parked, err := s.q.ParkedCount(ctx, s.read)
	if err != nil {
		return err
	}
	running, err := s.q.OpenRotationCount(ctx, s.read)
	if err != nil {
		return err
	}
	o.Parked, o.Running = int(parked), int(running)
	next, err := s.q.NextUp(ctx, s.read)
	if err == nil && len(next) > 0 {
		o.Next = &keyturn.NextUp{Policy: next[0].Name, At: toTime(next[0].NextAt.Int64)}
	}
	return err
}

// RotationCells implements web.LiveStore.
func (s *Store) RotationCells(ctx context.Context, rotation keyturn.ID) ([]keyturn.Cell, error) {
	rows, err := s.q.RotationCells(ctx, s.read, rotation.String())
	if err != nil {
		return nil, fmt.Errorf("reading the cells of rotation %s: %w", rotation, err)
	}
	out := make([]keyturn.Cell, len(rows))
	for i, r := range rows {
		out[i], err = toCell(db.RotationChangesRow{
			ID: r.ID, UnitID: r.UnitID, State: r.State, Resolution: r.Resolution, Reason: r.Reason, Attempts: r.Attempts,
			StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		})
		if err != nil {
			return nil, fmt.Errorf("reading the cells of rotation %s: %w", rotation, err)
		}
		out[i].ProjectID, out[i].ProjectName, out[i].ClusterName = r.ProjectID, r.ProjectName, r.ClusterName
		out[i].Component, out[i].Name = keyturn.Component(r.Component), r.Name
	}
	return out, nil
}

// RotationChanges implements web.LiveStore.
func (s *Store) RotationChanges(ctx context.Context, rotation keyturn.ID, since time.Time) ([]keyturn.Cell, error) {
	rows, err := s.q.RotationChanges(ctx, s.read, db.RotationChangesParams{Rotation: rotation.String(), Since: at(since.UnixMilli())})
	if err != nil {
		return nil, fmt.Errorf("reading what became of rotation %s: %w", rotation, err)
	}
	out := make([]keyturn.Cell, len(rows))
	for i, r := range rows {
		if out[i], err = toCell(r); err != nil {
			return nil, fmt.Errorf("reading what became of rotation %s: %w", rotation, err)
		}
	}
	return out, nil
}

func toCell(r db.RotationChangesRow) (keyturn.Cell, error) {
	c := keyturn.Cell{
		Unit: r.UnitID, State: keyturn.TaskState(r.State), Resolution: keyturn.Resolution(r.Resolution), Reason: r.Reason,
		Attempts: int(r.Attempts), StartedAt: toTimePtr(r.StartedAt), FinishedAt: toTimePtr(r.FinishedAt),
	}
	return c, c.Task.Scan(r.ID)
}
