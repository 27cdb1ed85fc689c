package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

// makeMost bounds one call of Make.
func (r *rotator) makeMost(target *keyturn.Target) time.Duration {
	return max(r.timing.MakeMost, target.Timeouts.Request.Std())
}

// toMake reports whether the intent's key has to be made first.
func toMake(j *job, intent keyturn.Intent) bool { return j.maker != nil && !intent.Made() }

// opened is an open intent for which nothing was sent.
type opened struct {
	intent keyturn.Intent
	epoch  int64
	guard  guard         // since just before its leave
	age    time.Duration // since it was written
}

// make has the key made that the intent is about to put into use, makes it durable, and applies. A crash before
// Amend leaves an intent that nothing was applied for: whoever finds it makes the key again, which finds it.
func (r *rotator) make(ctx, stopping context.Context, j *job, o opened) error {
	begin := r.now()
	if o.guard.expired(begin) { // somebody else may be at it
		r.metrics.guarded.Inc()
		return r.finish(ctx, j, keyturn.TaskResult{From: keyturn.TaskIntended, Epoch: o.epoch, State: keyturn.TaskPending, Uncounted: true})
	}
	makeCtx, cancel := context.WithTimeout(ctx, r.makeMost(j.target))
	made, err := j.maker.Make(makeCtx, j.Unit, keyturn.KeyOrder{Task: j.Task, Provided: j.provided}, o.intent)
	cancel()
	r.metrics.observeCall("make", r.now().Sub(begin), err)
	if err != nil {
		return r.notMade(ctx, j, o, r.now().Sub(begin), keyturn.AsSystemError(err, keyturn.KindAmbiguous))
	}
	made.Before, made.Exclusive = o.intent.Before, o.intent.Exclusive
	if made.Data == nil {
		made.Data = []byte("{}") // it says that the key was made also where Want does not
	}
	guard := r.startGuard()
	applyFor := r.timing.SendSlack + j.target.Timeouts.Request.Std()
	err = r.store.Amend(ctx, o.epoch, keyturn.IntentWrite{
		Task: j.Task, Owner: r.owner, Intent: made, ApplyFor: applyFor, Lease: applyFor + r.timing.LeaseMargin,
	})
	switch {
	case errors.Is(err, keyturn.ErrNotFound):
		return nil // somebody took it over
	case errors.Is(err, keyturn.ErrConflict):
		return r.stoppedMaking(ctx, j, o.epoch, made)
	case err != nil:
		return fmt.Errorf("recording the key that was made: %w", err)
	}
	return r.apply(ctx, stopping, j, made, o.epoch, guard)
}

// stoppedMaking ends a task whose rotation was stopped before its change was sent.
func (r *rotator) stoppedMaking(ctx context.Context, j *job, epoch int64, made keyturn.Intent) error {
	reason := "its rotation was stopped, nothing was changed"
	if made.Want != "" && made.Want != made.Before {
		reason += ": key " + made.Want + " was made and is not in use"
	}
	return r.finish(ctx, j, keyturn.TaskResult{From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskPending, Reason: reason, Uncounted: true})
}

// makeAgain goes on with an intent whose key was, or may have been, made, and that nothing was sent for: as soon
// as nothing of the call before can be under way. Whatever the policy says about uncertain changes.
func (r *rotator) makeAgain(ctx, stopping context.Context, j *job) error {
	if j.taken.SettledIn > 0 {
		return r.wait(ctx, j, "waits until nothing of making its key can be under way", min(j.taken.OpenFor, j.taken.SettledIn))
	}
	guard := r.startGuard()
	applyFor := r.timing.SendSlack + r.makeMost(j.target)
	err := r.store.Amend(ctx, j.taken.Epoch, keyturn.IntentWrite{
		Task: j.Task, Owner: r.owner, Intent: j.taken.Intent, ApplyFor: applyFor, Lease: applyFor + r.timing.LeaseMargin,
	})
	switch {
	case errors.Is(err, keyturn.ErrNotFound):
		return nil
	case errors.Is(err, keyturn.ErrConflict):
		return r.stoppedMaking(ctx, j, j.taken.Epoch, j.taken.Intent)
	case err != nil:
		return fmt.Errorf("renewing the intent: %w", err)
	}
	return r.make(ctx, stopping, j, opened{intent: j.taken.Intent, epoch: j.taken.Epoch, guard: guard, age: j.taken.OpenFor})
}

// notMade deals with a Make that failed. Nothing was applied: the task may fail, and is never parked.
func (r *rotator) notMade(ctx context.Context, j *job, o opened, took time.Duration, err *keyturn.SystemError) error {
	r.trouble(ctx, j, err)
	failed := keyturn.TaskResult{From: keyturn.TaskIntended, Epoch: o.epoch, State: keyturn.TaskFailed}
	complete := j.target.Timeouts.Complete
	switch age := o.age + took; {
	case err.Kind == keyturn.KindPermanent && err.Needless:
		return r.needless(ctx, j, o, err)
	case err.Kind == keyturn.KindPermanent:
		failed.Reason = err.Error()
		return r.finish(ctx, j, failed)
	case age > complete.Std() && err.Kind == keyturn.KindTransient:
		failed.Reason = fmt.Sprintf("gave up making its key after %s, nothing was changed: %v", complete, err)
		return r.finish(ctx, j, failed)
	case age > complete.Std():
		failed.Reason = fmt.Sprintf("gave up making its key after %s, the key in use is the one before; one named after the task may exist: %v", complete, err)
		return r.finish(ctx, j, failed)
	case err.Kind == keyturn.KindTransient:
		return r.finish(ctx, j, keyturn.TaskResult{
			From: keyturn.TaskIntended, Epoch: o.epoch, State: keyturn.TaskIntended, Reason: err.Error(),
			Unsent: true, UnsentFor: j.target.Timeouts.Settle.Std(), After: max(err.RetryAfter, min(max(age, time.Second), time.Minute)),
		})
	default:
		return r.finish(ctx, j, keyturn.TaskResult{
			From: keyturn.TaskIntended, Epoch: o.epoch, State: keyturn.TaskIntended, Reason: "its key may have been made: " + err.Error(),
			Unsent: true, After: min(j.target.Timeouts.Settle.Std(), time.Minute),
		})
	}
}

// needless skips a task that has an intent, for which nothing was made and nothing sent. What may have happened is
// never called skipped, so the intent is given back first. Whoever finds the task in between finds the same again.
func (r *rotator) needless(ctx context.Context, j *job, o opened, err *keyturn.SystemError) error {
	if err := r.finish(ctx, j, keyturn.TaskResult{From: keyturn.TaskIntended, Epoch: o.epoch, State: keyturn.TaskPending, Uncounted: true}); err != nil {
		return err
	}
	return r.finish(ctx, j, keyturn.TaskResult{From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: err.Error()})
}
