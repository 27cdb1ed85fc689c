package postgres

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// planChunk is how many units one statement saves.
const planChunk = 1000

// nothingSelected is why a rotation without units failed.
const nothingSelected = "the policy selected no unit: check its selection, and what the target shows"

// Request inserts a rotation, or finds the one that the same slot or trigger id made before.
func (s *Store) Request(ctx context.Context, req keyturn.Request) (keyturn.Rotation, bool, error) {
	r, created, err := s.request(ctx, req)
	if err != nil {
		return keyturn.Rotation{}, false, fmt.Errorf("requesting a rotation of policy %s: %w", req.Policy, err)
	}
	return r, created, nil
}

func (s *Store) request(ctx context.Context, req keyturn.Request) (keyturn.Rotation, bool, error) {
	only, err := json.Marshal(req.Only)
	if err != nil {
		return keyturn.Rotation{}, false, fmt.Errorf("writing its selection: %w", err)
	}
	arg := db.RequestParams{
		Announcement: s.newID(), ID: s.newID(), Trigger: string(req.Trigger), TriggerID: optional(req.TriggerID),
		Reason: clean(req.Reason), RequestedBy: clean(req.RequestedBy), OnlyUnits: only, Now: s.clock(), Policy: req.Policy,
	}
	if req.Slot != nil {
		arg.Slot = optional(req.Slot.Name())
	}
	var id keyturn.ID
	created := false
	err = s.audited(ctx, func(on db.DBTX) (bool, error) {
		id, err = s.q.Request(ctx, on, arg)
		created = err == nil
		return created, err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		id, err = s.requested(ctx, arg)
	}
	if err != nil {
		return keyturn.Rotation{}, false, err
	}
	r, err := s.Rotation(ctx, id)
	return r, created, err
}

// requested finds the rotation that stands in the way of a request.
func (s *Store) requested(ctx context.Context, arg db.RequestParams) (keyturn.ID, error) {
	found, err := s.q.RotationByKey(ctx, s.pool, db.RotationByKeyParams{TriggerID: arg.TriggerID, Policy: arg.Policy, Slot: arg.Slot})
	if err != nil { // none: then the policy is unknown
		return keyturn.ID{}, notFound(err)
	}
	if found.Policy != arg.Policy {
		return keyturn.ID{}, fmt.Errorf("trigger id %q was used for policy %s: %w", text(arg.TriggerID), found.Policy, keyturn.ErrConflict)
	}
	return found.ID, nil
}

// ClaimRotation takes a rotation that is requested, or whose planner's lease ended.
func (s *Store) ClaimRotation(ctx context.Context, id keyturn.ID, owner string, lease time.Duration) (keyturn.Rotation, keyturn.Policy, error) {
	r, p, err := s.claimRotation(ctx, id, owner, lease)
	if err != nil {
		return keyturn.Rotation{}, keyturn.Policy{}, fmt.Errorf("claiming rotation %s: %w", id, err)
	}
	return r, p, nil
}

func (s *Store) claimRotation(ctx context.Context, id keyturn.ID, owner string, lease time.Duration) (keyturn.Rotation, keyturn.Policy, error) {
	row, err := s.q.ClaimRotation(ctx, s.pool, db.ClaimRotationParams{Owner: clean(owner), Lease: micros(lease), ID: id, Now: s.clock()})
	if errors.Is(err, pgx.ErrNoRows) {
		return keyturn.Rotation{}, keyturn.Policy{}, cmp.Or(s.failUnplannable(ctx, id), keyturn.ErrNotFound)
	}
	if err != nil {
		return keyturn.Rotation{}, keyturn.Policy{}, err
	}
	r, err := rotationOf(row.Rotation)
	if err != nil {
		return keyturn.Rotation{}, keyturn.Policy{}, err
	}
	p, err := policyOf(r.Policy, row.Spec, row.Generation, row.Paused)
	if least := p.Schedule.MinInterval.Std(); err == nil && least > 0 {
		err = s.q.SetMinInterval(ctx, s.pool, db.SetMinIntervalParams{MinInterval: micros(least), ID: id, Owner: clean(owner)})
	}
	return r, p, err
}

// failUnplannable ends a rotation if its policy is gone.
func (s *Store) failUnplannable(ctx context.Context, id keyturn.ID) error {
	err := s.q.FailUnplannable(ctx, s.pool, db.FailUnplannableParams{Announcement: s.newID(), Now: s.clock(), ID: id})
	if err == nil {
		_, err = s.haltPlan(ctx, id, "", "its policy was removed")
	}
	return err
}

// haltPlan stops a rotation whose plan is saved in part: for its owner or, where none is named, because its policy is gone.
func (s *Store) haltPlan(ctx context.Context, id keyturn.ID, owner, reason string) (int64, error) {
	reason = keyturn.UnsavedTrouble(reason)
	return s.q.HaltPlan(ctx, s.pool, db.HaltPlanParams{
		Reason: reason, Trouble: keyturn.StopTrouble("", reason, false), ID: id, Owner: owner, Now: s.clock(),
	})
}

// SavePlan records the units as they are now and one task for each.
func (s *Store) SavePlan(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit) error {
	if len(units) == 0 {
		return s.FailRotation(ctx, id, owner, nothingSelected)
	}
	return s.savePlan(ctx, id, owner, s.plan(units), 0, nil)
}

// SavePart does so for a part of a large plan.
func (s *Store) SavePart(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit, left int) error {
	return s.savePlan(ctx, id, owner, s.plan(units), left, nil)
}

// savePlan saves a plan, or a part of it behind which units are left, and the rotation begins. then does what else belongs to it.
func (s *Store) savePlan(ctx context.Context, id keyturn.ID, owner string, plan []planned, left int, then func(pgx.Tx) error) error {
	// Units are written in the order of their ids, so that two plans of the same units do not
	// deadlock; tasks in the order in which they are handed out, so that those of one batch are neighbours.
	byID := slices.SortedFunc(slices.Values(plan), func(a, b planned) int { return cmp.Compare(a.ID, b.ID) })
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		claim, err := s.q.LockPlan(ctx, tx, db.LockPlanParams{ID: id, Owner: clean(owner)})
		if errors.Is(err, pgx.ErrNoRows) {
			return keyturn.ErrConflict
		}
		if err != nil {
			return err
		}
		if slices.ContainsFunc(plan, func(u planned) bool { return u.Target != claim.Target }) { // the policy was pointed elsewhere meanwhile
			return fmt.Errorf("the rotation is for target %s by now: %w", claim.Target, keyturn.ErrConflict)
		}
		for chunk := range slices.Chunk(byID, planChunk) {
			if err := s.q.SaveUnits(ctx, tx, saveUnits(chunk)); err != nil {
				return err
			}
		}
		for chunk := range slices.Chunk(plan, planChunk) {
			arg := saveTasks(chunk)
			arg.Rotation, arg.Target, arg.Saved, arg.Now = id, claim.Target, claim.Saved, s.clock()
			arg.RequestedAt, arg.MinInterval, arg.TooSoon = claim.RequestedAt, claim.MinInterval, keyturn.TooSoon
			if err := s.q.SaveTasks(ctx, tx, arg); err != nil {
				return err
			}
		}
		if then != nil {
			if err := then(tx); err != nil {
				return err
			}
		}
		start := db.StartRotationParams{ID: id, PlanLeft: int32Of(left)}
		if last := claim.Saved + plan[len(plan)-1].turn; left > 0 {
			start.PlanTurn = &last
		}
		return s.startRotation(ctx, tx, start, claim)
	})
	if err != nil {
		return fmt.Errorf("saving the plan of rotation %s (%d units): %w", id, len(plan), err)
	}
	return nil
}

func (s *Store) startRotation(ctx context.Context, tx pgx.Tx, start db.StartRotationParams, claim db.LockPlanRow) error {
	if err := s.q.StartRotation(ctx, tx, start); err != nil {
		return err
	}
	if claim.Saved == 0 {
		if err := s.q.AddTarget(ctx, tx, claim.Target); err != nil {
			return err
		}
		started := db.AnnounceParams{ID: s.newID(), Type: "rotation.started", RotationID: start.ID, TaskIds: []keyturn.ID{}}
		if err := s.q.Announce(ctx, tx, started); err != nil {
			return err
		}
	}
	return s.q.AnnounceSkipped(ctx, tx, db.AnnounceSkippedParams{Rotation: start.ID, Saved: claim.Saved})
}

// planned is a unit with its place in the queue.
type planned struct {
	keyturn.Unit
	task keyturn.ID
	turn int32
}

// plan gives every unit, once, a task and a turn, in the order of their turns.
func (s *Store) plan(units []keyturn.Unit) []planned {
	var turns keyturn.Turns
	seen := make(map[string]bool, len(units))
	plan := make([]planned, 0, len(units))
	ids := make([]keyturn.ID, 0, len(units))
	for _, u := range units {
		if seen[u.ID] {
			continue
		}
		seen[u.ID] = true
		u.Reason = clean(u.Reason)
		if !u.Rotatable {
			u.Reason = cmp.Or(u.Reason, "it can't be rotated")
		}
		plan, ids = append(plan, planned{Unit: u, turn: int32Of(turns.Next(&u))}), append(ids, s.newID())
	}
	inTurn(plan, ids)
	return plan
}

// inTurn orders a plan by turn, and its tasks' ids with it.
func inTurn(plan []planned, ids []keyturn.ID) {
	slices.SortStableFunc(plan, func(a, b planned) int { return cmp.Compare(a.turn, b.turn) })
	slices.SortFunc(ids, func(a, b keyturn.ID) int { return bytes.Compare(a[:], b[:]) })
	for i := range plan {
		plan[i].task = ids[i]
	}
}

func saveUnits(plan []planned) db.SaveUnitsParams {
	var arg db.SaveUnitsParams
	for _, u := range plan {
		arg.Ids, arg.Targets, arg.Systems = append(arg.Ids, u.ID), append(arg.Targets, u.Target), append(arg.Systems, string(u.System))
		arg.ProjectIds, arg.ProjectNames = append(arg.ProjectIds, u.ProjectID), append(arg.ProjectNames, clean(u.ProjectName))
		arg.ClusterIds, arg.ClusterNames = append(arg.ClusterIds, u.ClusterID), append(arg.ClusterNames, clean(u.ClusterName))
		arg.Components, arg.Names = append(arg.Components, string(u.Component)), append(arg.Names, clean(u.Name))
		arg.Fcvs, arg.Rotatable = append(arg.Fcvs, clean(u.FCV)), append(arg.Rotatable, u.Rotatable)
		arg.Reasons = append(arg.Reasons, u.Reason)
	}
	return arg
}

func saveTasks(plan []planned) db.SaveTasksParams {
	var arg db.SaveTasksParams
	for _, u := range plan {
		arg.Ids, arg.Turns = append(arg.Ids, u.task), append(arg.Turns, u.turn)
		arg.UnitIds, arg.ProjectIds = append(arg.UnitIds, u.ID), append(arg.ProjectIds, u.ProjectID)
		arg.Rotatable, arg.Reasons = append(arg.Rotatable, u.Rotatable), append(arg.Reasons, u.Reason)
		arg.Delays = append(arg.Delays, micros(u.Delay))
	}
	return arg
}

// FailRotation ends a rotation that can't be planned, and halts one whose plan can't be saved to its end.
func (s *Store) FailRotation(ctx context.Context, id keyturn.ID, owner string, reason string) error {
	reason = cmp.Or(clean(reason), "no reason was given")
	n, err := s.q.EndPlan(ctx, s.pool, db.EndPlanParams{Announcement: s.newID(), Reason: reason, Now: s.clock(), ID: id, Owner: clean(owner)})
	if err == nil && n == 0 && owner != "" {
		n, err = s.haltPlan(ctx, id, clean(owner), reason)
	}
	if err == nil && n == 0 {
		err = keyturn.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("ending rotation %s: %w", id, err)
	}
	return nil
}

// PostponeRotation gives the claim back: somebody may plan it again after the delay. Until then the
// rotation's reason says what it waits for.
func (s *Store) PostponeRotation(ctx context.Context, id keyturn.ID, owner string, reason string, after time.Duration) error {
	n, err := s.q.PostponeRotation(ctx, s.pool, db.PostponeRotationParams{
		Reason: clean(reason), Now: s.clock(), After: micros(after), ID: id, Owner: clean(owner),
	})
	if err == nil && n == 0 {
		err = keyturn.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("postponing rotation %s: %w", id, err)
	}
	return nil
}
