package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// Task returns one task.
func (s *Store) Task(ctx context.Context, id keyturn.ID) (keyturn.Task, error) {
	row, err := s.q.Task(ctx, s.pool, id)
	if err != nil {
		return keyturn.Task{}, fmt.Errorf("reading task %s: %w", id, notFound(err))
	}
	return taskOf(db.TasksOfRotationRow(row)), nil
}

// Clusters sums a rotation's tasks up by cluster, mixed ones first.
func (s *Store) Clusters(ctx context.Context, rotation keyturn.ID) ([]keyturn.ClusterCounts, error) {
	rows, err := s.q.Clusters(ctx, s.pool, rotation)
	if err != nil {
		return nil, fmt.Errorf("summing up the clusters of rotation %s: %w", rotation, err)
	}
	out := make([]keyturn.ClusterCounts, len(rows))
	for i, r := range rows {
		c := keyturn.Counts{Total: int(r.Total), Succeeded: int(r.Succeeded), Failed: int(r.Failed), Skipped: int(r.Skipped), Parked: int(r.Parked)}
		c.Pending = c.Total - c.Succeeded - c.Failed - c.Skipped - c.Parked
		out[i] = keyturn.ClusterCounts{ProjectID: r.ProjectID, ProjectName: r.ProjectName, Cluster: r.ClusterName, Mixed: r.Mixed, Counts: c}
		if r.Mixed {
			out[i].MixedSince = utc(&r.Since)
		}
	}
	return out, nil
}

// ResolveTask carries out what a person decided about a parked task.
func (s *Store) ResolveTask(ctx context.Context, d keyturn.Decision) (keyturn.Decided, error) {
	var retried keyturn.ID
	var rotation db.Rotation
	err := s.inTx(ctx, func(tx pgx.Tx) (err error) {
		rotation, retried, err = s.resolve(ctx, tx, d)
		if err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
	if err != nil {
		return keyturn.Decided{}, fmt.Errorf("resolving task %s: %w", d.Task, err)
	}
	var out keyturn.Decided
	if out.Task, err = s.Task(ctx, d.Task); err != nil {
		return out, err
	}
	if out.Rotation, err = s.Rotation(ctx, rotation.ID); err != nil || retried.IsZero() {
		return out, err
	}
	retry, err := s.Rotation(ctx, retried)
	out.Retry = &retry
	return out, err
}

func (s *Store) resolve(ctx context.Context, tx pgx.Tx, d keyturn.Decision) (rotation db.Rotation, retried keyturn.ID, err error) {
	if err := d.Check(); err != nil {
		return rotation, retried, err
	}
	if rotation, err = s.q.RotationOfTask(ctx, tx, d.Task); err != nil {
		return rotation, retried, notFound(err)
	}
	// The rotation comes first: whoever ends it locks it, too.
	if rotation, err = s.q.LockRotation(ctx, tx, rotation.ID); err != nil {
		return rotation, retried, err
	}
	task, err := s.q.LockParked(ctx, tx, d.Task)
	if err != nil {
		return rotation, retried, notFound(err)
	}
	if task.State != string(keyturn.TaskParked) || task.IntendedAt == nil || task.FinishedAt == nil {
		return rotation, retried, keyturn.Conflictf("it is %s: only what is parked can be resolved", task.State)
	}
	ended := keyturn.RotationState(rotation.State).Final()
	arg := db.ResolveTaskParams{ID: d.Task, State: string(d.As), Reason: clean(d.Text()), Now: s.clock(), Announcement: s.newID()}
	switch {
	case d.As == keyturn.TaskSucceeded:
		arg.KeyAfter = clean(d.Key)
		if err = s.recordResolved(ctx, tx, d.Task, rotation.ID, task, arg.KeyAfter); err == nil {
			err = s.q.NoteTurned(ctx, tx, db.NoteTurnedParams{Unit: task.UnitID, At: *task.FinishedAt}) // before it was parked
		}
	case d.As == keyturn.TaskPending && ended:
		arg.State = string(keyturn.TaskFailed)
		var of keyturn.Rotation
		if of, err = rotationOf(rotation); err == nil {
			only := keyturn.Selection{Projects: []string{task.ProjectID}, Units: []string{task.UnitID}, Keys: of.Only.KeysOf(task.UnitID)}
			retried, err = s.insertRetry(ctx, tx, rotation, d.By, d.Reason, only)
		}
	case d.As == keyturn.TaskPending && rotation.Halted:
		err = keyturn.Conflictf("its rotation is being stopped: try again when it has ended")
	}
	if err != nil {
		return rotation, retried, err
	}
	if err := s.logResolved(ctx, tx, d); err != nil {
		return rotation, retried, err
	}
	if err := s.q.ResolveTask(ctx, tx, arg); err != nil {
		return rotation, retried, err
	}
	if ended {
		_, err = s.endRotations(ctx, tx, []keyturn.ID{rotation.ID}, false)
	}
	return rotation, retried, err
}

// recordResolved adds to the history that a parked task turned the key, unless it is there already.
func (s *Store) recordResolved(ctx context.Context, tx pgx.Tx, id, rotation keyturn.ID, task db.LockParkedRow, key string) error {
	origin, err := s.q.KeyOriginSince(ctx, tx, db.KeyOriginSinceParams{Unit: task.UnitID, Key: key, Since: *task.IntendedAt})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	turnedSince := task.KeyID != task.KeyBefore && task.KeySince != nil && task.KeySince.After(*task.IntendedAt)
	switch {
	case key == task.KeyBefore:
		return keyturn.Conflictf("key %s was in use before, so nothing was turned: resolve it as retry or failed", key)
	case origin == string(keyturn.OriginRotated):
		return keyturn.Conflictf("another rotation made key %s: resolve it as failed", key)
	case origin != "": // seen since, and now we know who made it
		return nil
	case !task.Open.IsZero():
		return keyturn.Conflictf("another rotation works on the unit: try again when it is done with it")
	case turnedSince:
		return keyturn.Conflictf("the unit has had key %s since then, and key %s was never seen: resolve it as failed", task.KeyID, key)
	}
	return s.q.RecordResolved(ctx, tx, db.RecordResolvedParams{
		ID: s.newID(), Unit: task.UnitID, Key: key, Before: task.KeyID, Rotation: rotation, Task: id, IntendedAt: *task.IntendedAt,
	})
}

// ResumeRotation asks for a rotation of what an ended one, and its retries, left undone.
func (s *Store) ResumeRotation(ctx context.Context, id keyturn.ID, by, reason string) (keyturn.Resumed, error) {
	var out keyturn.Resumed
	var retry keyturn.ID
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		out = keyturn.Resumed{}
		row, err := s.q.LockRotation(ctx, tx, id)
		if err != nil {
			return notFound(err)
		}
		if state := keyturn.RotationState(row.State); !state.Final() {
			return keyturn.Conflictf("it is %s: only what has ended can be resumed", state)
		}
		only, again, err := s.missing(ctx, tx, row, &out)
		if err != nil {
			return err
		}
		if again != nil {
			retry = again.ID
			return nil
		}
		out.Created = true
		if retry, err = s.insertRetry(ctx, tx, row, by, reason, only); err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
	if err == nil {
		out.Rotation, err = s.Rotation(ctx, retry)
	}
	if err != nil {
		return keyturn.Resumed{}, fmt.Errorf("resuming rotation %s: %w", id, err)
	}
	return out, nil
}

// missing works out what a retry must turn, or which retry does so already.
func (s *Store) missing(ctx context.Context, tx pgx.Tx, row db.Rotation, out *keyturn.Resumed) (keyturn.Selection, *keyturn.Rotation, error) {
	of, err := rotationOf(row)
	if err != nil {
		return keyturn.Selection{}, nil, err
	}
	rows, err := s.q.OpenRetries(ctx, tx, row.ID)
	if err != nil {
		return keyturn.Selection{}, nil, err
	}
	retries, err := rotationsOf(rows)
	if err != nil {
		return keyturn.Selection{}, nil, err
	}
	open := make([]keyturn.OpenRetry, len(rows))
	for i, r := range retries {
		open[i] = keyturn.OpenRetry{Rotation: r, Planned: r.State == keyturn.RotationRunning && rows[i].PlanTurn == nil}
	}
	found, err := s.q.MissingUnits(ctx, tx, row.ID)
	if err != nil {
		return keyturn.Selection{}, nil, err
	}
	var units []keyturn.MissingUnit
	for _, u := range found {
		if u.UnitID != "" {
			units = append(units, keyturn.MissingUnit{Unit: u.UnitID, Project: u.ProjectID, Parked: u.Parked})
		}
	}
	only, parked, again, err := keyturn.RetrySelection(of, units, len(found) > 0, open)
	out.Parked = parked
	return only, again, err
}

func (s *Store) insertRetry(ctx context.Context, tx pgx.Tx, of db.Rotation, by, reason string, only keyturn.Selection) (keyturn.ID, error) {
	selection, err := json.Marshal(only)
	if err != nil {
		return keyturn.ID{}, fmt.Errorf("writing its selection: %w", err)
	}
	target, err := s.q.PolicyTarget(ctx, tx, of.Policy)
	if errors.Is(err, pgx.ErrNoRows) {
		return keyturn.ID{}, keyturn.Conflictf("its policy %s is gone", of.Policy)
	}
	if err != nil {
		return keyturn.ID{}, err
	}
	id := s.newID()
	return id, s.q.InsertRetry(ctx, tx, db.InsertRetryParams{
		ID: id, Announcement: s.newID(), Policy: of.Policy, Target: target, Reason: clean(reason), RequestedBy: clean(by),
		OnlyUnits: selection, Now: s.clock(), RetryOf: of.ID,
	})
}
