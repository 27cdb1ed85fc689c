package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// TaskDetail implements api.Reader.
func (s *Store) TaskDetail(ctx context.Context, id keyturn.ID) (keyturn.TaskDetail, error) {
	row, err := s.q.Task(ctx, s.read, id.String())
	if err != nil {
		return keyturn.TaskDetail{}, fmt.Errorf("reading task %s: %w", id, found(err))
	}
	task, err := toTask(row)
	if err != nil {
		return keyturn.TaskDetail{}, fmt.Errorf("reading task %s: %w", id, err)
	}
	out := keyturn.TaskDetail{Task: task, Log: []keyturn.TaskLine{}}
	if row.IntendedAt.Valid {
		out.Intent = &keyturn.TaskIntent{
			Before: row.KeyBefore, Want: row.KeyWant, Epoch: row.Epoch, Owner: row.Owner,
			IntendedAt: toTime(row.IntendedAt.Int64), ApplyBy: toTime(row.ApplyBy.Int64), AnsweredAt: toTimePtr(row.AnsweredAt),
		}
		if json.Valid(row.IntentData) {
			out.Intent.Data = row.IntentData
		}
	}
	lines, err := s.q.TaskLog(ctx, s.read, id.String())
	if err != nil {
		return out, fmt.Errorf("reading the log of task %s: %w", id, err)
	}
	for _, l := range lines {
		out.Log = append(out.Log, keyturn.TaskLine{
			N: int(l.N), At: toTime(l.At), Attempt: int(l.Attempt), What: keyturn.TaskEvent(l.What), Text: l.Text,
		})
	}
	return out, nil
}

// logTask adds a line to a task's log, and takes the one off that is neither of the first nor of the last any more.
func (s *Store) logTask(ctx context.Context, tx *tx, task string, attempt int64, what keyturn.TaskEvent, line string) error {
	err := s.q.LogTask(ctx, tx, db.LogTaskParams{TaskID: task, At: tx.now, Attempt: attempt, What: string(what), Text: line})
	if err == nil {
		err = s.q.TrimTaskLog(ctx, tx, db.TrimTaskLogParams{TaskID: task, First: keyturn.TaskLogFirst, Last: keyturn.TaskLogLast})
	}
	if err != nil {
		return fmt.Errorf("adding to the task's log: %w", err)
	}
	return nil
}

// logResult notes a result that has something to say: a clean success, or a task that need not be done, has not.
func (s *Store) logResult(ctx context.Context, tx *tx, task *finishing, r keyturn.TaskResult) error {
	what := keyturn.TaskEvent(r.State)
	switch {
	case r.State == keyturn.TaskSucceeded && r.Resolution == keyturn.ResolutionInferred:
		what = keyturn.TaskInferred
	case r.State == keyturn.TaskSucceeded || r.State == keyturn.TaskSkipped || r.Reason == "":
		return nil
	case r.State == keyturn.TaskPending:
		what = keyturn.TaskPutBack
	case r.State == keyturn.TaskIntended:
		what = keyturn.TaskWaits
	}
	return s.logTask(ctx, tx, task.id, task.attempts, what, r.Reason)
}
