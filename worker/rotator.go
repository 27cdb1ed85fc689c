package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	// confirmPatience is how long a task keeps its place in the queue while the new key does not
	// show; after it the task is put back and confirmed later.
	confirmPatience = 5 * time.Second
	confirmFirst    = 20 * time.Millisecond
	// applyMost is how often a change may be sent for one task before a person must look.
	applyMost = 5
	// handTimeout bounds one task: no step of it waits for longer in sum.
	handTimeout = 10 * time.Minute
	// notYet is why a task waits whose change was accepted.
	notYet = "accepted, but the new key does not show yet"
)

// rotator carries out tasks by the protocol of docs/protocol.md.
type rotator struct {
	owner   string // names this process in leases
	now     func() time.Time
	systems Systems
	store   TaskStore
	hold    func(ctx context.Context, target, reason string, d time.Duration)
	gates   *gates
	flights flights
	turns   turns
	timing  Timing
	failed  func() // called when a task has failed or was parked: it may halt a rollout
	health  *health
	log     *zap.Logger
	metrics *Metrics

	intents *batcher[keyturn.IntentWrite, keyturn.IntentOutcome]
	results *batcher[keyturn.TaskResult, bool]
}

// job is one task of a delivery on its way through the protocol.
type job struct {
	keyturn.QueuedTask
	sys     System
	target  *keyturn.Target // which is shared with the task that looked at it ahead
	gate    *gate
	started time.Time
	ended   time.Time     // its protocol; the result may not be durable yet
	taken   keyturn.Taken // when the task was found with an open intent
	ahead   ahead

	message  *message
	apart    bool      // the message came again
	patience time.Time // until when it may wait for a place; zero: for ever
	places   *places   // in one of which it is worked on

	prepareTook time.Duration // what asking for its key took

	result keyturn.TaskResult
	answer *answer[bool] // to the result; nil: there is none

	maker    Maker  // nil: the system makes its keys by itself
	provided string // with maker: the key that the trigger named
}

// work works on one task of a delivery, up to its result.
func (r *rotator) work(ctx, stopping context.Context, j *job) error {
	target, _, _, err := keyturn.SplitUnitID(j.Unit)
	if err != nil { // ParseQueuedTasks refuses it
		return err
	}
	if !r.flights.begin(j.Task) { // the one that works on it ends it, whatever the database's clock says of its lease
		return nil
	}
	defer r.flights.end(j.Task)
	r.metrics.inFlight.Inc()
	defer r.metrics.inFlight.Dec()
	j.started = r.now()
	j.gate = r.gates.of(target)
	if err = r.dial(ctx, j, target); err != nil {
		err = r.unusable(ctx, j, target, err)
	} else {
		err = r.run(ctx, stopping, j)
	}
	if err != nil {
		r.log.Warn("task left to be delivered again", zap.Stringer("task", j.Task), zap.String("unit", j.Unit), zap.Error(err))
	}
	return err
}

// dial finds the task's system and target.
func (r *rotator) dial(ctx context.Context, j *job, name string) error {
	sys, target, err := r.systems.System(ctx, name, j.Generation)
	if j.sys = sys; j.target == nil || j.target.Generation != target.Generation {
		own := target // and not target, which would be one more for each task
		j.target = &own
	}
	return err
}

// unusable deals with a task whose target can't be called at all. A target
// that is gone ends the task; otherwise, for example when a secret is missing,
// the target is held until someone mends it.
func (r *rotator) unusable(ctx context.Context, j *job, target string, cause error) error {
	err := keyturn.AsSystemError(cause, keyturn.KindTransient)
	if err.Kind == keyturn.KindPermanent && !err.Target && j.State == keyturn.TaskPending {
		return r.finish(ctx, j, keyturn.TaskResult{From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: cause.Error()})
	}
	r.health.unusable(ctx, target, cause)
	r.hold(ctx, target, cause.Error(), gateLongest)
	return r.putBack(ctx, j, keyturn.TaskResult{Reason: cause.Error(), After: gateLongest})
}

func (r *rotator) run(ctx, stopping context.Context, j *job) error {
	if maker, ok := As[Maker](j.sys); ok {
		j.maker = maker
		var err error
		if j.provided, err = r.store.ProvidedKey(ctx, j.Rotation, j.Unit); err != nil && !errors.Is(err, keyturn.ErrNotFound) {
			return err
		}
	}
	if j.State == keyturn.TaskIntended {
		return r.resume(ctx, stopping, j)
	}
	return r.turn(ctx, stopping, j)
}

// turn takes a task that has no intent through the whole protocol.
func (r *rotator) turn(ctx, stopping context.Context, j *job) error {
	if j.late(r.now()) {
		return r.putBack(ctx, j, keyturn.TaskResult{Anew: true})
	}
	if held := j.gate.held(r.now()); held > 0 { // it was in the queue already
		return r.putBack(ctx, j, keyturn.TaskResult{Reason: "the target is held", After: held + retryAfter(0)})
	}
	intent, err := r.prepared(ctx, j)
	if err != nil {
		return r.failedBefore(ctx, j, keyturn.AsSystemError(err, keyturn.KindTransient))
	}
	guard := r.startGuard()
	applyFor := r.timing.SendSlack + j.target.Timeouts.Request.Std()
	if toMake(j, intent) {
		applyFor = r.timing.SendSlack + r.makeMost(j.target)
	}
	leave := r.intents.add(ctx, keyturn.IntentWrite{
		Task: j.Task, Unit: j.Unit, Owner: r.owner, Intent: intent, ApplyFor: applyFor, Lease: applyFor + r.timing.LeaseMargin,
	})
	r.lookAhead(ctx, stopping, j)
	outcome, err := r.intents.wait(ctx, leave)
	if err != nil {
		return fmt.Errorf("recording the intent: %w", err)
	}
	switch outcome.Verdict {
	case keyturn.VerdictGo:
		if intent.Exclusive != "" {
			r.turns.goes(intent.Exclusive, j.Unit)
		}
		if toMake(j, intent) {
			return r.make(ctx, stopping, j, opened{intent: intent, epoch: outcome.Epoch, guard: guard})
		}
		return r.apply(ctx, stopping, j, intent, outcome.Epoch, guard)
	case keyturn.VerdictTaken:
		return r.resume(ctx, stopping, j)
	case keyturn.VerdictBusy:
		return r.busy(ctx, j, intent)
	case keyturn.VerdictTurned:
		return r.finish(ctx, j, keyturn.TaskResult{
			From: keyturn.TaskPending, State: keyturn.TaskSkipped,
			Reason: "already turned: the key is newer than this rotation's request",
		})
	case keyturn.VerdictSoon:
		return r.finish(ctx, j, keyturn.TaskResult{
			From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: keyturn.TooSoon,
		})
	case keyturn.VerdictHeld:
		return r.putBack(ctx, j, keyturn.TaskResult{})
	case keyturn.VerdictOther:
		r.misnamed(j)
		return nil
	default: // VerdictDone: the row has ended, the message came late
		return nil
	}
}

func (r *rotator) prepare(ctx context.Context, j *job, most time.Duration) (keyturn.Intent, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	begin := r.now()
	intent, err := j.sys.Prepare(ctx, j.Unit, j.Task)
	j.prepareTook = r.now().Sub(begin)
	r.metrics.observeCall("prepare", j.prepareTook, err)
	if err == nil {
		r.answered(ctx, j)
	}
	return intent, err
}

// guard measures the time since just before an intent was written, on both
// clocks: the monotonic one stands still while a machine is suspended, the wall
// clock can be set back.
type guard struct {
	mono  time.Time
	wall  time.Time
	slack time.Duration
}

func (r *rotator) startGuard() guard {
	now := r.now()
	return guardFrom(now, r.timing.SendSlack)
}

func guardFrom(now time.Time, slack time.Duration) guard {
	return guard{mono: now, wall: now.Round(0), slack: slack}
}

func (g guard) expired(now time.Time) bool {
	return now.Sub(g.mono) > g.slack || now.Round(0).Sub(g.wall) > g.slack || now.Round(0).Before(g.wall)
}

// apply sends the one call that changes something. The intent is durable.
func (r *rotator) apply(ctx, stopping context.Context, j *job, intent keyturn.Intent, epoch int64, g guard) error {
	back := notMade(j, epoch)
	sendCtx, cancel := context.WithTimeout(ctx, j.target.Timeouts.Request.Std())
	defer cancel()
	begin := r.now()
	if g.expired(begin) {
		r.metrics.guarded.Inc()
		return r.finish(ctx, j, back)
	}
	err := j.sys.Apply(sendCtx, j.Unit, intent)
	r.metrics.observeCall("apply", r.now().Sub(begin), err)
	if err == nil {
		r.answered(ctx, j)
		return r.confirm(ctx, stopping, j, intent, keyturn.TaskResult{Epoch: epoch, Resolution: keyturn.ResolutionConfirmed, Answered: true})
	}
	failure := keyturn.AsSystemError(err, keyturn.KindAmbiguous)
	r.trouble(ctx, j, failure)
	switch failure.Kind {
	case keyturn.KindTransient: // proven not sent, or refused before it was done
		back.Reason, back.Failed, back.After = failure.Error(), !failure.Target && !failure.Waits, max(retryAfter(j.Failures), failure.RetryAfter)
		if back.Failed && j.Failures >= retryMost {
			return r.giveUp(ctx, j, epoch, fmt.Sprintf("gave up after %d tries: %v", j.Failures+1, failure))
		}
		return r.finish(ctx, j, back)
	case keyturn.KindPermanent:
		return r.giveUp(ctx, j, epoch, failure.Error())
	default:
		return r.afterAmbiguous(ctx, j, intent, epoch, failure)
	}
}

// afterAmbiguous looks once whether the change shows. If not, the task waits
// until the system has settled; only then may the change be sent again.
func (r *rotator) afterAmbiguous(ctx context.Context, j *job, intent keyturn.Intent, epoch int64, cause *keyturn.SystemError) error {
	settle := j.target.Timeouts.Settle.Std()
	r.flights.sent(j.Task, settle)
	sight, err := r.look(ctx, j, intent)
	switch {
	case err == nil && sight.Progress == keyturn.ProgressDone:
		return r.succeed(ctx, j, epoch, keyturn.ResolutionInferred, sight.Key)
	case err == nil && sight.Progress == keyturn.ProgressUnder:
		return r.underWay(ctx, j, epoch, sight, 0)
	}
	return r.finish(ctx, j, keyturn.TaskResult{
		From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskIntended,
		Reason: "outcome unknown: " + cause.Error(), Unsent: true, After: min(settle, time.Second),
		// Agents may be busy for long; for ever, it counts.
		Uncounted: cause.Earlier && j.taken.OpenFor <= j.target.Timeouts.Complete.Std(),
	})
}

// confirm asks for the key until the change shows. result says what is known so far.
func (r *rotator) confirm(ctx, stopping context.Context, j *job, intent keyturn.Intent, result keyturn.TaskResult) error {
	deadline := r.now().Add(min(confirmPatience, j.target.Timeouts.Verify.Std()))
	for wait := confirmFirst; ; wait *= 2 {
		sight, err := r.look(ctx, j, intent)
		switch {
		case err == nil && sight.Progress == keyturn.ProgressDone:
			return r.succeed(ctx, j, result.Epoch, result.Resolution, sight.Key)
		case err == nil && sight.Progress == keyturn.ProgressUnder:
			return r.underWay(ctx, j, result.Epoch, sight, 0)
		case err != nil:
			r.trouble(ctx, j, keyturn.AsSystemError(err, keyturn.KindTransient))
		}
		if r.now().Add(wait).After(deadline) || !sleep(stopping, wait) {
			break
		}
	}
	result.From, result.State, result.Unsent = keyturn.TaskIntended, keyturn.TaskIntended, true
	result.Reason, result.After, result.Resolution = notYet, confirmPatience, ""
	return r.finish(ctx, j, result)
}

func (r *rotator) succeed(ctx context.Context, j *job, epoch int64, how keyturn.Resolution, key string) error {
	return r.finish(ctx, j, keyturn.TaskResult{
		From: keyturn.TaskIntended, Epoch: epoch, State: keyturn.TaskSucceeded, Resolution: how, KeyAfter: key,
	})
}

// failedBefore deals with an error before anything was changed or intended.
func (r *rotator) failedBefore(ctx context.Context, j *job, err *keyturn.SystemError) error {
	r.trouble(ctx, j, err)
	switch {
	case err.Kind == keyturn.KindPermanent && err.Needless:
		return r.finish(ctx, j, keyturn.TaskResult{From: keyturn.TaskPending, State: keyturn.TaskSkipped, Reason: err.Error()})
	case err.Kind == keyturn.KindPermanent:
		return r.finish(ctx, j, keyturn.TaskResult{From: keyturn.TaskPending, State: keyturn.TaskFailed, Reason: err.Error()})
	case err.Target || err.Waits: // not this task's fault: it may wait as long as the target is away
		return r.putBack(ctx, j, keyturn.TaskResult{Reason: err.Error(), After: max(err.RetryAfter, retryAfter(0))})
	case j.Failures >= retryMost:
		return r.finish(ctx, j, keyturn.TaskResult{
			From: keyturn.TaskPending, State: keyturn.TaskFailed,
			Reason: fmt.Sprintf("gave up after %d tries: %v", j.Failures+1, err),
		})
	default:
		return r.putBack(ctx, j, keyturn.TaskResult{Reason: err.Error(), Failed: true, After: max(err.RetryAfter, retryAfter(j.Failures))})
	}
}

// answered notes that a call to the target succeeded.
func (r *rotator) answered(ctx context.Context, j *job) {
	j.gate.success()
	r.health.answered(ctx, j.target.Name)
}

// trouble tells the target's gate, and holds the target in the database when
// the gate says so.
func (r *rotator) trouble(ctx context.Context, j *job, err *keyturn.SystemError) {
	r.metrics.errors.WithLabelValues(j.target.Name, err.Code).Inc()
	r.health.failed(ctx, j.target.Name, err)
	if d := j.gate.failure(err, r.now()); d > 0 {
		r.hold(ctx, j.target.Name, err.Error(), d)
	}
}

func (r *rotator) putBack(ctx context.Context, j *job, result keyturn.TaskResult) error {
	result.From, result.State = keyturn.TaskPending, keyturn.TaskPending
	if j.State == keyturn.TaskIntended {
		return nil // unusable target: the row stays as it is, the sweeper hands it out again
	}
	return r.finish(ctx, j, result)
}
