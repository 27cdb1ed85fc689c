package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// Intend implements worker.TaskStore.
func (s *Store) Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error) {
	if len(writes) == 0 {
		return nil, nil
	}
	ids := make([]keyturn.ID, len(writes))
	for i := range writes {
		ids[i] = writes[i].Task
	}
	var out []keyturn.IntentOutcome
	err := s.inShared(ctx, "recording intents", func(ctx context.Context, tx *tx) error {
		out = make([]keyturn.IntentOutcome, len(writes))
		tasks, err := tx.intending(ctx, ids)
		if err != nil {
			return err
		}
		taken, err := tx.exclusives(ctx, writes)
		if err != nil {
			return err
		}
		open := make(map[string]bool, len(writes)) // units with an intent of this batch
		for i, write := range writes {
			id := write.Task.String()
			task := tasks[id]
			out[i].Verdict = verdict(task, write.Unit, task != nil && open[task.unit])
			if write.Intent.Before == "" { // nothing could ever show that it was not carried out
				s.log.Error("intent without the key in use is held back", zap.String("task", id), zap.String("owner", write.Owner))
				out[i].Verdict = keyturn.VerdictHeld
			}
			if out[i].Verdict == keyturn.VerdictGo && taken[write.Intent.Exclusive] {
				out[i].Verdict = keyturn.VerdictBusy
			}
			if out[i].Verdict != keyturn.VerdictGo {
				continue
			}
			if err := s.intend(ctx, tx, task, write); err != nil {
				return fmt.Errorf("task %s: %w", id, err)
			}
			task.state, open[task.unit] = keyturn.TaskIntended, true
			taken[write.Intent.Exclusive] = write.Intent.Exclusive != ""
			task.epoch++
			out[i].Epoch = task.epoch
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// verdict decides about an intent. busy: one of the same batch is open on the unit.
func verdict(task *intending, unit string, busy bool) keyturn.Verdict {
	switch {
	case task != nil && task.unit != unit:
		return keyturn.VerdictOther
	case task == nil || task.state.Final():
		return keyturn.VerdictDone
	case task.state == keyturn.TaskIntended:
		return keyturn.VerdictTaken
	case task.held || task.rotation != keyturn.RotationRunning:
		return keyturn.VerdictHeld
	case busy || task.busy:
		return keyturn.VerdictBusy
	case task.turned:
		return keyturn.VerdictTurned
	case task.soon:
		return keyturn.VerdictSoon
	default:
		return keyturn.VerdictGo
	}
}

func (s *Store) intend(ctx context.Context, tx *tx, task *intending, write keyturn.IntentWrite) error {
	var back sql.NullString
	if task.loose { // it has to be found when its lease ends
		back = text(string(keyturn.TaskIntended))
	}
	n, err := s.q.IntendTask(ctx, tx, db.IntendTaskParams{
		Seq:        task.seq,
		Back:       back,
		Owner:      write.Owner,
		LeaseUntil: tx.in(write.Lease),
		KeyBefore:  write.Intent.Before,
		KeyWant:    write.Intent.Want,
		IntentData: write.Intent.Data,
		Now:        at(tx.now),
		ApplyBy:    tx.in(write.ApplyFor),
		Exclusive:  text(write.Intent.Exclusive),
	})
	return one(n, err)
}

// one makes an error of a statement that did not change exactly one row, though the row
// was read under the same lock.
func one(n int64, err error) error {
	if err == nil && n != 1 {
		return fmt.Errorf("%d rows changed instead of one", n)
	}
	return err
}

// Reintend implements worker.TaskStore.
func (s *Store) Reintend(
	ctx context.Context, task keyturn.ID, owner string, epoch int64, applyFor, lease time.Duration,
) (int64, error) {
	var renewed int64
	err := s.inTx(ctx, "renewing the intent of task "+task.String(), func(ctx context.Context, tx *tx) error {
		row, err := s.q.ReintendTask(ctx, tx, db.ReintendTaskParams{
			ID: task.String(), Owner: owner, Epoch: epoch, LeaseUntil: tx.in(lease), ApplyBy: tx.in(applyFor),
		})
		if err == nil {
			renewed = row.Epoch
			return s.logTask(ctx, tx, task.String(), row.Attempts, keyturn.TaskSentAgain, "the system still showed key "+row.KeyBefore)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return s.notRenewed(ctx, tx, task)
	})
	return renewed, err
}

// notRenewed says why an open intent could not be renewed or amended.
func (s *Store) notRenewed(ctx context.Context, tx *tx, task keyturn.ID) error {
	rotation, err := s.q.RotationOfTask(ctx, tx, task.String())
	if err == nil && rotation.Halted != 0 {
		err = fmt.Errorf("%w: its rotation was stopped", keyturn.ErrConflict)
	}
	return cmp.Or(found(err), keyturn.ErrNotFound)
}

// Take implements worker.TaskStore.
func (s *Store) Take(ctx context.Context, task keyturn.ID, owner string, lease, settle time.Duration) (keyturn.Taken, error) {
	var taken keyturn.Taken
	err := s.inTx(ctx, "taking over task "+task.String(), func(ctx context.Context, tx *tx) error {
		held, err := s.q.Task(ctx, tx, task.String())
		if err != nil {
			return found(err)
		}
		row, err := s.q.TakeTask(ctx, tx, db.TakeTaskParams{
			ID: task.String(), Owner: owner, LeaseUntil: tx.in(lease), Now: at(tx.now),
		})
		if err != nil {
			return found(err)
		}
		taken = keyturn.Taken{
			Unit:        held.UnitID,
			Epoch:       row.Epoch,
			Intent:      keyturn.Intent{Before: row.KeyBefore, Want: row.KeyWant, Data: row.IntentData},
			SettledIn:   settle + span(tx.now, row.ApplyBy.Int64),
			AnsweredFor: -1,
			Accepted:    row.Accepted != 0 || row.AnsweredAt.Valid,
			OpenFor:     span(row.IntendedAt.Int64, tx.now),
			Attempts:    int(row.Attempts),
		}
		if row.AnsweredAt.Valid {
			taken.AnsweredFor = max(0, span(row.AnsweredAt.Int64, tx.now)) // a clock that was set back is no "never"
		}
		if held.Owner == "" { // it was put back: its lease did not end
			return nil
		}
		return s.logTask(ctx, tx, held.ID, row.Attempts, keyturn.TaskTakenOver, "the lease of "+held.Owner+" had ended")
	})
	return taken, err
}

// span is the time from one millisecond to another.
func span(from, to int64) time.Duration { return time.Duration(to-from) * time.Millisecond }
