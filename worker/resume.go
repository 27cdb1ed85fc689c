package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// resume goes on with a task that has an open intent: it never starts by
// changing anything.
func (r *rotator) resume(ctx, stopping context.Context, j *job) error {
	timeouts := j.target.Timeouts
	lease := r.timing.SendSlack + 2*readMost(j) + r.timing.LeaseMargin
	taken, err := r.store.Take(ctx, j.Task, r.owner, lease, timeouts.Settle.Std())
	if errors.Is(err, keyturn.ErrNotFound) {
		return nil // ended, or somebody works on it: the sweeper hands it out again if need be
	}
	if err != nil {
		return fmt.Errorf("taking over the intent: %w", err)
	}
	if taken.Unit != j.Unit { // its lease ends, and it is handed out as it is
		r.misnamed(j)
		return nil
	}
	taken.SettledIn = max(taken.SettledIn, r.flights.settledIn(j.Task))
	j.taken = taken
	if toMake(j, taken.Intent) {
		return r.makeAgain(ctx, stopping, j)
	}
	sight, err := r.look(ctx, j, taken.Intent)
	if err != nil {
		return r.cannotLook(ctx, j, keyturn.AsSystemError(err, keyturn.KindTransient))
	}
	key, done, answered := sight.Key, sight.Progress == keyturn.ProgressDone, taken.AnsweredFor >= 0
	switch {
	case done && answered:
		return r.succeed(ctx, j, taken.Epoch, keyturn.ResolutionConfirmed, key)
	case done:
		return r.succeed(ctx, j, taken.Epoch, keyturn.ResolutionInferred, key)
	case sight.Progress == keyturn.ProgressUnder:
		return r.underWay(ctx, j, taken.Epoch, sight, taken.OpenFor)
	case answered && sight.Again && j.Uncertain != keyturn.UncertainPark && taken.Attempts < applyMost:
		return r.reapply(ctx, stopping, j)
	case answered && taken.AnsweredFor > timeouts.Verify.Std():
		return r.park(ctx, j, fmt.Sprintf("the system accepted the change but still shows key %s after %s", key, timeouts.Verify))
	case answered:
		return r.wait(ctx, j, notYet, min(taken.AnsweredFor, timeouts.Verify.Std()-taken.AnsweredFor))
	case taken.SettledIn > 0:
		return r.wait(ctx, j, "outcome unknown: waits until the target must show the change, if it was sent", min(taken.OpenFor, taken.SettledIn))
	case j.Uncertain == keyturn.UncertainPark:
		return r.park(ctx, j, fmt.Sprintf("outcome unknown: the change may have been sent, and the system still shows key %s", key))
	case taken.Attempts >= applyMost:
		return r.park(ctx, j, fmt.Sprintf("outcome unknown after %d attempts: the system still shows key %s", taken.Attempts, key))
	default:
		return r.reapply(ctx, stopping, j)
	}
}

// reapply sends the change again: the system has settled and shows the key
// from before.
func (r *rotator) reapply(ctx, stopping context.Context, j *job) error {
	g := r.startGuard()
	applyFor := r.timing.SendSlack + j.target.Timeouts.Request.Std()
	epoch, err := r.store.Reintend(ctx, j.Task, r.owner, j.taken.Epoch, applyFor, applyFor+r.timing.LeaseMargin)
	if errors.Is(err, keyturn.ErrNotFound) {
		return nil
	}
	if errors.Is(err, keyturn.ErrConflict) && j.taken.Accepted { // agents may have turned the key before it was taken back
		return r.park(ctx, j, fmt.Sprintf("its rotation was stopped: the system had accepted the change, and shows key %s again", j.taken.Intent.Before))
	}
	if errors.Is(err, keyturn.ErrConflict) { // stopped; the system has settled, so nothing was changed
		return r.finish(ctx, j, keyturn.TaskResult{
			From: keyturn.TaskIntended, Epoch: j.taken.Epoch, State: keyturn.TaskPending, Reason: "its rotation was stopped, nothing was changed",
		})
	}
	if err != nil {
		return fmt.Errorf("renewing the intent: %w", err)
	}
	return r.apply(ctx, stopping, j, j.taken.Intent, epoch, g)
}

// notMade is what becomes of a task whose change is proven not to have been made by sending it now. If the system had
// accepted it before, somebody took it back since, and nobody knows what was done in between: the intent stays open.
func notMade(j *job, epoch int64) keyturn.TaskResult {
	back := keyturn.TaskResult{From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskPending, Uncounted: true}
	if j.taken.Accepted {
		back.State, back.Unsent = keyturn.TaskIntended, true
		back.Uncounted = j.taken.OpenFor <= j.target.Timeouts.Complete.Std() // else it would go on for ever
	}
	return back
}

// giveUp ends a task whose change is not made by sending it again. What was accepted before is for a person to judge.
func (r *rotator) giveUp(ctx context.Context, j *job, epoch int64, reason string) error {
	end := keyturn.TaskResult{From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskFailed, Reason: reason}
	if j.taken.Accepted {
		end.State, end.Reason = keyturn.TaskParked, "the system had accepted the change before it was taken back, and now: "+reason
	}
	return r.finish(ctx, j, end)
}

// cannotLook deals with an open intent whose outcome can't be asked for now.
func (r *rotator) cannotLook(ctx context.Context, j *job, err *keyturn.SystemError) error {
	r.trouble(ctx, j, err)
	if err.Kind == keyturn.KindPermanent && !err.Target {
		return r.park(ctx, j, "outcome unknown: "+err.Error())
	}
	return r.wait(ctx, j, "outcome unknown, and it can't be asked for: "+err.Error(), max(err.RetryAfter, j.taken.OpenFor))
}

// wait puts an open intent back to be looked at again, at the latest in a minute.
func (r *rotator) wait(ctx context.Context, j *job, reason string, after time.Duration) error {
	return r.finish(ctx, j, keyturn.TaskResult{
		From: keyturn.TaskIntended, Epoch: j.taken.Epoch, State: keyturn.TaskIntended, Reason: reason,
		After: min(max(after, confirmFirst), time.Minute),
	})
}

func (r *rotator) park(ctx context.Context, j *job, reason string) error {
	return r.finish(ctx, j, keyturn.TaskResult{
		From: keyturn.TaskIntended, Epoch: j.taken.Epoch, State: keyturn.TaskParked, Reason: reason,
	})
}

// misnamed tells of a message that names another unit than that of its task, whose row the sweeper hands out again.
func (r *rotator) misnamed(j *job) {
	r.log.Error("a message named another unit than its task's: nothing was done; see who but Keyturn may publish to keyturn.task.>",
		zap.Stringer("task", j.Task), zap.String("named", j.Unit))
}
