package postgres

import (
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
	id, err := s.q.Request(ctx, s.pool, arg)
	created := err == nil
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
		err = s.q.FailUnplannable(ctx, s.pool, db.FailUnplannableParams{Announcement: s.newID(), Now: s.clock(), ID: id})
		return keyturn.Rotation{}, keyturn.Policy{}, cmp.Or(err, keyturn.ErrNotFound)
	}
	if err != nil {
		return keyturn.Rotation{}, keyturn.Policy{}, err
	}
	r, err := rotationOf(row.Rotation)
	if err != nil {
		return keyturn.Rotation{}, keyturn.Policy{}, err
	}
	p, err := policyOf(r.Policy, row.Spec, row.Generation, row.Paused)
	return r, p, err
}

// SavePlan records the units as they are now and one task for each.
func (s *Store) SavePlan(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit) error {
	if len(units) == 0 {
		return s.FailRotation(ctx, id, owner, nothingSelected)
	}
	chunks := s.planChunks(units)
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		target, err := s.q.LockPlan(ctx, tx, db.LockPlanParams{ID: id, Owner: clean(owner)})
		if errors.Is(err, pgx.ErrNoRows) {
			return keyturn.ErrConflict
		}
		if err != nil {
			return err
		}
		for _, chunk := range chunks {
			chunk.Rotation, chunk.Target = id, target
			if err := s.q.SaveUnits(ctx, tx, chunk); err != nil {
				return err
			}
		}
		return s.startRotation(ctx, tx, id, target)
	})
	if err != nil {
		return fmt.Errorf("saving the plan of rotation %s (%d units): %w", id, len(units), err)
	}
	return nil
}

func (s *Store) startRotation(ctx context.Context, tx pgx.Tx, id keyturn.ID, target string) error {
	if err := s.q.AddTarget(ctx, tx, target); err != nil {
		return err
	}
	if err := s.q.StartRotation(ctx, tx, id); err != nil {
		return err
	}
	if err := s.q.Announce(ctx, tx, db.AnnounceParams{ID: s.newID(), Type: "rotation.started", RotationID: id, TaskIds: []keyturn.ID{}}); err != nil {
		return err
	}
	return s.q.AnnounceSkipped(ctx, tx, id)
}

// planned is a unit with its place in the queue.
type planned struct {
	keyturn.Unit
	task keyturn.ID
	turn int32
}

// planChunks gives every unit, once, a task and a turn within its project, and orders them by id, so
// that two plans of the same units do not deadlock. Turns of units that can't be rotated do not
// take a place from those that can.
func (s *Store) planChunks(units []keyturn.Unit) []db.SaveUnitsParams {
	type queue struct {
		project   string
		rotatable bool
	}
	turns := map[queue]int32{}
	seen := make(map[string]bool, len(units))
	plan := make([]planned, 0, len(units))
	for _, u := range units {
		if seen[u.ID] {
			continue
		}
		seen[u.ID] = true
		q := queue{u.ProjectID, u.Rotatable}
		turns[q]++
		plan = append(plan, planned{Unit: u, task: s.newID(), turn: turns[q]})
	}
	slices.SortFunc(plan, func(a, b planned) int { return cmp.Compare(a.ID, b.ID) })
	var chunks []db.SaveUnitsParams
	for chunk := range slices.Chunk(plan, planChunk) {
		chunks = append(chunks, saveUnits(chunk, s.clock()))
	}
	return chunks
}

func saveUnits(plan []planned, now *time.Time) db.SaveUnitsParams {
	arg := db.SaveUnitsParams{Now: now}
	for _, u := range plan {
		arg.TaskIds, arg.Turns = append(arg.TaskIds, u.task), append(arg.Turns, u.turn)
		arg.Ids, arg.Targets, arg.Systems = append(arg.Ids, u.ID), append(arg.Targets, u.Target), append(arg.Systems, string(u.System))
		arg.ProjectIds, arg.ProjectNames = append(arg.ProjectIds, u.ProjectID), append(arg.ProjectNames, clean(u.ProjectName))
		arg.ClusterIds, arg.ClusterNames = append(arg.ClusterIds, u.ClusterID), append(arg.ClusterNames, clean(u.ClusterName))
		arg.Components, arg.Names = append(arg.Components, string(u.Component)), append(arg.Names, clean(u.Name))
		arg.Fcvs, arg.Rotatable = append(arg.Fcvs, clean(u.FCV)), append(arg.Rotatable, u.Rotatable)
		reason := clean(u.Reason)
		if !u.Rotatable {
			reason = cmp.Or(reason, "it can't be rotated")
		}
		arg.Reasons = append(arg.Reasons, reason)
	}
	return arg
}

// FailRotation ends a rotation that can't be planned.
func (s *Store) FailRotation(ctx context.Context, id keyturn.ID, owner string, reason string) error {
	n, err := s.q.EndPlan(ctx, s.pool, db.EndPlanParams{
		Announcement: s.newID(), Reason: cmp.Or(clean(reason), "no reason was given"), Now: s.clock(), ID: id, Owner: clean(owner),
	})
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
