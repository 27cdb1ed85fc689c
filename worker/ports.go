// Package worker does the work of rotations: it plans a rotation into tasks,
// hands tasks to the queue, turns keys by the protocol of docs/protocol.md and
// announces what happened.
//
// It declares the interfaces it needs and imports no adapter.
package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// System is one control plane, seen through the eyes of the protocol. Errors
// are *keyturn.SystemError where the answer says what they mean.
type System interface {
	// Discover returns the units that the selection selects now, also those that can't
	// be rotated (Rotatable false, with the Reason). It changes nothing.
	Discover(ctx context.Context, sel keyturn.Selection) ([]keyturn.Unit, error)
	// Prepare finds the key in use and whatever the change needs.
	Prepare(ctx context.Context, unit string, task keyturn.ID) (keyturn.Intent, error)
	// Apply sends the one call that changes something, once: no retry, no redirect.
	// An error that is no *keyturn.SystemError of KindTransient or KindPermanent leaves it unknown
	// whether the system changed.
	Apply(ctx context.Context, unit string, intent keyturn.Intent) error
	// Current returns the id of the key in use.
	Current(ctx context.Context, unit string) (string, error)
}

// What a system can do beside this is found by As.

// Maker is a System whose change puts a key into use that has to be made first, elsewhere. It is asked only
// by the one holder of the open intent, and before anything is applied; what it answers is durable before
// the change is sent. Prepare of a Maker leaves Want and Data empty: an intent that has either is not asked
// for again (Intent.Made). Apply and Confirm are called with made intents only.
type Maker interface {
	// Make finds the key that was made for the order, or makes it, and returns the intent with Want, and
	// Data as Apply and Confirm need it. It may be called again after a crash or a lost answer, once
	// nothing of the call before can be under way any more, and then must not make a second key. Where the change
	// itself makes the key (in place), Want stays empty or is Before, and Data says that it was asked: nil Data
	// is kept as {}. ctx ends after a minute, or the target's request timeout if that is longer.
	//
	// An error of KindTransient means that it may be called again at once: nothing is under way. It is, until
	// timeouts.complete has passed since the intent was written. KindPermanent ends the task. Any other error
	// means that something may be under way: it is called again when the target has settled.
	Make(ctx context.Context, unit string, order keyturn.KeyOrder, intent keyturn.Intent) (keyturn.Intent, error)
}

// Confirmer is a System that shows more of a change than the key in use. It is asked instead of Current
// for whether an intent was carried out. What it once showed as taken over (ProgressUnder) is never sent again; it has
// timeouts.complete since the intent was written, then a person must look.
type Confirmer interface {
	Confirm(ctx context.Context, unit string, intent keyturn.Intent) (keyturn.Sight, error)
}

// SnapshotLister is a System that tells which snapshots there are and which key each needs.
type SnapshotLister interface {
	// Snapshots calls yield for each snapshot of the unit that is kept now, and stops when it answers false.
	Snapshots(ctx context.Context, unit string, yield func(keyturn.Snapshot) bool) error
}

// KeyDater is a System that knows when a key was made. It is asked about the first key that is seen of a unit, whose age
// would otherwise only begin then.
type KeyDater interface {
	KeyMade(ctx context.Context, unit, key string) (time.Time, error)
}

// Examiner is a System that tells for each unit which way of turning its key applies, and what it lacks.
type Examiner interface {
	// Examine returns a finding for each unit that the selection selects now, and a check for each project that it
	// selects and that has no unit at all: why it is left out. It changes nothing.
	Examine(ctx context.Context, sel keyturn.Selection) (findings []keyturn.Finding, leftOut []keyturn.Check, err error)
}

// Checker is a System that can tell whether it can be worked with at all: credentials, role, clock, version of
// its API. What it can't find out it says in the checks; Subject is filled in by the caller.
type Checker interface {
	Check(ctx context.Context) []keyturn.Check
}

// ThresholdKeeper is a System that itself tells people from which age on a key should be turned.
type ThresholdKeeper interface {
	// Thresholds returns those of the projects that the selection selects; also an empty one (no ID) of a project
	// that should have one and has none.
	Thresholds(ctx context.Context, sel keyturn.Selection) ([]keyturn.Threshold, error)
	// SetThreshold sets the days of one that Thresholds returned, and changes nothing else of it.
	SetThreshold(ctx context.Context, threshold keyturn.Threshold, days int) error
}

// Retirer is a System that can disable a key that nothing needs any more. It never deletes one.
type Retirer interface {
	// DisableKey disables a key that the unit used once, and succeeds as well when it is disabled already. It
	// refuses a key that the unit uses now.
	DisableKey(ctx context.Context, unit, key string) error
}

// RetireDoubter is a Retirer that sees more than snapshots that may need a key: clusters that are paused and
// take the new key only when they run again.
type RetireDoubter interface {
	// RetireDoubts returns what may still need the key of the unit, one sentence each; none: nothing is seen.
	RetireDoubts(ctx context.Context, unit, key string) ([]string, error)
}

// Systems finds the system of a target. Generation is the target's spec that
// the caller has seen: an older one that is held is loaded anew.
type Systems interface {
	System(ctx context.Context, target string, generation int64) (System, keyturn.Target, error)
}

// TaskStore is where the rotator writes down what it is about to do and what
// came of it. Each call is one durable transaction; answers come in the order
// of the arguments. Calls may be repeated.
type TaskStore interface {
	// Intend records intents. A write whose verdict is not VerdictGo changed nothing.
	// At most one open intent exists for each unit, and for each name that is not empty in Intent.Exclusive.
	Intend(ctx context.Context, writes []keyturn.IntentWrite) ([]keyturn.IntentOutcome, error)
	// Finish records results; with TaskSucceeded also the key record, the unit's key and an
	// announcement. A result that was not taken was refused, and changed nothing.
	Finish(ctx context.Context, results []keyturn.TaskResult) (keyturn.Finished, error)
	// Reintend renews an open intent that owner holds with this epoch, before its change is sent
	// again: a new epoch, one more attempt, ApplyFor and lease counted anew, the same key before; what was accepted
	// stays Taken.Accepted.
	// It answers ErrNotFound when the intent is not owner's any more, and ErrConflict when its
	// rotation was stopped: then nothing is sent any more.
	Reintend(ctx context.Context, task keyturn.ID, owner string, epoch int64, applyFor, lease time.Duration) (int64, error)
	// Amend replaces Want and Data of an open intent that the owner holds with this epoch, before anything was
	// sent for it: ApplyFor and Lease count anew, epoch and attempts stay. Its errors are those of Reintend. Given the
	// intent as it is, it is the leave to make its key again.
	Amend(ctx context.Context, epoch int64, write keyturn.IntentWrite) error
	// ProvidedKey returns the key that the rotation's trigger named for the unit (Selection.Keys); empty: none.
	ProvidedKey(ctx context.Context, rotation keyturn.ID, unit string) (string, error)
	// Take takes over an open intent whose lease has ended. It answers ErrNotFound when the
	// task has no open intent or somebody else holds it.
	Take(ctx context.Context, task keyturn.ID, owner string, lease, settle time.Duration) (keyturn.Taken, error)
}

// PlanStore is where the planner finds its rotations and writes their tasks.
type PlanStore interface {
	// ClaimRotation takes a rotation that is requested, or whose planner's lease ended, or
	// that owner itself is planning (which renews its lease). One whose plan is saved in part is running, and stays so.
	// It answers ErrNotFound when there is nothing to plan.
	ClaimRotation(ctx context.Context, id keyturn.ID, owner string, lease time.Duration) (keyturn.Rotation, keyturn.Policy, error)
	// SavePlan records the units as they are now and one task for each, in one transaction:
	// pending for rotatable units, skipped with the reason for others. The rotation is then
	// running, or failed with the reason if there are no units. Units keep what is known of
	// their keys. It answers ErrConflict if the rotation is not owner's to plan any more.
	SavePlan(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit) error
	// SavePart does the same for a part of a large plan behind which left units are still to be saved. With the first part the
	// rotation runs, and its tasks may be worked on; it stays its planner's, or that of who claims it after him, and does not
	// end until SavePlan has saved the last part, or FailRotation has halted it. Units that have a task already get no second one.
	SavePart(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit, left int) error
	// SaveRollout does the same for a plan in waves: only the tasks of the first are handed out,
	// until AdvanceRollouts opens the next.
	SaveRollout(ctx context.Context, id keyturn.ID, owner string, plan keyturn.RolloutPlan) error
	// FailRotation ends a rotation that can't be planned. One whose plan is saved in part is halted.
	FailRotation(ctx context.Context, id keyturn.ID, owner string, reason string) error
	// PostponeRotation gives the claim back: somebody may plan it again after the delay.
	PostponeRotation(ctx context.Context, id keyturn.ID, owner string, reason string, after time.Duration) error
}

// FeedStore hands out tasks, a bounded number at a time.
type FeedStore interface {
	// Feed hands out tasks of the target, so that at most window of its open tasks are, and
	// returns them: due ones, in the order of their turn (every project's first ones, then
	// every project's next ones, …), of running rotations whose policy is not paused. At most one
	// caller feeds a target at a time; another gets none. It returns none while the target is held.
	// A task is handed out from then on until it ends, a result puts it back, or Requeue does.
	Feed(ctx context.Context, target string, window int) (keyturn.Fed, error)
	// Requeue makes tasks that were handed out longer than age ago, and that nobody holds,
	// available to Feed again. It returns the targets that have tasks to feed: due, and not handed out.
	// Pending tasks of the targets that are busy are spared: they may still wait in the queue.
	Requeue(ctx context.Context, age time.Duration, busy []string) (targets []string, err error)
	// AdvanceRollouts halts running rollouts in which too much went wrong, as StopRotation does, and opens
	// the next wave of those whose waves so far have ended and whose pause is over; where the pause begins
	// only now, the rotation says until when (Wave.NextAt). It returns those that it moved on and those that it halted.
	AdvanceRollouts(ctx context.Context) (moved, halted []keyturn.Rotation, err error)
	// FinishRotations ends running rotations without open tasks, with an announcement each,
	// and returns them. What was put back to pending since its rotation was stopped is skipped.
	FinishRotations(ctx context.Context) ([]keyturn.Rotation, error)
	// Unplanned returns rotations that wait for a planner, oldest first.
	Unplanned(ctx context.Context, limit int) ([]keyturn.ID, error)
	// KeyAges sums up the keys of each target that has units.
	KeyAges(ctx context.Context) ([]keyturn.KeyAge, error)
	// Hold keeps a target's tasks from being handed out for the time given. A shorter hold
	// does not shorten a longer one.
	Hold(ctx context.Context, target, reason string, hold time.Duration) error
}

// AnnounceStore is the outbox.
type AnnounceStore interface {
	// Unannounced returns the oldest announcements that nobody else holds and holds them for the
	// lease.
	Unannounced(ctx context.Context, limit int, lease time.Duration) ([]keyturn.Announcement, error)
	// AnnouncedTasks returns the tasks with the key records they made; a record's Until is set
	// when the same task made the next one.
	AnnouncedTasks(ctx context.Context, tasks []keyturn.ID) ([]keyturn.Task, []keyturn.KeyRecord, error)
	// AnnouncedKeys returns key records that no task made.
	AnnouncedKeys(ctx context.Context, keys []keyturn.ID) ([]keyturn.KeyRecord, error)
	// AnnouncedRetired returns keys that were disabled.
	AnnouncedRetired(ctx context.Context, keys []keyturn.ID) ([]keyturn.RetiredKey, error)
	// Rotation returns a rotation with its counts, without its tasks.
	Rotation(ctx context.Context, id keyturn.ID) (keyturn.Rotation, error)
	// Notice returns a notice of alerts.
	Notice(ctx context.Context, id keyturn.ID) (keyturn.Notice, error)
	// Announced removes announcements that were published.
	Announced(ctx context.Context, ids []keyturn.ID) error
}

// TriggerStore turns requests into rotations.
type TriggerStore interface {
	// Request inserts a rotation, or finds the one that the same Slot or TriggerID made before
	// (created false). An unknown policy is ErrNotFound; a TriggerID that was used
	// for another policy is ErrConflict.
	Request(ctx context.Context, req keyturn.Request) (r keyturn.Rotation, created bool, err error)
}

// Delivery is one message to work on. Exactly one of Ack and Reject ends it;
// a delivery that is dropped comes again.
type Delivery interface {
	Data() []byte
	// Key identifies the message among all that were ever published: the same at each delivery.
	Key() string
	// Again reports that the message may have been delivered before.
	Again() bool
	// Ack tells the bus that the message is dealt with: what it led to is durable.
	Ack()
	// Reject moves the message to the dead letter with the reason.
	Reject(ctx context.Context, reason string) error
}

// Queue carries tasks and wake-ups. Losing everything in it loses no work.
type Queue interface {
	// PublishTasks hands tasks of one target to the workers, all or none: each bundle in one message.
	PublishTasks(ctx context.Context, target string, bundles [][]keyturn.QueuedTask) error
	// ConsumeTasks calls handle, in its own goroutine for each, for the messages with the target's tasks, with at
	// most concurrency of them unfinished over all workers. It blocks until ctx ends, then
	// waits for the handlers. The bus keeps a delivery ours as long as handle runs.
	ConsumeTasks(ctx context.Context, target string, concurrency int, handle func(context.Context, Delivery)) error
	// Waiting returns how many messages with tasks of the target are in the queue and were not delivered yet.
	Waiting(ctx context.Context, target string) (int, error)
	// PublishRotation wakes a planner: the message is the id in its 36 character form.
	PublishRotation(ctx context.Context, id keyturn.ID) error
	// ConsumeRotations does for rotations what ConsumeTasks does for tasks.
	ConsumeRotations(ctx context.Context, concurrency int, handle func(context.Context, Delivery)) error
	// ConsumeTriggers does for manual triggers what ConsumeTasks does for tasks.
	ConsumeTriggers(ctx context.Context, concurrency int, handle func(context.Context, Delivery)) error
	// PublishEvents publishes CloudEvents, in their order. Those of one announcement, which stand together, are stored
	// all or none; a repetition within a minute is stored once.
	PublishEvents(ctx context.Context, events []Event) error
}

// Event is a CloudEvent to publish as PREFIX.event.Type.
type Event struct {
	ID   string
	Type string // "task.succeeded"
	Data []byte // the whole CloudEvent, structured JSON

	Announcement keyturn.ID // what told of it; zero: nothing that tells of others, too

	Order  string          // webhooks are told events of the same order one after the other; empty: in any
	Notice *keyturn.Notice // of an alert.* event
}

// reject moves a message that can't be handled to the dead letter. When that
// does not succeed, the message comes again.
func reject(ctx context.Context, d Delivery, log *zap.Logger, reason string) bool {
	if err := d.Reject(ctx, reason); err != nil {
		log.Warn("moving a message to the dead letter", zap.String("reason", reason), zap.Error(err))
		return false
	}
	log.Warn("message moved to the dead letter", zap.String("reason", reason))
	return true
}
