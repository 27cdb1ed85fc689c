package worker

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// finish gives a result to the next group commit, when the one before it is durable, if there is one. Nobody acts on it
// before recorded says that it is, too.
func (r *rotator) finish(ctx context.Context, j *job, result keyturn.TaskResult) error {
	if err := r.recorded(ctx, j); err != nil {
		return err
	}
	result.Task = j.Task
	j.ended = r.now()
	j.result, j.answer = result, r.results.add(ctx, result)
	return nil
}

// recorded waits until the task's result is durable, however long the database takes: a result that is dropped would
// have to be found out again.
func (r *rotator) recorded(ctx context.Context, j *job) error {
	if j.answer == nil { // it led to nothing
		return nil
	}
	for try := 0; ; try++ {
		taken, err := r.results.wait(ctx, j.answer)
		if err == nil {
			r.ended(j, j.result, taken)
			j.answer = nil
			return nil
		}
		if !sleep(ctx, retryAfter(try)) {
			return fmt.Errorf("recording the result %s of task %s: %w", j.result.State, j.Task, err)
		}
		j.answer = r.results.add(ctx, j.result)
	}
}

// ended writes the metrics, and the log event of a task that did not go well.
func (r *rotator) ended(j *job, result keyturn.TaskResult, taken bool) {
	if !taken {
		r.metrics.refused.Inc()
		return
	}
	if !result.State.Final() {
		return
	}
	took := j.ended.Sub(j.started)
	target, _, _, _ := keyturn.SplitUnitID(j.Unit)
	r.metrics.tasks.WithLabelValues(target, string(result.State), string(result.Resolution)).Inc()
	r.metrics.taskSeconds.Observe(took.Seconds())
	if result.State != keyturn.TaskFailed && result.State != keyturn.TaskParked {
		return
	}
	r.failed()
	r.log.Warn("task ended without a new key",
		zap.Stringer("task", j.Task), zap.Stringer("rotation", j.Rotation), zap.String("unit", j.Unit),
		zap.String("state", string(result.State)), zap.String("reason", result.Reason), zap.Duration("took", took))
}

// sleep waits, and reports whether it was not cut short by ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
