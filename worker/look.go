package worker

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

// look asks the system how far it has carried an intent out.
func (r *rotator) look(ctx context.Context, j *job, intent keyturn.Intent) (keyturn.Sight, error) {
	ctx, cancel := context.WithTimeout(ctx, readMost(j))
	defer cancel()
	begin := r.now()
	sight, err := sightOf(ctx, j, intent)
	r.metrics.observeCall("confirm", r.now().Sub(begin), err)
	if err == nil {
		r.answered(ctx, j)
	}
	return sight, err
}

func sightOf(ctx context.Context, j *job, intent keyturn.Intent) (keyturn.Sight, error) {
	if confirmer, ok := As[Confirmer](j.sys); ok {
		sight, err := confirmer.Confirm(ctx, j.Unit, intent)
		if err == nil && sight.Progress == keyturn.ProgressDone {
			sight.Key = cmp.Or(sight.Key, intent.Want, intent.Before) // the history needs one
		}
		return sight, err
	}
	key, err := j.sys.Current(ctx, j.Unit)
	if err == nil && intent.ChangedBy(key) {
		return keyturn.Sight{Key: key, Progress: keyturn.ProgressDone}, nil
	}
	return keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}, err
}

// readMost bounds what only reads. Systems that show more than the key in use ask for more than one thing.
func readMost(j *job) time.Duration {
	most := j.target.Timeouts.Request.Std()
	if _, ok := As[Confirmer](j.sys); ok {
		most *= 3
	}
	return most
}

// underWay waits for a change that the system has taken over, and so accepted, however its answer was lost:
// from now on it is not sent again.
func (r *rotator) underWay(ctx context.Context, j *job, epoch int64, sight keyturn.Sight, openFor time.Duration) error {
	note := cmp.Or(sight.Note, "the system has taken the change over and is not through with it")
	result := keyturn.TaskResult{
		From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended,
		Reason: note, Answered: true, Unsent: true, After: min(max(openFor/4, time.Second), time.Minute), // others may wait for it
	}
	if complete := j.target.Timeouts.Complete; openFor > complete.Std() {
		result = keyturn.TaskResult{
			From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskParked,
			Reason: fmt.Sprintf("the change is still under way after %s: %s", complete, note),
		}
	}
	return r.finish(ctx, j, result)
}

// busy waits for another intent to be closed.
func (r *rotator) busy(ctx context.Context, j *job, intent keyturn.Intent) error {
	if intent.Exclusive == "" {
		return r.putBack(ctx, j, keyturn.TaskResult{Reason: "waits: another rotation is at work on the unit", After: retryAfter(3)})
	}
	return r.putBack(ctx, j, keyturn.TaskResult{
		Reason: "waits for its turn: another task is changing " + intent.Exclusive, After: r.turns.wait(intent.Exclusive, j.Unit, r.now()),
	})
}
