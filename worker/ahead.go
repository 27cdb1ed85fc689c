package worker

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

// ahead is what a task was prepared with while the intent of the one before it was made durable.
type ahead struct {
	intent     keyturn.Intent
	at         time.Time // when it was asked for; zero: it was not
	generation int64     // of the target's spec
}

// lookAhead prepares the next task of the delivery, while the place at the target has nothing else to do: the intent of
// this one is being written. Whatever goes wrong is found out again when the next one's turn has come.
func (r *rotator) lookAhead(ctx, stopping context.Context, j *job) {
	if j.next == nil || j.maker != nil || stopping.Err() != nil || j.gate.held(r.now()) > 0 {
		return
	}
	at := r.now()
	j.next.sys, j.next.target, j.next.gate = j.sys, j.target, j.gate
	// The intent that is being written allows a change for so long only.
	if intent, err := r.prepare(ctx, j.next, min(r.timing.SendSlack/2, readMost(j))); err == nil {
		j.next.ahead = ahead{intent, at, j.target.Generation}
	}
}

// prepared returns what the task was prepared with ahead, if that is not older than a change may be behind its intent and the
// target was not changed since, or prepares it now.
func (r *rotator) prepared(ctx context.Context, j *job) (keyturn.Intent, error) {
	now, a := r.now(), j.ahead
	if !a.at.IsZero() && !now.Before(a.at) && now.Sub(a.at) < r.timing.SendSlack && a.generation == j.target.Generation {
		return a.intent, nil
	}
	return r.prepare(ctx, j, readMost(j))
}
