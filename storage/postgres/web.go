package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// CreateSession keeps a session until maxAge from now by the database's clock. A hash that exists is ErrConflict.
func (s *Store) CreateSession(ctx context.Context, hash [32]byte, session keyturn.Session, maxAge time.Duration) error {
	if err := s.q.DropSessions(ctx, s.pool, s.clock()); err != nil {
		return fmt.Errorf("dropping sessions that have ended: %w", err)
	}
	err := s.audited(ctx, func(on db.DBTX) (bool, error) {
		n, err := s.q.CreateSession(ctx, on, db.CreateSessionParams{
			Hash: hash[:], TokenID: session.Token, Name: clean(session.Name), Role: string(session.Role), Remote: clean(session.Remote),
			MaxAge: maxAge.Microseconds(), Now: s.clock(),
		})
		if err == nil && n == 0 {
			err = keyturn.ErrConflict
		}
		return true, err
	})
	if err != nil {
		return fmt.Errorf("beginning a session of %s: %w", session.Name, err)
	}
	return nil
}

// SessionByHash answers ErrNotFound for a session that is unknown, has ended, was not used for idle, or whose token has ended.
func (s *Store) SessionByHash(ctx context.Context, hash [32]byte, idle time.Duration) (keyturn.Session, error) {
	r, err := s.q.SessionByHash(ctx, s.pool, db.SessionByHashParams{Hash: hash[:], Idle: idle.Microseconds(), Now: s.clock()})
	if err != nil {
		return keyturn.Session{}, fmt.Errorf("looking up a session: %w", notFound(err))
	}
	return keyturn.Session{
		Token: r.TokenID, Name: r.Name, Role: keyturn.Role(r.Role), Remote: r.Remote,
		CreatedAt: r.CreatedAt.UTC(), SeenAt: r.SeenAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(),
	}, nil
}

// TouchSession notes that a session is used.
func (s *Store) TouchSession(ctx context.Context, hash [32]byte) error {
	if err := s.q.TouchSession(ctx, s.pool, db.TouchSessionParams{Now: s.clock(), Hash: hash[:]}); err != nil {
		return fmt.Errorf("noting that a session is used: %w", err)
	}
	return nil
}

// EndSession ends a session. Ending one that is not there changes nothing.
func (s *Store) EndSession(ctx context.Context, hash [32]byte) error {
	err := s.audited(ctx, func(on db.DBTX) (bool, error) {
		n, err := s.q.EndSession(ctx, on, hash[:])
		return n > 0, err
	})
	if err != nil {
		return fmt.Errorf("ending a session: %w", err)
	}
	return nil
}

// Overview sums up everything that there is.
func (s *Store) Overview(ctx context.Context) (keyturn.Overview, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return keyturn.Overview{}, err
	}
	o := keyturn.Overview{At: now}
	for _, read := range []func(context.Context, *keyturn.Overview) error{s.overviewTargets, s.overviewOldest, s.overviewWork} {
		if err := read(ctx, &o); err != nil {
			return keyturn.Overview{}, fmt.Errorf("reading the overview: %w", err)
		}
	}
	return o, nil
}

func (s *Store) overviewTargets(ctx context.Context, o *keyturn.Overview) error {
	rows, err := s.q.OverviewTargets(ctx, s.pool, db.OverviewTargetsParams{
		Warn: o.At.Add(-keyturn.KeyWarnAge), Critical: o.At.Add(-keyturn.KeyCriticalAge),
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		t := keyturn.TargetOverview{
			Name: r.Name, Units: int(r.Units), Unknown: int(r.Unknown), Fixed: int(r.Fixed), Warn: int(r.Warn), Critical: int(r.Critical),
			Oldest: utc(r.Oldest), Trouble: r.Trouble, TroubleSince: utc(r.TroubleSince), TroubleWords: r.TroubleWords,
		}
		if r.HoldUntil != nil && r.HoldUntil.After(o.At) {
			t.HeldUntil, t.HoldReason = utc(r.HoldUntil), r.HoldReason
		}
		o.Targets = append(o.Targets, t)
	}
	return nil
}

func (s *Store) overviewOldest(ctx context.Context, o *keyturn.Overview) error {
	row, err := s.q.OldestUnit(ctx, s.pool)
	if err = notFound(err); errors.Is(err, keyturn.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	unit := unitOf(db.UnitsRow(row))
	o.Oldest = &unit
	return nil
}

func (s *Store) overviewWork(ctx context.Context, o *keyturn.Overview) error {
	alerts, err := s.q.OpenAlertCounts(ctx, s.pool)
	if err != nil {
		return err
	}
	o.Critical, o.Warning, o.Info, o.Acknowledged = int(alerts.Critical), int(alerts.Warning), int(alerts.Info), int(alerts.Acknowledged)
	parked, err := s.q.ParkedCount(ctx, s.pool)
	if err != nil {
		return err
	}
	running, err := s.q.OpenRotationCount(ctx, s.pool)
	if err != nil {
		return err
	}
	o.Parked, o.Running = int(parked), int(running)
	next, err := s.q.NextUp(ctx, s.pool)
	if err == nil && len(next) > 0 {
		o.Next = &keyturn.NextUp{Policy: next[0].Name, At: next[0].NextAt.UTC()}
	}
	return err
}

// RotationCells returns all tasks of a rotation with the places of their units, by project and cluster.
func (s *Store) RotationCells(ctx context.Context, rotation keyturn.ID) ([]keyturn.Cell, error) {
	rows, err := s.q.RotationCells(ctx, s.pool, rotation)
	if err != nil {
		return nil, fmt.Errorf("reading the cells of rotation %s: %w", rotation, err)
	}
	out := make([]keyturn.Cell, len(rows))
	for i, r := range rows {
		out[i] = cellOf(db.RotationChangesRow{
			ID: r.ID, UnitID: r.UnitID, State: r.State, Resolution: r.Resolution, Reason: r.Reason, Attempts: r.Attempts,
			StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		})
		out[i].ProjectID, out[i].ProjectName, out[i].ClusterName = r.ProjectID, r.ProjectName, r.ClusterName
		out[i].Component, out[i].Name = keyturn.Component(r.Component), r.Name
	}
	return out, nil
}

// RotationChanges returns those of a rotation's tasks that were begun or ended since the time, without the places of their units.
func (s *Store) RotationChanges(ctx context.Context, rotation keyturn.ID, since time.Time) ([]keyturn.Cell, error) {
	rows, err := s.q.RotationChanges(ctx, s.pool, db.RotationChangesParams{Rotation: rotation, Since: since})
	if err != nil {
		return nil, fmt.Errorf("reading what became of rotation %s: %w", rotation, err)
	}
	out := make([]keyturn.Cell, len(rows))
	for i, r := range rows {
		out[i] = cellOf(r)
	}
	return out, nil
}

func cellOf(r db.RotationChangesRow) keyturn.Cell {
	return keyturn.Cell{
		Task: r.ID, Unit: r.UnitID, State: keyturn.TaskState(r.State), Resolution: keyturn.Resolution(r.Resolution), Reason: r.Reason,
		Attempts: int(r.Attempts), StartedAt: utc(r.StartedAt), FinishedAt: utc(r.FinishedAt),
	}
}
