package sqlite

import (
	"context"
	"fmt"
	"math"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// StopRotation implements api.RotationControl.
func (s *Store) StopRotation(ctx context.Context, id keyturn.ID, by, reason string, cancelled bool) (keyturn.Rotation, error) {
	var r keyturn.Rotation
	err := s.inTx(ctx, "stopping rotation "+id.String(), func(ctx context.Context, tx *tx) error {
		changed, err := s.stopRotation(ctx, tx, id, by, reason, cancelled)
		if err == nil && changed {
			err = s.writeAudit(ctx, tx)
		}
		if err != nil {
			return err
		}
		row, err := s.q.Rotation(ctx, tx, id.String())
		if err != nil {
			return err
		}
		r, err = s.withCounts(ctx, tx, row)
		return err
	})
	return r, err
}

// stopRotation reports whether it changed anything: of one that is stopped already, it does not.
func (s *Store) stopRotation(ctx context.Context, tx *tx, id keyturn.ID, by, reason string, cancelled bool) (bool, error) {
	row, err := s.q.Rotation(ctx, tx, id.String())
	if err != nil {
		return false, found(err)
	}
	state := keyturn.RotationState(row.State)
	switch {
	case state == keyturn.RotationCancelled, row.Halted != 0 && !cancelled, row.CancelledAt.Valid:
		return false, nil
	case state.Final():
		return false, keyturn.Conflictf("it has ended already: %s", state)
	}
	p := db.StopRotationParams{
		ID: row.ID, StopReason: reason, Trouble: keyturn.StopTrouble(by, reason, cancelled), State: row.State,
	}
	if cancelled {
		p.CancelledBy, p.CancelledAt = by, at(tx.now)
	}
	if state != keyturn.RotationRunning {
		p.State, p.FinishedAt = string(keyturn.RotationFailed), at(tx.now)
		if cancelled {
			p.State = string(keyturn.RotationCancelled)
		}
	}
	if err := s.q.StopRotation(ctx, tx, p); err != nil {
		return false, err
	}
	if state != keyturn.RotationRunning {
		return true, s.announce(ctx, tx, "rotation.completed", id)
	}
	return true, s.stopTasks(ctx, tx, row.ID, p.Trouble)
}

// stopTasks skips what has not begun of a rotation.
func (s *Store) stopTasks(ctx context.Context, tx *tx, rotation, reason string) error {
	rows, err := s.q.StopTasks(ctx, tx, db.StopTasksParams{RotationID: rotation, Reason: reason, Now: at(tx.now)})
	if err != nil {
		return fmt.Errorf("stopping its tasks: %w", err)
	}
	ids := make([]keyturn.ID, len(rows))
	for i, row := range rows {
		if ids[i], err = keyturn.ParseID(row); err != nil {
			return err
		}
	}
	return s.announceTasks(ctx, tx, ids)
}

// FinishRotations implements worker.FeedStore.
func (s *Store) FinishRotations(ctx context.Context) ([]keyturn.Rotation, error) {
	// Mostly there is nothing to end, and then nobody has to wait for the write lock.
	ids, err := s.q.EndedRotations(ctx, s.read)
	if err != nil {
		return nil, fmt.Errorf("finding rotations that ended: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var out []keyturn.Rotation
	err = s.inTx(ctx, "ending rotations", func(ctx context.Context, tx *tx) error {
		ids, err := s.q.EndedRotations(ctx, tx)
		if err != nil {
			return err
		}
		for _, id := range ids {
			r, err := s.endRotation(ctx, tx, id)
			if err == nil {
				err = s.announce(ctx, tx, "rotation.completed", r.ID)
			}
			if err != nil {
				return fmt.Errorf("rotation %s: %w", id, err)
			}
			out = append(out, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// endRotation gives a rotation without open tasks the state and the counts that its tasks lead to.
func (s *Store) endRotation(ctx context.Context, tx *tx, id string) (keyturn.Rotation, error) {
	row, err := s.q.Rotation(ctx, tx, id)
	if err != nil {
		return keyturn.Rotation{}, err
	}
	end := keyturn.Ending{Cancelled: row.CancelledAt.Valid}
	if row.Halted != 0 {
		end.Stop = keyturn.StopTrouble(row.CancelledBy, row.StopReason, end.Cancelled)
		if err := s.stopTasks(ctx, tx, id, end.Stop); err != nil { // what was put back since
			return keyturn.Rotation{}, err
		}
		stopped, err := s.q.StoppedTasks(ctx, tx, id)
		if err != nil {
			return keyturn.Rotation{}, err
		}
		end.Stopped = int(stopped)
	}
	if end.Counts, end.Unsaved, err = s.counts(ctx, tx, id); err != nil {
		return keyturn.Rotation{}, err
	}
	if end.Counts.Failed+end.Counts.Parked+end.Stopped > 0 {
		rows, err := s.q.MixedClusters(ctx, tx, id)
		if err != nil {
			return keyturn.Rotation{}, err
		}
		for _, c := range rows {
			end.Mixed = append(end.Mixed, keyturn.ClusterTitle(c.ProjectName, c.ClusterName))
		}
	}
	state, trouble := end.Outcome()
	c := end.Counts
	err = one(s.q.EndRotation(ctx, tx, db.EndRotationParams{
		ID: id, State: string(state), Trouble: trouble, Now: at(tx.now),
		Total: int64(c.Total), Succeeded: int64(c.Succeeded), Failed: int64(c.Failed), Skipped: int64(c.Skipped), Parked: int64(c.Parked),
	}))
	if err != nil {
		return keyturn.Rotation{}, err
	}
	if err := s.q.RemoveFeeds(ctx, tx, db.RemoveFeedsParams{RotationID: id, Turn: math.MaxInt64}); err != nil {
		return keyturn.Rotation{}, err
	}
	if row, err = s.q.Rotation(ctx, tx, id); err != nil {
		return keyturn.Rotation{}, err
	}
	return toRotation(row)
}
