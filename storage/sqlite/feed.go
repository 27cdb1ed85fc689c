package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// Feed implements worker.FeedStore. Generation is 0 for a target that was removed: its open
// intents still come to an end.
func (s *Store) Feed(ctx context.Context, target string, window int) (keyturn.Fed, error) {
	var out keyturn.Fed
	err := s.inTx(ctx, "feeding target "+target, func(ctx context.Context, tx *tx) error {
		fed, err := s.fed(ctx, tx, target)
		if err != nil {
			return err
		}
		room, err := s.room(ctx, tx, target, fed, window)
		if err != nil || room <= 0 {
			return err
		}
		tasks, err := s.feedable(ctx, tx, target, fed, tx.now, room)
		if err != nil || len(tasks) == 0 {
			return err
		}
		resource, err := s.q.Resource(ctx, tx, db.ResourceParams{Kind: string(keyturn.KindTarget), Name: target})
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		policies, moved := map[string]keyturn.Uncertain{}, map[string]place{}
		out.Tasks = make([]keyturn.QueuedTask, 0, len(tasks))
		for _, task := range tasks {
			if task.queued.Uncertain, err = s.uncertain(ctx, tx, task.policy, policies); err != nil {
				return err
			}
			if task.planned {
				moved[task.queued.Rotation.String()] = task.place
			} else if err := s.q.HandTask(ctx, tx, db.HandTaskParams{Seq: task.seq, Now: at(tx.now)}); err != nil {
				return err
			}
			task.queued.Generation, task.queued.Handed, task.queued.Returned = resource.Generation, tx.now, !task.planned
			out.Tasks = append(out.Tasks, task.queued)
		}
		if out.More, err = s.more(ctx, tx, moved, int64(window/16)); err != nil {
			return err
		}
		return s.move(ctx, tx, target, moved)
	})
	if err != nil {
		return keyturn.Fed{}, err
	}
	return out, nil
}

// more reports whether at least n tasks of a rotation are planned behind the place up to which it is handed out.
func (s *Store) more(ctx context.Context, tx *tx, moved map[string]place, n int64) (bool, error) {
	for rotation, to := range moved {
		if to.more {
			return true, nil
		}
		_, err := s.q.PlannedTaskBehind(ctx, tx, db.PlannedTaskBehindParams{
			RotationID: rotation, Turn: to.turn, TurnLimit: to.limit, Seq: to.seq, Between: max(n, 1) - 1,
		})
		if !errors.Is(err, sql.ErrNoRows) {
			return err == nil, err
		}
	}
	return false, nil
}

// place is where a task is in its rotation.
type place struct {
	turn  int64
	seq   int64
	limit int64 // the last turn that may be handed out now
	more  bool  // the plan is not whole yet: there are others behind it
}

// fed returns how far each rotation of the target was handed out.
func (s *Store) fed(ctx context.Context, on db.DBTX, target string) (map[string]place, error) {
	rows, err := s.q.Feeds(ctx, on, target)
	if err != nil {
		return nil, err
	}
	fed := map[string]place{}
	for _, row := range rows {
		if _, ok := fed[row.RotationID]; !ok {
			fed[row.RotationID] = place{turn: row.Turn, seq: row.Seq}
		}
	}
	return fed, nil
}

// move records how far rotations were handed out now.
func (s *Store) move(ctx context.Context, tx *tx, target string, moved map[string]place) error {
	for rotation, to := range moved {
		err := s.q.InsertFeed(ctx, tx, db.InsertFeedParams{RotationID: rotation, Turn: to.turn, Seq: to.seq, Target: target, HandedAt: tx.now})
		if err != nil {
			return err
		}
	}
	return nil
}

// feedable is a task that may be handed out.
type feedable struct {
	place
	queued  keyturn.QueuedTask
	policy  string
	planned bool // it was never put back
}

// feedable returns the first tasks of the target that are due, at most limit, in the order of
// their turn: open intents, and the pending tasks of each running rotation. Each rotation is asked
// by itself, so that the backlog of a paused one costs nothing.
func (s *Store) feedable(
	ctx context.Context, on db.DBTX, target string, fed map[string]place, now, limit int64,
) ([]feedable, error) {
	open, err := s.q.OrphanedTasks(ctx, on, db.OrphanedTasksParams{Target: target, Now: now, Leased: at(now), MaxRows: limit})
	if err != nil {
		return nil, err
	}
	var out []feedable
	for _, row := range open {
		task := feedable{policy: row.Policy, place: place{turn: row.Turn, seq: row.Seq}}
		task.queued, err = toQueued(keyturn.TaskIntended, row.ID, row.RotationID, row.UnitID, row.Failures)
		if err != nil {
			return nil, err
		}
		out = append(out, task)
	}
	rotations, err := s.q.FeedableRotations(ctx, on, db.FeedableRotationsParams{Target: target, Now: at(now)})
	if err != nil {
		return nil, err
	}
	for _, r := range rotations {
		after := fed[r.ID]
		planned, err := s.q.PlannedTasks(ctx, on, db.PlannedTasksParams{
			RotationID: r.ID, Turn: after.turn, Seq: after.seq, TurnLimit: r.TurnLimit, MaxRows: limit,
		})
		if err != nil {
			return nil, err
		}
		returned, err := s.q.ReturnedTasks(ctx, on, db.ReturnedTasksParams{RotationID: r.ID, Now: now, TurnLimit: r.TurnLimit, MaxRows: limit})
		if err != nil {
			return nil, err
		}
		for _, row := range planned {
			task := feedable{policy: r.Policy, place: place{row.Turn, row.Seq, r.TurnLimit, r.Unsaved != 0}, planned: true}
			if task.queued, err = toQueued(keyturn.TaskPending, row.ID, r.ID, row.UnitID, row.Failures); err != nil {
				return nil, err
			}
			out = append(out, task)
		}
		for _, row := range returned {
			task := feedable{policy: r.Policy, place: place{turn: row.Turn, seq: row.Seq}}
			if task.queued, err = toQueued(keyturn.TaskPending, row.ID, r.ID, row.UnitID, row.Failures); err != nil {
				return nil, err
			}
			out = append(out, task)
		}
	}
	slices.SortFunc(out, func(a, b feedable) int { return cmp.Or(cmp.Compare(a.turn, b.turn), cmp.Compare(a.seq, b.seq)) })
	return out[:min(len(out), int(limit))], nil
}

func toQueued(state keyturn.TaskState, id, rotation, unit string, failures int64) (keyturn.QueuedTask, error) {
	task := keyturn.QueuedTask{Unit: unit, State: state, Failures: int(failures)}
	return task, errors.Join(task.Task.Scan(id), task.Rotation.Scan(rotation))
}

// room is how many more tasks of the target may be handed out. Feeds that only cover tasks that ended go.
func (s *Store) room(ctx context.Context, tx *tx, target string, fed map[string]place, window int) (int64, error) {
	held, err := s.q.TargetHeldUntil(ctx, tx, target)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	if held.Valid && held.Int64 > tx.now {
		return 0, nil
	}
	handed, err := s.q.HandedTasks(ctx, tx, target)
	if err != nil {
		return 0, err
	}
	for rotation, to := range fed {
		out, err := s.q.FedTasks(ctx, tx, db.FedTasksParams{RotationID: rotation, Turn: to.turn, Seq: to.seq})
		if err != nil {
			return 0, err
		}
		handed += out.N
		low := cmp.Or(out.Low, to.turn)
		if err := s.q.RemoveFeeds(ctx, tx, db.RemoveFeedsParams{RotationID: rotation, Turn: low}); err != nil {
			return 0, err
		}
	}
	return int64(window) - handed, nil
}

// uncertain is what the policy wants done when an outcome stays unknown. The one of a policy
// that is gone can't be asked any more: then a person decides.
func (s *Store) uncertain(ctx context.Context, tx *tx, policy string, known map[string]keyturn.Uncertain) (keyturn.Uncertain, error) {
	if u, ok := known[policy]; ok {
		return u, nil
	}
	p, err := s.policy(ctx, tx, policy)
	if errors.Is(err, keyturn.ErrNotFound) {
		p.Uncertain, err = keyturn.UncertainPark, nil
	}
	known[policy] = p.Uncertain
	return p.Uncertain, err
}

// Requeue implements worker.FeedStore. Held targets have nothing to feed.
func (s *Store) Requeue(ctx context.Context, age time.Duration, busy []string) ([]string, error) {
	err := s.inTx(ctx, "requeuing tasks", func(ctx context.Context, tx *tx) error {
		if err := s.q.RequeueHanded(ctx, tx, db.RequeueHandedParams{
			HandedBefore: tx.in(-age), Now: at(tx.now), Busy: append([]string{""}, busy...), // no target has the empty name
		}); err != nil {
			return err
		}
		return s.requeueFed(ctx, tx, tx.now-age.Milliseconds(), busy)
	})
	if err != nil {
		return nil, err
	}
	now := s.nowMS()
	free, err := s.q.FreeTargets(ctx, s.read, at(now))
	if err != nil {
		return nil, fmt.Errorf("finding targets to feed: %w", err)
	}
	var targets []string
	for _, target := range free {
		fed, err := s.fed(ctx, s.read, target)
		if err != nil {
			return nil, fmt.Errorf("finding how far target %s was fed: %w", target, err)
		}
		tasks, err := s.feedable(ctx, s.read, target, fed, now, 1)
		if err != nil {
			return nil, fmt.Errorf("finding tasks of target %s: %w", target, err)
		}
		if len(tasks) > 0 {
			targets = append(targets, target)
		}
	}
	return targets, nil
}

// requeueFed puts back what was handed out by feeds before a time, and that nobody holds.
func (s *Store) requeueFed(ctx context.Context, tx *tx, before int64, busy []string) error {
	feeds, err := s.q.FeedsBefore(ctx, tx, before)
	if err != nil {
		return err
	}
	last := ""
	for _, f := range feeds {
		if f.RotationID == last { // its newest covers its others
			continue
		}
		last = f.RotationID
		p := db.RequeueFedParams{RotationID: f.RotationID, Turn: f.Turn, Seq: f.Seq, Now: at(tx.now)}
		if slices.Contains(busy, f.Target) {
			p.Spared = f.Target
		}
		err := s.q.RequeueFed(ctx, tx, p)
		if err != nil {
			return err
		}
	}
	return nil
}

// counts counts the tasks of a rotation as they are now, and the units of its plan that are not saved.
func (s *Store) counts(ctx context.Context, on db.DBTX, rotation string) (c keyturn.Counts, unsaved int, err error) {
	row, err := s.q.CountTasks(ctx, on, rotation)
	if err != nil {
		return c, 0, fmt.Errorf("counting tasks: %w", err)
	}
	c = keyturn.Counts{
		Total: int(row.Total), Succeeded: int(row.Succeeded), Failed: int(row.Failed), Skipped: int(row.Skipped), Parked: int(row.Parked),
	}
	c.Pending = c.Total - c.Succeeded - c.Failed - c.Skipped - c.Parked
	return c, int(row.Unsaved), nil
}

// Unplanned implements worker.FeedStore.
func (s *Store) Unplanned(ctx context.Context, limit int) ([]keyturn.ID, error) {
	rows, err := s.q.UnplannedRotations(ctx, s.read, db.UnplannedRotationsParams{Now: at(s.nowMS()), MaxRows: int64(limit)})
	if err != nil {
		return nil, fmt.Errorf("finding rotations to plan: %w", err)
	}
	ids := make([]keyturn.ID, len(rows))
	for i, row := range rows {
		if ids[i], err = keyturn.ParseID(row); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// Hold implements worker.FeedStore.
func (s *Store) Hold(ctx context.Context, target, reason string, hold time.Duration) error {
	return s.inTx(ctx, "holding target "+target, func(ctx context.Context, tx *tx) error {
		return s.q.HoldTarget(ctx, tx, db.HoldTargetParams{Name: target, HoldUntil: tx.in(hold), HoldReason: reason})
	})
}
