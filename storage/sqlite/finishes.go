package sqlite

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// finishes is a group of results that is being recorded. What most of them write is gathered, and written together.
type finishes struct {
	s             *Store
	tx            *tx
	records, keys bulk
	told          keyturn.Told
}

// finishes begins a group of up to n results.
func (s *Store) finishes(tx *tx, n int) *finishes {
	return &finishes{
		s: s, tx: tx, told: keyturn.Told{Tasks: make([]keyturn.Task, 0, n), Records: make([]keyturn.KeyRecord, 0, n)},
		records: bulk{
			head: `INSERT INTO key_records (id, unit_id, key_id, previous_key_id, used_from, origin, rotation_id, task_id) VALUES `,
			row:  `(?,?,?,?,?,?,?,?)`,
			args: make([]any, 0, 8*n),
		},
		keys: bulk{ // of units that have their row: it was read under the same lock
			head: `INSERT INTO unit_keys (unit_id, key_id, key_since, key_exact, turned_at) VALUES `,
			row:  `(?,?,?,?,?)`,
			tail: ` ON CONFLICT (unit_id) DO UPDATE SET key_id = excluded.key_id, key_since = excluded.key_since, key_exact = excluded.key_exact,
    turned_at = coalesce(excluded.turned_at, unit_keys.turned_at)`,
			args: make([]any, 0, 5*n),
		},
	}
}

// finish moves a task on, and adds what there is to tell of it if it ends.
func (f *finishes) finish(ctx context.Context, task *finishing, r keyturn.TaskResult) error {
	if r.From == keyturn.TaskIntended && r.State != keyturn.TaskIntended {
		f.recordKeys(task, r)
	}
	uncounted := task.uncount(r)
	if err := f.s.logResult(ctx, f.tx, task, r); err != nil {
		return err
	}
	switch r.State {
	case keyturn.TaskPending:
		return one(f.s.q.PutBackPending(ctx, f.tx, db.PutBackPendingParams{
			Seq: task.seq, Was: string(r.From), Reason: r.Reason, NotBefore: f.tx.now + r.After.Milliseconds(), Failed: number(r.Failed),
			Uncounted: uncounted,
		}))
	case keyturn.TaskIntended:
		return f.putBackIntended(ctx, task, r, uncounted)
	}
	p := db.EndTaskParams{
		Seq: task.seq, Was: string(r.From), State: string(r.State), Resolution: string(r.Resolution), Reason: r.Reason, Now: at(f.tx.now),
	}
	if r.State == keyturn.TaskSucceeded {
		p.KeyAfter = r.KeyAfter
	}
	f.told.Tasks = append(f.told.Tasks, keyturn.Task{
		ID: r.Task, Rotation: task.rotationID, Unit: task.unit, State: r.State, Resolution: r.Resolution, Reason: r.Reason,
		Attempts: int(task.attempts), KeyBefore: task.keyBefore, KeyAfter: p.KeyAfter,
		StartedAt: toTimePtr(task.startedAt), FinishedAt: toTimePtr(p.Now),
	})
	return one(f.s.q.EndTask(ctx, f.tx, p))
}

// uncount takes the last attempt back if the result says that it changed nothing. Of a result that is recorded twice the
// first one counts, and an open intent is an attempt.
func (t *finishing) uncount(r keyturn.TaskResult) int64 {
	n := number(r.Uncounted && r.From == keyturn.TaskIntended && !r.State.Final() && t.held && t.attempts > number(r.State == keyturn.TaskIntended))
	t.attempts -= n
	return n
}

func (f *finishes) putBackIntended(ctx context.Context, task *finishing, r keyturn.TaskResult, uncounted int64) error {
	p := db.PutBackIntendedParams{Seq: task.seq, Reason: r.Reason, NotBefore: f.tx.now + r.After.Milliseconds(), Failed: number(r.Failed), Uncounted: uncounted}
	if r.Answered {
		p.AnsweredAt = at(f.tx.now)
	}
	if r.Unsent {
		p.Unsent = at(f.tx.now - r.UnsentFor.Milliseconds())
	}
	return one(f.s.q.PutBackIntended(ctx, f.tx, p))
}

// recordKeys writes down what an intent that is over tells about the keys of its unit: the key
// that it found in use, unless that is known already, and the new one.
func (f *finishes) recordKeys(task *finishing, r keyturn.TaskResult) {
	known, turned := task.unitKey, r.State == keyturn.TaskSucceeded
	if task.keyBefore != known {
		seen := f.recordKey(task, task.keyBefore, keyturn.OriginObserved, task.intendedAt)
		if turned {
			seen.Until = toTimePtr(at(f.tx.now))
		}
		if r.State.Final() { // it is told with its task
			f.told.Records = append(f.told.Records, seen)
		}
	}
	if turned {
		f.told.Records = append(f.told.Records, f.recordKey(task, r.KeyAfter, keyturn.OriginRotated, f.tx.now))
		f.keys.add(task.unit, r.KeyAfter, f.tx.now, 1, f.tx.now)
	} else if task.unitKey != known {
		f.keys.add(task.unit, task.keyBefore, task.intendedAt, 0, nil)
	}
}

// recordKey adds a key to the history.
func (f *finishes) recordKey(task *finishing, key string, origin keyturn.Origin, from int64) keyturn.KeyRecord {
	record := keyturn.KeyRecord{
		ID: f.s.ids.next(f.tx.now), Unit: task.unit, KeyID: key, PreviousKeyID: task.unitKey, From: toTime(from), Origin: origin,
		Rotation: task.rotationID, Task: task.taskID,
	}
	f.records.add(record.ID.String(), task.unit, key, task.unitKey, from, string(origin), task.rotation, task.id)
	task.unitKey = key
	return record
}

// flush writes what was gathered.
func (f *finishes) flush(ctx context.Context) error {
	if err := f.tx.flush(ctx, &f.records); err != nil {
		return fmt.Errorf("adding to the history: %w", err)
	}
	if err := f.tx.flush(ctx, &f.keys); err != nil {
		return fmt.Errorf("recording units' keys: %w", err)
	}
	return nil
}
