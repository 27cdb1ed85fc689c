package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// TaskDetail returns a task with its last intent and the log of its attempts.
func (s *Store) TaskDetail(ctx context.Context, id keyturn.ID) (keyturn.TaskDetail, error) {
	task, err := s.Task(ctx, id)
	if err != nil {
		return keyturn.TaskDetail{}, err
	}
	out := keyturn.TaskDetail{Task: task, Log: []keyturn.TaskLine{}}
	row, err := s.q.TaskIntent(ctx, s.pool, id)
	if err != nil {
		return out, fmt.Errorf("reading the intent of task %s: %w", id, notFound(err))
	}
	if row.IntendedAt != nil && row.ApplyBy != nil {
		out.Intent = &keyturn.TaskIntent{
			Before: row.KeyBefore, Want: row.KeyWant, Epoch: row.Epoch, Owner: row.Owner,
			IntendedAt: row.IntendedAt.UTC(), ApplyBy: row.ApplyBy.UTC(), AnsweredAt: utc(row.AnsweredAt),
		}
		if json.Valid(row.IntentData) {
			out.Intent.Data = row.IntentData
		}
	}
	lines, err := s.q.TaskLog(ctx, s.pool, id)
	if err != nil {
		return out, fmt.Errorf("reading the log of task %s: %w", id, err)
	}
	for _, l := range lines {
		out.Log = append(out.Log, keyturn.TaskLine{
			N: int(l.N), At: l.At.UTC(), Attempt: int(l.Attempt), What: keyturn.TaskEvent(l.What), Text: l.Text,
		})
	}
	return out, nil
}

// logResolved notes a person's decision in the log of the task.
func (s *Store) logResolved(ctx context.Context, tx pgx.Tx, d keyturn.Decision) error {
	err := s.q.LogResolved(ctx, tx, db.LogResolvedParams{
		Task: d.Task, Text: clean(d.LogText()), Now: s.clock(), First: keyturn.TaskLogFirst, Last: keyturn.TaskLogLast,
	})
	if err != nil {
		return fmt.Errorf("adding to the task's log: %w", err)
	}
	return nil
}
