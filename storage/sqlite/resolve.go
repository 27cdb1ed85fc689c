package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// Task implements api.Reader.
func (s *Store) Task(ctx context.Context, id keyturn.ID) (keyturn.Task, error) {
	row, err := s.q.Task(ctx, s.read, id.String())
	if err != nil {
		return keyturn.Task{}, fmt.Errorf("reading task %s: %w", id, found(err))
	}
	return toTask(row)
}

// Clusters implements api.Reader.
func (s *Store) Clusters(ctx context.Context, rotation keyturn.ID) ([]keyturn.ClusterCounts, error) {
	rows, err := s.q.Clusters(ctx, s.read, rotation.String())
	if err != nil {
		return nil, fmt.Errorf("summing up the clusters of rotation %s: %w", rotation, err)
	}
	out := make([]keyturn.ClusterCounts, len(rows))
	for i, r := range rows {
		c := keyturn.Counts{Total: int(r.Total), Succeeded: int(r.Succeeded), Failed: int(r.Failed), Skipped: int(r.Skipped), Parked: int(r.Parked)}
		c.Pending = c.Total - c.Succeeded - c.Failed - c.Skipped - c.Parked
		out[i] = keyturn.ClusterCounts{ProjectID: r.ProjectID, ProjectName: r.ProjectName, Cluster: r.ClusterName, Mixed: r.Mixed != 0, Counts: c}
		if out[i].Mixed {
			since := toTime(r.Since)
			out[i].MixedSince = &since
		}
	}
	return out, nil
}

// ResolveTask implements api.RotationControl.
func (s *Store) ResolveTask(ctx context.Context, d keyturn.Decision) (keyturn.Decided, error) {
	var out keyturn.Decided
	err := s.inTx(ctx, "resolving task "+d.Task.String(), func(ctx context.Context, tx *tx) error {
		if err := s.resolve(ctx, tx, d, &out); err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
	if err != nil {
		return keyturn.Decided{}, err
	}
	return out, nil
}

func (s *Store) resolve(ctx context.Context, tx *tx, d keyturn.Decision, out *keyturn.Decided) error {
	if err := d.Check(); err != nil {
		return err
	}
	task, err := s.q.Task(ctx, tx, d.Task.String())
	if err != nil {
		return found(err)
	}
	if task.State != string(keyturn.TaskParked) {
		return keyturn.Conflictf("it is %s: only what is parked can be resolved", task.State)
	}
	rotation, err := s.q.Rotation(ctx, tx, task.RotationID)
	if err != nil {
		return err
	}
	ended := keyturn.RotationState(rotation.State).Final()
	p := db.ResolveTaskParams{Seq: task.Seq, State: string(d.As), Reason: d.Text(), Now: tx.now}
	switch {
	case d.As == keyturn.TaskSucceeded:
		p.KeyAfter = d.Key
		if err = s.recordResolved(ctx, tx, task, d.Key); err == nil {
			err = s.q.NoteTurned(ctx, tx, db.NoteTurnedParams{UnitID: task.UnitID, At: task.FinishedAt.Int64}) // before it was parked
		}
	case d.As == keyturn.TaskPending && ended:
		p.State = string(keyturn.TaskFailed)
		var of keyturn.Rotation
		if of, err = toRotation(rotation); err == nil {
			only := keyturn.Selection{Projects: []string{task.ProjectID}, Units: []string{task.UnitID}, Keys: of.Only.KeysOf(task.UnitID)}
			out.Retry = new(keyturn.Rotation)
			*out.Retry, err = s.insertRetry(ctx, tx, rotation, d.By, d.Reason, only)
		}
	case d.As == keyturn.TaskPending && rotation.Halted != 0:
		err = keyturn.Conflictf("its rotation is being stopped: try again when it has ended")
	}
	if err != nil {
		return err
	}
	if p.State == string(keyturn.TaskPending) {
		p.Back = text(p.State)
	} else {
		p.Resolution, p.FinishedAt = string(keyturn.ResolutionByPerson), at(tx.now)
		if err := s.announceTasks(ctx, tx, []keyturn.ID{d.Task}); err != nil {
			return err
		}
	}
	if err := s.q.ResolveTask(ctx, tx, p); err != nil {
		return err
	}
	if err := s.logTask(ctx, tx, task.ID, task.Attempts, keyturn.TaskResolved, d.LogText()); err != nil {
		return err
	}
	return s.resolved(ctx, tx, task, ended, out)
}

// resolved corrects the task's rotation if it has ended, and reads both.
func (s *Store) resolved(ctx context.Context, tx *tx, task db.Task, ended bool, out *keyturn.Decided) error {
	if ended {
		if _, err := s.endRotation(ctx, tx, task.RotationID); err != nil {
			return err
		}
	}
	row, err := s.q.Rotation(ctx, tx, task.RotationID)
	if err != nil {
		return err
	}
	if out.Rotation, err = s.withCounts(ctx, tx, row); err != nil {
		return err
	}
	if task, err = s.q.Task(ctx, tx, task.ID); err != nil {
		return err
	}
	out.Task, err = toTask(task)
	return err
}

// recordResolved adds to the history that a parked task turned the key, unless it is there already.
// Nobody knows when it was turned: at the earliest with the intent, after the last key that is known.
func (s *Store) recordResolved(ctx context.Context, tx *tx, task db.Task, key string) error {
	origin, err := s.q.KeyOriginSince(ctx, tx, db.KeyOriginSinceParams{UnitID: task.UnitID, KeyID: key, Since: task.IntendedAt.Int64})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	unit, err := s.q.UnitKey(ctx, tx, task.UnitID)
	if err != nil {
		return err
	}
	open, err := s.q.UnitIntended(ctx, tx, task.UnitID)
	if err != nil {
		return err
	}
	switch {
	case key == task.KeyBefore:
		return keyturn.Conflictf("key %s was in use before, so nothing was turned: resolve it as retry or failed", key)
	case origin == string(keyturn.OriginRotated):
		return keyturn.Conflictf("another rotation made key %s: resolve it as failed", key)
	case origin != "": // seen since, and now we know who made it
		return nil
	case open:
		return keyturn.Conflictf("another rotation works on the unit: try again when it is done with it")
	case unit.KeyID != task.KeyBefore && unit.KeySince.Int64 > task.IntendedAt.Int64:
		return keyturn.Conflictf("the unit has had key %s since then, and key %s was never seen: resolve it as failed", unit.KeyID, key)
	}
	from := max(task.IntendedAt.Int64, unit.KeySince.Int64)
	err = s.q.InsertKeyRecord(ctx, tx, db.InsertKeyRecordParams{
		ID: s.ids.next(tx.now).String(), UnitID: task.UnitID, KeyID: key, PreviousKeyID: unit.KeyID, UsedFrom: from,
		Origin: string(keyturn.OriginRotated), RotationID: text(task.RotationID), TaskID: text(task.ID),
	})
	if err != nil {
		return fmt.Errorf("adding to the history: %w", err)
	}
	return s.q.SetUnitKey(ctx, tx, db.SetUnitKeyParams{UnitID: task.UnitID, KeyID: key, KeySince: at(from)})
}

// ResumeRotation implements api.RotationControl.
func (s *Store) ResumeRotation(ctx context.Context, id keyturn.ID, by, reason string) (keyturn.Resumed, error) {
	var out keyturn.Resumed
	err := s.inTx(ctx, "resuming rotation "+id.String(), func(ctx context.Context, tx *tx) error {
		row, err := s.q.Rotation(ctx, tx, id.String())
		if err != nil {
			return found(err)
		}
		if state := keyturn.RotationState(row.State); !state.Final() {
			return keyturn.Conflictf("it is %s: only what has ended can be resumed", state)
		}
		only, parked, again, err := s.missing(ctx, tx, row)
		if err != nil {
			return err
		}
		out.Parked = parked
		if again != nil {
			out.Rotation = *again
			return nil
		}
		out.Created = true
		if out.Rotation, err = s.insertRetry(ctx, tx, row, by, reason, only); err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
	if err != nil {
		return keyturn.Resumed{}, err
	}
	return out, nil
}

// missing works out what a retry must turn, or which retry does so already.
func (s *Store) missing(ctx context.Context, tx *tx, row db.Rotation) (only keyturn.Selection, parked int, again *keyturn.Rotation, err error) {
	of, err := toRotation(row)
	if err != nil {
		return only, 0, nil, err
	}
	rows, err := s.q.OpenRetries(ctx, tx, text(row.ID))
	if err != nil {
		return only, 0, nil, err
	}
	open := make([]keyturn.OpenRetry, len(rows))
	for i, r := range rows {
		if open[i].Rotation, err = s.withCounts(ctx, tx, r); err != nil {
			return only, 0, nil, err
		}
		open[i].Planned = open[i].State == keyturn.RotationRunning && !r.PlanTurn.Valid
	}
	planned, err := s.q.FamilyHasTasks(ctx, tx, row.ID)
	if err != nil {
		return only, 0, nil, err
	}
	missing, err := s.q.MissingUnits(ctx, tx, db.MissingUnitsParams{RotationID: row.ID, Since: row.RequestedAt})
	if err != nil {
		return only, 0, nil, err
	}
	units := make([]keyturn.MissingUnit, len(missing))
	for i, u := range missing {
		units[i] = keyturn.MissingUnit{Unit: u.UnitID, Project: u.ProjectID, Parked: u.Parked != 0}
	}
	return keyturn.RetrySelection(of, units, planned, open)
}

func (s *Store) insertRetry(ctx context.Context, tx *tx, of db.Rotation, by, reason string, only keyturn.Selection) (keyturn.Rotation, error) {
	policy, err := s.policy(ctx, tx, of.Policy)
	if errors.Is(err, keyturn.ErrNotFound) {
		return keyturn.Rotation{}, keyturn.Conflictf("its policy %s is gone", of.Policy)
	}
	if err != nil {
		return keyturn.Rotation{}, err
	}
	selection, err := json.Marshal(only)
	if err != nil {
		return keyturn.Rotation{}, fmt.Errorf("writing what narrows it: %w", err)
	}
	id := s.ids.next(tx.now)
	err = s.q.InsertRetry(ctx, tx, db.InsertRetryParams{
		ID: id.String(), Policy: of.Policy, Target: policy.Target, Reason: reason, RequestedBy: by, OnlyUnits: string(selection),
		RequestedAt: tx.now, RetryOf: text(of.ID),
	})
	if err != nil {
		return keyturn.Rotation{}, fmt.Errorf("inserting the retry: %w", err)
	}
	if err := s.announce(ctx, tx, "rotation.requested", id); err != nil {
		return keyturn.Rotation{}, err
	}
	row, err := s.q.Rotation(ctx, tx, id.String())
	if err != nil {
		return keyturn.Rotation{}, err
	}
	return toRotation(row)
}
