package sqlite

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
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
	var out keyturn.Finished
	err := s.inShared(ctx, "recording results", func(ctx context.Context, tx *tx) error {
		out = keyturn.Finished{Taken: make([]bool, len(results))}
		tasks, err := tx.finishing(ctx, ids)
		if err != nil {
			return err
		}
		f, whole := s.finishes(tx, len(results)), true
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
			if err := f.finish(ctx, task, result); err != nil {
				return fmt.Errorf("task %s: %w", result.Task, err)
			}
			task.state, task.taken, out.Taken[i] = result.State, true, true
			whole = whole && (!result.State.Final() || result.Whole(task.epoch))
		}
		if err := f.flush(ctx); err != nil {
			return err
		}
		if err := s.tell(ctx, tx, &f.told); err != nil {
			return err
		}
		if whole {
			out.Told = f.told
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

// fits reports whether the task is where the result takes it from. Of a task's results in a batch the first one counts.
func fits(task *finishing, r keyturn.TaskResult) bool {
	return task != nil && !task.taken && task.state == r.From && (r.From != keyturn.TaskIntended || task.epoch == r.Epoch) && (task.first || !r.Anew)
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

// number is a boolean as SQLite stores it.
func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
