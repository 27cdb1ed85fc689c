package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// Evidence returns what holds now of a kind, limit at most. at bounds its time: what is newer than at
// is too young to count, but for key.drift, where what is older counts no more.
func (s *Store) Evidence(ctx context.Context, kind keyturn.AlertKind, at time.Time, limit int) ([]keyturn.AlertEvidence, error) {
	var out []keyturn.AlertEvidence
	var err error
	switch kind {
	case keyturn.AlertTaskParked:
		out, err = s.parkedTasks(ctx, limit)
	case keyturn.AlertTargetUnreachable:
		out, err = s.troubles(ctx, troubleUnreachable, at)
	case keyturn.AlertCredentialsRejected:
		out, err = s.troubles(ctx, troubleRejected, at)
	case keyturn.AlertKeyDrift:
		out, err = s.drift(ctx, at, limit)
	case keyturn.AlertRotationFailed, keyturn.AlertRotationPartial:
		out, err = s.badRotations(ctx, limit)
	case keyturn.AlertWebhookFailing:
		out, err = s.failingWebhooks(ctx, at, limit)
	default:
		return nil, fmt.Errorf("the database knows nothing of alerts %s", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", kind, err)
	}
	return out, nil
}

// The troubles of a target, as its row names them.
const (
	troubleUnreachable = "unreachable"
	troubleRejected    = "rejected"
)

func (s *Store) parkedTasks(ctx context.Context, limit int) ([]keyturn.AlertEvidence, error) {
	rows, err := s.q.ParkedTasks(ctx, s.pool, int32Of(limit))
	out := make([]keyturn.AlertEvidence, len(rows))
	for i, r := range rows {
		out[i] = keyturn.AlertEvidence{
			Subject: r.ID.String(), Policy: r.Policy, Target: r.Target, Since: r.Since.UTC(), Detail: r.Reason,
			Unit: keyturn.Unit{
				ID: r.UnitID, Target: r.Target, ProjectID: r.ProjectID, ProjectName: r.ProjectName, ClusterID: r.ClusterID,
				ClusterName: r.ClusterName, Component: keyturn.Component(r.Component), Name: r.Name,
			},
		}
	}
	return out, err
}

func (s *Store) troubles(ctx context.Context, trouble string, before time.Time) ([]keyturn.AlertEvidence, error) {
	rows, err := s.q.TargetTroubles(ctx, s.pool, db.TargetTroublesParams{Trouble: trouble, Before: before})
	out := make([]keyturn.AlertEvidence, len(rows))
	for i, r := range rows {
		out[i] = keyturn.AlertEvidence{Subject: r.Name, Target: r.Name, Since: r.Since.UTC(), Detail: r.TroubleWords}
	}
	return out, err
}

func (s *Store) drift(ctx context.Context, since time.Time, limit int) ([]keyturn.AlertEvidence, error) {
	rows, err := s.q.Drift(ctx, s.pool, db.DriftParams{Since: since, Max: int32Of(limit)})
	out := make([]keyturn.AlertEvidence, len(rows))
	for i, r := range rows {
		out[i] = keyturn.AlertEvidence{
			Subject: r.UnitID, Target: r.Target, Since: r.Since.UTC(),
			Unit: keyturn.Unit{
				ID: r.UnitID, Target: r.Target, ProjectID: r.ProjectID, ProjectName: r.ProjectName, ClusterID: r.ClusterID,
				ClusterName: r.ClusterName, Component: keyturn.Component(r.Component), Name: r.Name,
			},
		}
	}
	return out, err
}

func (s *Store) badRotations(ctx context.Context, limit int) ([]keyturn.AlertEvidence, error) {
	rows, err := s.q.BadRotations(ctx, s.pool, int32Of(limit))
	out := make([]keyturn.AlertEvidence, len(rows))
	for i, r := range rows {
		out[i] = keyturn.AlertEvidence{
			Subject: r.ID.String(), Policy: r.Policy, Target: r.Target, Since: r.Since.UTC(), Detail: r.Trouble,
			State: keyturn.RotationState(r.State), Count: int(r.Missing), Total: int(r.Total), Mixed: r.Mixed,
		}
	}
	return out, err
}

func (s *Store) failingWebhooks(ctx context.Context, before time.Time, limit int) ([]keyturn.AlertEvidence, error) {
	rows, err := s.q.FailingWebhooks(ctx, s.pool, db.FailingWebhooksParams{Before: before, Max: int32Of(limit)})
	out := make([]keyturn.AlertEvidence, len(rows))
	for i, r := range rows {
		out[i] = keyturn.AlertEvidence{
			Subject: r.Name, Since: r.Since.UTC(), Detail: r.LastError, Count: int(r.Lost), Failing: r.Failing, Gone: r.Gone,
		}
	}
	return out, err
}

// UnitsOf returns the units of a target in the order of their ids: of each only what selections look at.
func (s *Store) UnitsOf(ctx context.Context, target, after string, limit int) ([]keyturn.Unit, error) {
	rows, err := s.q.UnitsOfTarget(ctx, s.pool, db.UnitsOfTargetParams{Target: target, After: max(after, target+"."), Max: int32Of(limit)})
	if err != nil {
		return nil, fmt.Errorf("reading the units of target %s: %w", target, err)
	}
	out := make([]keyturn.Unit, len(rows))
	for i, r := range rows {
		out[i] = keyturn.Unit{
			ID: r.ID, Target: r.Target, ProjectID: r.ProjectID, ProjectName: r.ProjectName, ClusterID: r.ClusterID,
			ClusterName: r.ClusterName, Component: keyturn.Component(r.Component), Name: r.Name,
		}
	}
	return out, nil
}

// CountUnits counts the units of a target.
func (s *Store) CountUnits(ctx context.Context, target string) (int, error) {
	n, err := s.q.CountUnitsOfTarget(ctx, s.pool, target)
	if err != nil {
		return 0, fmt.Errorf("counting the units of target %s: %w", target, err)
	}
	return int(n), nil
}

// TargetTrouble notes that a target does not answer, or refuses its credentials, until TargetAnswered.
func (s *Store) TargetTrouble(ctx context.Context, target string, rejected bool, words string) error {
	trouble := troubleUnreachable
	if rejected {
		trouble = troubleRejected
	}
	if err := s.q.TroubleTarget(ctx, s.pool, db.TroubleTargetParams{Name: target, Trouble: trouble, Now: s.clock(), Words: clean(words)}); err != nil {
		return fmt.Errorf("noting the trouble of target %s: %w", target, err)
	}
	return nil
}

// TargetAnswered notes that a target answers.
func (s *Store) TargetAnswered(ctx context.Context, target string) error {
	if err := s.q.TargetAnswered(ctx, s.pool, target); err != nil {
		return fmt.Errorf("noting that target %s answers: %w", target, err)
	}
	return nil
}
