package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	// aheadFor is how long the key that was asked for ahead counts as the one in use.
	aheadFor = time.Second
	// aheadMost is how long the target may take to answer for a look ahead to be worth it: the intent of the task
	// before waits for it.
	aheadMost = 250 * time.Millisecond
)

// ahead is what a task was prepared with while the intent of the one before it was made durable.
type ahead struct {
	intent     keyturn.Intent
	guard      guard // since just before it was asked for
	generation int64 // of the target's spec; 0: it was not asked for
}

// lookAhead prepares the task that has waited longest, while the place at the target has nothing else to do: the intent of
// this one is being written. Whatever goes wrong is found out again when that one's turn has come.
func (r *rotator) lookAhead(ctx, stopping context.Context, j *job) {
	if j.maker != nil || j.prepareTook > aheadMost || stopping.Err() != nil || j.gate.held(r.now()) > 0 {
		return
	}
	next := j.places.toLookAt()
	if next == nil {
		return
	}
	defer j.places.lookedAt(next)
	defer func() { // this task has nothing to do with it, and its intent is being written: it goes on
		if value := recover(); value != nil {
			r.log.Error("looking ahead at a task panicked", zap.Stringer("task", next.Task), zap.String("unit", next.Unit), zap.Any("panic", value))
		}
	}()
	if next.late(r.now()) || next.State != keyturn.TaskPending || next.message.left() != nil {
		return
	}
	g := guardFrom(r.now(), aheadFor)
	next.sys, next.target, next.gate = j.sys, j.target, j.gate
	if intent, err := r.prepare(ctx, next, aheadMost); err == nil {
		next.ahead = ahead{intent, g, j.target.Generation}
	}
}

// prepared returns what the task was prepared with ahead, unless that was too long ago by either clock or the target was changed
// since, or prepares it now.
func (r *rotator) prepared(ctx context.Context, j *job) (keyturn.Intent, error) {
	if a := j.ahead; a.generation != 0 && a.generation == j.target.Generation && !a.guard.expired(r.now()) {
		return a.intent, nil
	}
	return r.prepare(ctx, j, readMost(j))
}
