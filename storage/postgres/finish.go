package postgres

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// Finish records results, in one statement. A result that the table of states does not allow, or that
// lacks what its state asks for, is refused by itself and logged: it is an error of the caller.
func (s *Store) Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error) {
	out := keyturn.Finished{Taken: make([]bool, len(results))}
	first := make(map[keyturn.ID]int, len(results))
	batch := make([]keyturn.TaskResult, 0, len(results))
	for i, r := range results {
		if _, twice := first[r.Task]; twice {
			continue
		}
		if why := impossible(r); why != "" {
			s.log.Error("impossible result", zap.Stringer("task", r.Task), zap.String("why", why),
				zap.String("from", string(r.From)), zap.String("state", string(r.State)))
			continue
		}
		first[r.Task] = i
		batch = append(batch, r)
	}
	if len(batch) == 0 {
		return out, nil
	}
	slices.SortFunc(batch, func(a, b keyturn.TaskResult) int { return bytes.Compare(a.Task[:], b.Task[:]) })
	arg := s.finishParams(batch)
	moved, err := retry(ctx, func() ([]db.FinishRow, error) {
		return inShared(ctx, s, len(batch), func(on db.DBTX) ([]db.FinishRow, error) { return s.q.Finish(ctx, on, arg) })
	})
	if err != nil {
		return keyturn.Finished{}, fmt.Errorf("recording %d results: %w", len(results), err)
	}
	for i := range moved {
		out.Taken[first[moved[i].ID]] = true
	}
	out.Told = told(arg.Announcement, moved)
	return out, nil
}

// told is what the statement announced of the tasks that it ended: as AnnouncedTasks reads it.
func told(announcement keyturn.ID, moved []db.FinishRow) keyturn.Told {
	t := keyturn.Told{Tasks: make([]keyturn.Task, 0, len(moved)), Records: make([]keyturn.KeyRecord, 0, len(moved))}
	for i := range moved {
		r := &moved[i]
		if r.FinishedAt == nil {
			continue
		}
		if !(keyturn.TaskResult{From: keyturn.TaskState(r.Was)}).Whole(r.Epoch) {
			return keyturn.Told{}
		}
		t.ID = announcement
		t.Tasks = append(t.Tasks, keyturn.Task{
			ID: r.ID, Rotation: r.RotationID, Unit: r.UnitID, State: keyturn.TaskState(r.State), Resolution: keyturn.Resolution(r.Resolution),
			Reason: r.Reason, Attempts: int(r.Attempts), KeyBefore: r.KeyBefore, KeyAfter: r.KeyAfter,
			StartedAt: utc(r.StartedAt), FinishedAt: utc(r.FinishedAt),
		})
		if keyturn.TaskState(r.Was) != keyturn.TaskIntended {
			continue
		}
		turned := keyturn.TaskState(r.State) == keyturn.TaskSucceeded
		if r.KnownKey != r.KeyBefore {
			seen := keyturn.KeyRecord{
				ID: r.SeenID, Unit: r.UnitID, KeyID: r.KeyBefore, PreviousKeyID: r.KnownKey, From: r.IntendedAt.UTC(),
				Origin: keyturn.OriginObserved, Rotation: r.RotationID, Task: r.ID,
			}
			if turned {
				seen.Until = utc(r.FinishedAt)
			}
			t.Records = append(t.Records, seen)
		}
		if turned {
			t.Records = append(t.Records, keyturn.KeyRecord{
				ID: r.TurnedID, Unit: r.UnitID, KeyID: r.KeyAfter, PreviousKeyID: r.KeyBefore, From: r.FinishedAt.UTC(),
				Origin: keyturn.OriginRotated, Rotation: r.RotationID, Task: r.ID,
			})
		}
	}
	return t
}

// impossible says why no task can move as the result says; "" if one can.
func impossible(r keyturn.TaskResult) string {
	switch {
	case r.From != keyturn.TaskPending && r.From != keyturn.TaskIntended:
		return "a result moves a pending or an intended task"
	case r.From == keyturn.TaskPending && r.State == keyturn.TaskIntended:
		return "only an intent makes a task intended"
	case !r.From.CanBecome(r.State):
		return "the table of states does not allow it"
	case r.State == keyturn.TaskSucceeded && (r.KeyAfter == "" || r.Resolution == ""):
		return "a success needs the key after it and how it is known"
	default:
		return ""
	}
}

func (s *Store) finishParams(results []keyturn.TaskResult) db.FinishParams {
	n := len(results)
	arg := db.FinishParams{
		Now: s.clock(), Announcement: s.newID(), LogFirst: keyturn.TaskLogFirst, LogLast: keyturn.TaskLogLast,
		Ids: make([]keyturn.ID, n), Was: make([]string, n), Epochs: make([]int64, n), States: make([]string, n),
		Resolutions: make([]string, n), Reasons: make([]string, n), KeysAfter: make([]string, n), Afters: make([]int64, n),
		Failed: make([]bool, n), Anew: make([]bool, n), Answered: make([]bool, n), Unsent: make([]bool, n), UnsentFors: make([]int64, n), Uncounted: make([]bool, n),
		SeenIds: make([]keyturn.ID, n), TurnedIds: make([]keyturn.ID, n),
	}
	for i, r := range results {
		arg.Ids[i], arg.Was[i], arg.Epochs[i], arg.States[i] = r.Task, string(r.From), r.Epoch, string(r.State)
		arg.Reasons[i], arg.Afters[i] = clean(r.Reason), micros(r.After)
		arg.Failed[i], arg.Anew[i] = r.Failed && !r.State.Final(), r.Anew
		arg.SeenIds[i], arg.TurnedIds[i] = s.newIDs()
		arg.Uncounted[i] = r.Uncounted && r.From == keyturn.TaskIntended && !r.State.Final()
		switch r.State {
		case keyturn.TaskSucceeded:
			arg.KeysAfter[i], arg.Resolutions[i] = clean(r.KeyAfter), string(r.Resolution)
		case keyturn.TaskIntended:
			arg.Answered[i], arg.Unsent[i], arg.UnsentFors[i] = r.Answered, r.Unsent, micros(r.UnsentFor)
		case keyturn.TaskFailed, keyturn.TaskSkipped, keyturn.TaskParked:
			arg.Resolutions[i], arg.Reasons[i] = string(r.Resolution), cmp.Or(arg.Reasons[i], "no reason was given")
		case keyturn.TaskPending:
		}
	}
	return arg
}

// newIDs returns two fresh ids in their order: within one instant, the key before sorts before the key after.
func (s *Store) newIDs() (first, second keyturn.ID) {
	first, second = s.newID(), s.newID()
	if bytes.Compare(first[:], second[:]) > 0 {
		return second, first
	}
	return first, second
}
