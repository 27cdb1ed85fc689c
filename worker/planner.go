package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	planMost = 30 * time.Minute // the longest that one try to plan may take
	// partMost is how many units of a plan are saved at a time: the keys of the first ones are turned while the others are
	// written down. Fewer cost the database more; with more, the first intents wait longer, for the write lock of SQLite.
	partMost = 512

	// How long planning is tried again while the target is away, from the first try on. Someone who
	// asked by hand is there to look; a schedule outlives an outage, and so does what has begun.
	manualPatience = time.Minute
	otherPatience  = time.Hour
)

// Planner turns a rotation into tasks.
type Planner struct {
	owner   string
	now     func() time.Time
	systems Systems
	store   PlanStore
	planned func(target string) // tells the feeder that there is work
	part    int                 // units of a plan that are saved at a time, or a few more
	at      sync.Map            // the rotations that are being planned here, by id
	timing  Timing              // its PlanLease is renewed while a plan takes longer
	health  *health
	log     *zap.Logger
	metrics *Metrics
}

// Plan returns the units that a rotation of the policy would meet now, each
// rotatable or with the reason why not. It changes nothing.
func (p *Planner) Plan(ctx context.Context, policy keyturn.Policy, only keyturn.Selection) ([]keyturn.Unit, error) {
	sys, _, err := p.systems.System(ctx, policy.Target, 0)
	if err != nil {
		return nil, err
	}
	sel := policy.Select
	if len(only.Projects) > 0 { // asks the target for no more than is needed
		sel.Projects = only.Projects
	}
	found, err := sys.Discover(ctx, sel)
	if err != nil {
		p.health.failed(ctx, policy.Target, keyturn.AsSystemError(err, keyturn.KindTransient))
		return nil, fmt.Errorf("asking target %s for its units: %w", policy.Target, err)
	}
	p.health.answered(ctx, policy.Target)
	wanted, narrowed := policy.Select.Matcher(), only.Matcher()
	units := found[:0]
	for _, u := range found {
		if wanted(u) && narrowed(u) {
			units = append(units, u)
		}
	}
	return units, nil
}

// handle plans the rotation that a delivery names.
func (p *Planner) handle(ctx context.Context, d Delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), planMost+2*time.Minute)
	defer cancel()
	id, err := keyturn.ParseID(string(d.Data()))
	if err != nil {
		reject(ctx, d, p.log, "not a rotation: "+err.Error())
		return
	}
	if err := p.plan(ctx, id); err != nil {
		p.log.Warn("planning left to be tried again", zap.Stringer("rotation", id), zap.Error(err))
		return
	}
	d.Ack()
}

// plan plans one rotation. An error means that the database did not take
// part; everything else is written down in the rotation.
func (p *Planner) plan(ctx context.Context, id keyturn.ID) error {
	// The claim is this process's, so a second message about the rotation would get it, too, and might give it back.
	if _, twice := p.at.LoadOrStore(id, true); twice {
		return nil
	}
	defer p.at.Delete(id)
	rotation, policy, err := p.store.ClaimRotation(ctx, id, p.owner, p.timing.PlanLease)
	if errors.Is(err, keyturn.ErrNotFound) {
		return nil // planned already, or somebody is at it
	}
	if err != nil {
		return fmt.Errorf("claiming the rotation: %w", err)
	}
	planCtx, cancel := context.WithTimeout(ctx, planMost)
	defer cancel()
	stop := KeepLease(planCtx, cancel, p.timing.PlanLease, func(ctx context.Context) error {
		_, _, err := p.store.ClaimRotation(ctx, id, p.owner, p.timing.PlanLease)
		return err
	})
	defer stop()
	begin := time.Now()
	units, err := p.Plan(planCtx, policy, rotation.Only)
	p.metrics.planSeconds.Observe(time.Since(begin).Seconds())
	switch {
	case rotation.State == keyturn.RotationRunning && policy.Target != rotation.Target: // a part is saved
		err = p.store.FailRotation(ctx, id, p.owner, "meanwhile its policy is for target "+policy.Target)
	case err != nil:
		err = p.cannotPlan(ctx, rotation, err)
	case len(units) == 0:
		err = p.store.FailRotation(ctx, id, p.owner, nothingSelected(policy, rotation.Only))
	default:
		spread(policy, rotation, units)
		err = p.save(ctx, rotation, policy.Rollout, units)
	}
	if errors.Is(err, keyturn.ErrConflict) {
		return nil // cancelled, or another planner took it over meanwhile
	}
	return err
}

// save records the plan: in parts, or in the waves of the policy's rollout. One that a planner before this one has begun
// to save in parts goes on so.
func (p *Planner) save(ctx context.Context, r keyturn.Rotation, rollout keyturn.Rollout, units []keyturn.Unit) error {
	if !rollout.Enabled() || r.State == keyturn.RotationRunning {
		return p.saveParts(ctx, r, inParts(units, p.part))
	}
	plan, err := inWaves(rollout, units)
	if err != nil { // a policy that was stored by hand: apply refuses it
		return p.store.FailRotation(ctx, r.ID, p.owner, "the policy's rollout can't be used: "+err.Error())
	}
	if err := p.store.SaveRollout(ctx, r.ID, p.owner, plan); err != nil {
		return err
	}
	p.planned(r.Target)
	return nil
}

// saveParts records a plan whose tasks may all be worked on at once.
func (p *Planner) saveParts(ctx context.Context, r keyturn.Rotation, parts [][]keyturn.Unit) error {
	left := 0
	for _, part := range parts {
		left += len(part)
	}
	for i, part := range parts {
		var err error
		if left -= len(part); i+1 < len(parts) {
			err = p.store.SavePart(ctx, r.ID, p.owner, part, left)
		} else {
			err = p.store.SavePlan(ctx, r.ID, p.owner, part)
		}
		if err != nil {
			return err
		}
		p.planned(r.Target)
	}
	return nil
}

// spread delays the units of a scheduled rotation by their places within the policy's jitter. The keys
// that maxAge asks for are spread already.
func spread(policy keyturn.Policy, rotation keyturn.Rotation, units []keyturn.Unit) {
	jitter := policy.Schedule.Jitter.Std()
	if jitter <= 0 || rotation.Trigger != keyturn.TriggerSchedule || policy.Schedule.MaxAge > 0 {
		return
	}
	for i := range units {
		units[i].Delay = keyturn.Spread(policy.Name, units[i].ID, jitter)
	}
}

func nothingSelected(policy keyturn.Policy, only keyturn.Selection) string {
	reason := "nothing was selected: no unit of target " + policy.Target + " matches the policy's select"
	if len(only.Projects)+len(only.Clusters)+len(only.Components)+len(only.Units) > 0 {
		reason += " and what the trigger narrowed it to"
	}
	return reason + "; see: keyturn plan " + policy.Name
}

func (p *Planner) cannotPlan(ctx context.Context, r keyturn.Rotation, cause error) error {
	err := keyturn.AsSystemError(cause, keyturn.KindPermanent)
	p.log.Warn("rotation can't be planned", zap.Stringer("rotation", r.ID), zap.String("kind", string(err.Kind)), zap.Error(cause))
	if err.Kind == keyturn.KindPermanent {
		return p.store.FailRotation(ctx, r.ID, p.owner, cause.Error())
	}
	since, patience := r.RequestedAt, otherPatience
	for _, at := range []*time.Time{r.StartedAt, r.OpenedAt} { // it may have waited for its window, and begun in the one before
		if at != nil && at.After(since) {
			since = *at
		}
	}
	if byHand := r.Trigger == keyturn.TriggerManual || r.Trigger == keyturn.TriggerRetry; byHand && r.State != keyturn.RotationRunning {
		patience = manualPatience // else keys are turned already, and it is worth more to go on
	}
	if p.now().Sub(since) > patience {
		return p.store.FailRotation(ctx, r.ID, p.owner, fmt.Sprintf("gave up after %s: %v", patience, cause))
	}
	return p.store.PostponeRotation(ctx, r.ID, p.owner, cause.Error(), max(err.RetryAfter, retryAfter(3)))
}
