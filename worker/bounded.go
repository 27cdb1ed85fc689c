package worker

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	callMost = time.Minute      // one call of the database that has no time limit of its own
	saveMost = 10 * time.Minute // saving a plan, which can be large
)

// bounded gives a time limit to the calls that have none of their own. A
// database that hangs, or a connection whose other end is gone without a word,
// must not hold a task or a rotation for as long as TCP keeps hoping. What is
// given up is repeated: every call may be.
type bounded struct{ Store }

func (b bounded) Reintend(ctx context.Context, task keyturn.ID, owner string, epoch int64, applyFor, lease time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.Reintend(ctx, task, owner, epoch, applyFor, lease)
}

func (b bounded) Take(ctx context.Context, task keyturn.ID, owner string, lease, settle time.Duration) (keyturn.Taken, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.Take(ctx, task, owner, lease, settle)
}

func (b bounded) ClaimRotation(ctx context.Context, id keyturn.ID, owner string, lease time.Duration) (keyturn.Rotation, keyturn.Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.ClaimRotation(ctx, id, owner, lease)
}

func (b bounded) SavePlan(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit) error {
	ctx, cancel := context.WithTimeout(ctx, saveMost)
	defer cancel()
	return b.Store.SavePlan(ctx, id, owner, units)
}

func (b bounded) SaveRollout(ctx context.Context, id keyturn.ID, owner string, plan keyturn.RolloutPlan) error {
	ctx, cancel := context.WithTimeout(ctx, saveMost)
	defer cancel()
	return b.Store.SaveRollout(ctx, id, owner, plan)
}

func (b bounded) FailRotation(ctx context.Context, id keyturn.ID, owner, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.FailRotation(ctx, id, owner, reason)
}

func (b bounded) PostponeRotation(ctx context.Context, id keyturn.ID, owner, reason string, after time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.PostponeRotation(ctx, id, owner, reason, after)
}

func (b bounded) Hold(ctx context.Context, target, reason string, hold time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.Hold(ctx, target, reason, hold)
}
