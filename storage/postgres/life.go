package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// StopRotation stops what has not begun of a rotation. What was not planned yet ends at once; open intents
// of a running one go on until their outcome is known, and then it ends.
func (s *Store) StopRotation(ctx context.Context, id keyturn.ID, by, reason string, cancelled bool) (keyturn.Rotation, error) {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		changed, err := s.stopRotation(ctx, tx, id, by, reason, cancelled)
		if err != nil || !changed {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
	if err != nil {
		return keyturn.Rotation{}, fmt.Errorf("stopping rotation %s: %w", id, err)
	}
	return s.Rotation(ctx, id)
}

// stopRotation reports whether it changed anything: of one that is stopped already, it does not.
func (s *Store) stopRotation(ctx context.Context, tx pgx.Tx, id keyturn.ID, by, reason string, cancelled bool) (bool, error) {
	by, reason = clean(by), clean(reason)
	row, err := s.q.StopRotation(ctx, tx, db.StopRotationParams{
		Reason: reason, Trouble: keyturn.StopTrouble(by, reason, cancelled), Cancelled: cancelled, By: by, ID: id, Now: s.clock(),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return false, s.stopped(ctx, tx, id, cancelled)
	}
	if err != nil {
		return false, err
	}
	if row.State != string(keyturn.RotationRunning) {
		return true, s.q.Announce(ctx, tx, db.AnnounceParams{ID: s.newID(), Type: "rotation.completed", RotationID: id, TaskIds: []keyturn.ID{}})
	}
	// A statement of its own: it sees what a planner that held the row until now has saved.
	_, err = s.q.StopTasks(ctx, tx, db.StopTasksParams{Now: s.clock(), Rotations: []keyturn.ID{id}})
	return true, err
}

// stopped says whether a rotation that can't be stopped is so already: then nothing is wrong.
func (s *Store) stopped(ctx context.Context, tx pgx.Tx, id keyturn.ID, cancelled bool) error {
	row, err := s.q.LockRotation(ctx, tx, id)
	if err != nil {
		return notFound(err)
	}
	state := keyturn.RotationState(row.State)
	if state == keyturn.RotationCancelled || !state.Final() || row.Halted && !cancelled {
		return nil
	}
	return keyturn.Conflictf("it has ended already: %s", state)
}

// FinishRotations ends running rotations without open tasks, and returns them.
func (s *Store) FinishRotations(ctx context.Context) ([]keyturn.Rotation, error) {
	// Mostly there is nothing to end.
	done, err := s.q.DoneRotations(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("finding rotations that ended: %w", err)
	}
	if len(done) == 0 {
		return nil, nil
	}
	var ended []keyturn.Rotation
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		ids, err := s.q.LockDone(ctx, tx, done)
		if err != nil || len(ids) == 0 {
			return err
		}
		if _, err := s.q.StopTasks(ctx, tx, db.StopTasksParams{Now: s.clock(), Rotations: ids}); err != nil {
			return err
		}
		ended, err = s.endRotations(ctx, tx, ids, true)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ending rotations: %w", err)
	}
	return ended, nil
}

// endRotations gives rotations, which the transaction has locked, the state and the counts that their
// tasks lead to, and tells the world if asked to. Those that still have an open task are left out.
func (s *Store) endRotations(ctx context.Context, tx pgx.Tx, ids []keyturn.ID, tell bool) ([]keyturn.Rotation, error) {
	counted, err := s.q.EndCounts(ctx, tx, ids)
	if err != nil || len(counted) == 0 {
		return nil, err
	}
	mixed, err := s.mixed(ctx, tx, counted)
	if err != nil {
		return nil, err
	}
	arg := db.EndRotationsParams{Now: s.clock(), Tell: tell}
	for _, c := range counted {
		r := c.Rotation
		end := keyturn.Ending{
			Cancelled: r.CancelledAt != nil, Stopped: int(c.Stopped), Mixed: mixed[r.ID], Unsaved: int(r.PlanLeft),
			Counts: keyturn.Counts{
				Total: int(c.Total), Succeeded: int(c.Succeeded), Failed: int(c.Failed), Skipped: int(c.Skipped), Parked: int(c.Parked),
			},
		}
		if r.Halted {
			end.Stop = keyturn.StopTrouble(r.CancelledBy, r.StopReason, end.Cancelled)
		}
		state, trouble := end.Outcome()
		arg.Ids, arg.States, arg.Troubles = append(arg.Ids, r.ID), append(arg.States, string(state)), append(arg.Troubles, trouble)
		arg.Totals, arg.Succeeded = append(arg.Totals, int32Of(end.Counts.Total)), append(arg.Succeeded, int32Of(end.Counts.Succeeded))
		arg.Failed, arg.Skipped = append(arg.Failed, int32Of(end.Counts.Failed)), append(arg.Skipped, int32Of(end.Counts.Skipped))
		arg.Parked = append(arg.Parked, int32Of(end.Counts.Parked))
	}
	rows, err := s.q.EndRotations(ctx, tx, arg)
	if err != nil {
		return nil, err
	}
	return rotationsOf(rows)
}

// mixed names the mixed clusters of the rotations in which not all went well.
func (s *Store) mixed(ctx context.Context, tx pgx.Tx, counted []db.EndCountsRow) (map[keyturn.ID][]string, error) {
	var ids []keyturn.ID
	for _, c := range counted {
		if c.Failed+c.Parked+c.Stopped > 0 {
			ids = append(ids, c.Rotation.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := s.q.MixedClusters(ctx, tx, ids)
	mixed := map[keyturn.ID][]string{}
	for _, row := range rows {
		mixed[row.RotationID] = append(mixed[row.RotationID], keyturn.ClusterTitle(row.ProjectName, row.ClusterName))
	}
	return mixed, err
}
