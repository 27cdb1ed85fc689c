package keyturn

import "time"

// Intent is what a task writes down durably before it changes anything.
type Intent struct {
	Before string // the key in use before the change
	Want   string // the key that the change makes the system use; empty: the system chooses, or it is still to be made
	Data   []byte // what else the change needs to be found again; JSON or nil
	// Exclusive names what only one open intent may change at a time, over all units: a project whose
	// configuration is replaced as a whole. Empty: nothing but the unit. It is asked for by the intent's
	// write and lasts until the intent is closed. Who takes the intent over is not told.
	Exclusive string
}

// KeyOrder asks for the key that a task is going to put into use.
type KeyOrder struct {
	Task ID // what is made carries its name, so that it is found again
	// Provided is the key that someone else made for the unit and named in the trigger; empty: none.
	Provided string
}

// Progress is how far a system has carried out a change.
type Progress string

// What can be seen of a change.
const (
	ProgressNone  Progress = "none"  // the system shows the key before: the change may be on its way, or lost
	ProgressUnder Progress = "under" // the system has taken the change over and is not through with it: it must not be sent again
	ProgressDone  Progress = "done"  // the change is complete
)

// Sight is what a system shows of an intent.
type Sight struct {
	Key      string // the key in use
	Progress Progress
	Note     string // with ProgressUnder: what it waits for, in words for a person
	// Again reports, with ProgressNone, that the change does nothing twice however often it is sent: when it was
	// accepted and is gone, somebody took it back, and it may be sent again.
	Again bool
}

// ChangedBy reports whether the key now in use shows that the intent was carried out.
func (i Intent) ChangedBy(key string) bool {
	if i.Want != "" {
		return key == i.Want
	}
	return key != "" && key != i.Before
}

// Made reports whether what the change needs is written down already. A key that is made elsewhere first (see
// worker.Maker) is not made before.
func (i Intent) Made() bool { return i.Want != "" || i.Data != nil }

// IntentWrite asks the database for the leave to change a unit, once.
type IntentWrite struct {
	Task     ID
	Unit     string // that is to be turned; it must be the task's
	Owner    string // the worker process
	Intent   Intent
	ApplyFor time.Duration // how long after the write the change can still be sent or under way
	Lease    time.Duration // how long after the write nobody else may touch the task; > ApplyFor
}

// Verdict is what the database says to an IntentWrite.
type Verdict string

// The verdicts. Only VerdictGo allows the change to be sent.
const (
	VerdictGo     Verdict = "go"     // the intent is durable and ours
	VerdictDone   Verdict = "done"   // the task has ended, or is gone: nothing to do
	VerdictTaken  Verdict = "taken"  // the task has an intent already: Take it
	VerdictBusy   Verdict = "busy"   // another intent is open on this unit, or on what the intent names as Exclusive: wait
	VerdictTurned Verdict = "turned" // the unit's key is newer than the rotation's request: skip
	VerdictSoon   Verdict = "soon"   // the unit was turned less than the policy's minInterval ago: skip
	VerdictHeld   Verdict = "held"   // the policy is paused or the rotation was cancelled
	VerdictOther  Verdict = "other"  // the task is of another unit than who asks says: nothing to do
)

// IntentOutcome answers one IntentWrite.
type IntentOutcome struct {
	Verdict Verdict
	Epoch   int64 // fences the result; set with VerdictGo
}

// Taken is an open intent that was taken over from a worker whose lease ended.
type Taken struct {
	Unit   string // the task's
	Epoch  int64
	Intent Intent
	// SettledIn is how long until the system must show the change if it was ever sent; negative: since when.
	SettledIn time.Duration
	// AnsweredFor is how long ago the system's acceptance of the change was recorded; negative: never.
	AnsweredFor time.Duration
	// Accepted: the system accepted the change, be it as it was sent last or before that.
	Accepted bool
	// OpenFor is the time since the intent was written.
	OpenFor  time.Duration
	Attempts int
}

// TaskResult moves a task on. It is refused unless the task is in From and,
// for an open intent, the epoch is still the task's.
type TaskResult struct {
	Task  ID
	From  TaskState // TaskPending or TaskIntended
	Epoch int64     // with From == TaskIntended
	State TaskState // the new state; equal to From: the task is put back until After has passed

	Resolution Resolution
	Reason     string
	KeyAfter   string        // with TaskSucceeded: recorded in the key history in the same transaction
	After      time.Duration // with a state that is not final: how long the task must wait
	// Failed counts one more failure before the change (see QueuedTask.Failures).
	Failed bool
	// Anew hands out again what was not begun. It is refused if the task was put back since it was planned. From and State are TaskPending.
	Anew bool
	// Answered records that the system accepted the change. With State == TaskIntended.
	Answered bool
	// Unsent records that the change can't be sent any more from now on, so that settling
	// counts from now and not from the end of ApplyFor. With State == TaskIntended.
	Unsent bool
	// UnsentFor, with Unsent, is since when nothing can be sent or under way any more.
	UnsentFor time.Duration
	// Uncounted takes back that the last attempt was counted (Task.Attempts): it is proven to have changed nothing. With
	// From == TaskIntended and a state that is not final. An open intent keeps one attempt at least.
	Uncounted bool
}

// Finished is what became of results.
type Finished struct {
	Taken []bool // for each result, in their order: it was recorded
	Told  Told   // what tells the world of the tasks that ended
}

// Told is an announcement of tasks that ended, with what there is to tell of them: whoever recorded it need not
// read it again. Without an ID it is nothing: no task ended, or one that was intended more than once, of which there may be more to tell.
type Told struct {
	ID      ID // the announcement's
	Tasks   []Task
	Records []KeyRecord // that the tasks made; Until is set when the same task made the next one
}

// Whole reports whether the result that ends a task made all that there is to tell of it: the task's only intent
// is the one that the result closes, and nobody else took it over or renewed it, or it had none. epoch is the task's.
func (r TaskResult) Whole(epoch int64) bool {
	return epoch == 0 || epoch == 1 && r.From == TaskIntended
}

// Due is a policy whose slot has come, as the scheduler claims it.
type Due struct {
	Policy Policy // if its schedule is plain (Schedule.Plain), perhaps no more than Name, Paused, Target and Schedule
	Slot   Slot   // the slot that is due, or for which a key may get too old
	// UnderWay reports that a rotation of the policy has not ended. It is told unless the schedule is plain.
	UnderWay bool
	// OldUnits returns the units of the policy's target, of all projects, whose key is known to be in use
	// since before or longer, oldest first: those that can be turned, as the planner last saw them. Units
	// whose last outcome waits for a person are left out. It must not be called after the decision.
	OldUnits func(before time.Time) ([]Unit, error)
}

// Firing is what becomes of a policy whose slot is due.
type Firing struct {
	// Start is the rotations that begin, oldest slot first. A slot that has one gets no other.
	Start []Start
	// Next is the slot that the policy waits for from now on; nil: there is none any more.
	Next *Slot
	// Wake is when the policy is looked at again, if that is before Next.
	Wake time.Time
	// Deadline is when a key gets too old, if no window opens before; nil: none does.
	Deadline *time.Time
	// Skipped is the last slot that came and starts nothing; nil: there is none, or what was noted stays.
	Skipped *Skipped
}

// Start is a rotation that begins with a slot.
type Start struct {
	Slot    Slot
	Reason  string
	Only    Selection
	Opening Opening
	// Supersedes reports that the policy's rotations before it, as far as they have not ended, are to be stopped.
	Supersedes bool
}

// Skipped is a slot that came and did not fire.
type Skipped struct {
	Slot   string // Slot.Name
	Reason string
}

// Opening is what a policy's windows and blackouts say about a rotation under way. The zero value: it may work.
type Opening struct {
	Until  *time.Time // it may work until then; in the past: it may not; nil: always
	LookAt *time.Time // when that has to be found out anew; nil: never
}

// WindowLook is a rotation under way whose policy's windows have to be looked at.
type WindowLook struct {
	Rotation ID
	Policy   Policy
	// OldestKey returns since when the oldest key is in use among the units that the rotation has not turned yet;
	// nil: none is known. It must not be called after the decision.
	OldestKey func() (*time.Time, error)
}

// MissedPolicy is a policy whose slot is overdue: nobody has fired it.
type MissedPolicy struct {
	Policy string
	Target string
	Slot   string // Slot.Name
	At     time.Time
	Late   time.Duration
}

// PastDeadline is a policy of which a key gets too old before its next window opens.
type PastDeadline struct {
	Policy string
	Target string
	At     time.Time // when the first key passes alerts.criticalAfter
	NextAt time.Time // when the next slot fires; zero: none does
}

// StuckRotation is a rotation that may go on and does not.
type StuckRotation struct {
	Rotation ID
	Policy   string
	Target   string
	State    RotationState
	Idle     time.Duration // since something happened, at least
}

// Request asks for a rotation. It is idempotent by Slot (scheduled) or TriggerID (all others).
type Request struct {
	Policy      string
	Trigger     Trigger
	TriggerID   string
	Slot        *Slot
	Reason      string
	RequestedBy string
	Only        Selection
}

// KeyAge sums up the keys of a target's units.
type KeyAge struct {
	Target  string
	Units   int
	Unknown int           // units whose key was never seen
	Oldest  time.Duration // age of the oldest key that is known, at least
}

// Announcement is a durable note that something happened which the world is to
// be told. What is told is read from the rows it names.
type Announcement struct {
	ID       ID
	Type     string // "rotation.requested", "rotation.started", "rotation.completed", "rotations", "tasks", "keys", "retired" or "notice"
	Rotation ID     // with a rotation's type
	Notice   ID     // with "notice"
	Tasks    []ID   // with "tasks": tasks that ended in one commit
	Keys     []ID   // with "keys": key records that no task made
	Retired  []ID   // with "retired": keys that Keyturn disabled
	// Requested, with "rotations": rotations that slots started in one commit, as if each had a "rotation.requested".
	Requested []ID
}
