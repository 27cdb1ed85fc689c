package sqlite

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// Finish implements worker.TaskStore.
func (s *Store) Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error) {
	if len(results) == 0 {
		return keyturn.Finished{}, nil
	}
	ids := make([]keyturn.ID, len(results))
	for i := range results {
		ids[i] = results[i].Task
	}
	out := keyturn.Finished{Taken: make([]bool, len(results))}
	err := s.inTx(ctx, "recording results", func(ctx context.Context, tx *tx) error {
		tasks, err := tx.finishing(ctx, ids)
		if err != nil {
			return err
		}
		told, whole := &keyturn.Told{}, true
		for i, result := range results {
			task := tasks[result.Task.String()]
			if !fits(task, result) {
				continue
			}
			if !possible(result) {
				s.log.Error("impossible result is refused", zap.Stringer("task", result.Task), zap.String("from", string(result.From)),
					zap.String("state", string(result.State)), zap.String("reason", result.Reason))
				continue
			}
			if err := s.finish(ctx, tx, task, result, told); err != nil {
				return fmt.Errorf("task %s: %w", result.Task, err)
			}
			task.state, out.Taken[i] = result.State, true
			whole = whole && (!result.State.Final() || result.Whole(int(task.attempts)))
		}
		if err := s.tell(ctx, tx, told); err != nil {
			return err
		}
		if whole {
			out.Told = *told
		}
		return nil
	})
	if err != nil {
		return keyturn.Finished{}, err
	}
	return out, nil
}

// tell announces the tasks that ended. What takes more than one announcement is read again by whoever tells it.
func (s *Store) tell(ctx context.Context, tx *tx, told *keyturn.Told) (err error) {
	ids := make([]keyturn.ID, len(told.Tasks))
	for i := range told.Tasks {
		ids[i] = told.Tasks[i].ID
	}
	if len(ids) == 0 || len(ids) > maxAnnounced {
		*told = keyturn.Told{}
		return s.announceTasks(ctx, tx, ids)
	}
	told.ID, err = s.announceSome(ctx, tx, "tasks", ids)
	return err
}

// fits reports whether the task is where the result takes it from.
func fits(task *finishing, r keyturn.TaskResult) bool {
	return task != nil && task.state == r.From && (r.From != keyturn.TaskIntended || task.epoch == r.Epoch)
}

// possible reports whether the states' table allows the result and it has what the schema demands:
// one that does not must not take the rest of the batch with it.
func possible(r keyturn.TaskResult) bool {
	switch {
	case r.From.Final() || !r.From.CanBecome(r.State):
		return false
	case r.State == keyturn.TaskSucceeded && (r.KeyAfter == "" || r.Resolution == ""):
		return false
	case r.State.Final() && r.State != keyturn.TaskSucceeded && r.Reason == "":
		return false
	}
	switch r.Resolution {
	case "", keyturn.ResolutionConfirmed, keyturn.ResolutionInferred, keyturn.ResolutionByPerson:
		return true
	default:
		return false
	}
}

// finish moves a task on, and adds what there is to tell of it if it ends.
func (s *Store) finish(ctx context.Context, tx *tx, task *finishing, r keyturn.TaskResult, told *keyturn.Told) error {
	if r.From == keyturn.TaskIntended && r.State != keyturn.TaskIntended {
		if err := s.recordKeys(ctx, tx, task, r, told); err != nil {
			return err
		}
	}
	if err := s.logResult(ctx, tx, task, r); err != nil {
		return err
	}
	switch r.State {
	case keyturn.TaskPending:
		return one(s.q.PutBackPending(ctx, tx, db.PutBackPendingParams{
			Seq: task.seq, Was: string(r.From), Reason: r.Reason, NotBefore: tx.now + r.After.Milliseconds(), Failed: number(r.Failed),
		}))
	case keyturn.TaskIntended:
		return s.putBackIntended(ctx, tx, task, r)
	}
	p := db.EndTaskParams{
		Seq: task.seq, Was: string(r.From), State: string(r.State), Resolution: string(r.Resolution), Reason: r.Reason, Now: at(tx.now),
	}
	if r.State == keyturn.TaskSucceeded {
		p.KeyAfter = r.KeyAfter
	}
	told.Tasks = append(told.Tasks, keyturn.Task{
		ID: r.Task, Rotation: task.rotationID, Unit: task.unit, State: r.State, Resolution: r.Resolution, Reason: r.Reason,
		Attempts: int(task.attempts), KeyBefore: task.keyBefore, KeyAfter: p.KeyAfter,
		StartedAt: toTimePtr(task.startedAt), FinishedAt: toTimePtr(p.Now),
	})
	return one(s.q.EndTask(ctx, tx, p))
}

func (s *Store) putBackIntended(ctx context.Context, tx *tx, task *finishing, r keyturn.TaskResult) error {
	p := db.PutBackIntendedParams{Seq: task.seq, Reason: r.Reason, NotBefore: tx.now + r.After.Milliseconds(), Failed: number(r.Failed)}
	if r.Answered {
		p.AnsweredAt = at(tx.now)
	}
	if r.Unsent {
		p.Unsent = at(tx.now - r.UnsentFor.Milliseconds())
	}
	return one(s.q.PutBackIntended(ctx, tx, p))
}

// recordKeys writes down what an intent that is over tells about the keys of its unit: the key
// that it found in use, unless that is known already, and the new one.
func (s *Store) recordKeys(ctx context.Context, tx *tx, task *finishing, r keyturn.TaskResult, told *keyturn.Told) error {
	known, turned := task.unitKey, r.State == keyturn.TaskSucceeded
	p := db.SetUnitKeyParams{UnitID: task.unit, KeyID: task.keyBefore, KeySince: at(task.intendedAt)}
	if task.keyBefore != known {
		seen, err := s.recordKey(ctx, tx, task, task.keyBefore, keyturn.OriginObserved, task.intendedAt)
		if err != nil {
			return err
		}
		if turned {
			seen.Until = toTimePtr(at(tx.now))
		}
		if r.State.Final() { // it is told with its task
			told.Records = append(told.Records, seen)
		}
	}
	if turned {
		made, err := s.recordKey(ctx, tx, task, r.KeyAfter, keyturn.OriginRotated, tx.now)
		if err != nil {
			return err
		}
		told.Records = append(told.Records, made)
		p.KeyID, p.KeySince, p.Exact, p.TurnedAt = r.KeyAfter, at(tx.now), 1, at(tx.now)
	}
	if !turned && task.unitKey == known {
		return nil
	}
	if err := s.q.SetUnitKey(ctx, tx, p); err != nil {
		return fmt.Errorf("recording the unit's key: %w", err)
	}
	return nil
}

// recordKey adds a key to the history.
func (s *Store) recordKey(
	ctx context.Context, tx *tx, task *finishing, key string, origin keyturn.Origin, from int64,
) (keyturn.KeyRecord, error) {
	record := keyturn.KeyRecord{
		ID: s.ids.next(tx.now), Unit: task.unit, KeyID: key, PreviousKeyID: task.unitKey, From: toTime(from), Origin: origin,
		Rotation: task.rotationID, Task: task.taskID,
	}
	if err := s.q.InsertKeyRecord(ctx, tx, db.InsertKeyRecordParams{
		ID: record.ID.String(), UnitID: task.unit, KeyID: key, PreviousKeyID: task.unitKey, UsedFrom: from,
		Origin: string(origin), RotationID: text(task.rotation), TaskID: text(task.id),
	}); err != nil {
		return keyturn.KeyRecord{}, fmt.Errorf("adding to the history: %w", err)
	}
	task.unitKey = key
	return record, nil
}

// number is a boolean as SQLite stores it.
func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
