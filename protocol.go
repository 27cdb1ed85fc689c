package keyturn

import "time"

// Intent is what a task writes down durably before it changes anything.
type Intent struct {
	Before string // the key in use before the change
	Want   string // the key that the change makes the system use; empty: the system chooses
	Data   []byte // what else the change needs to be found again; JSON or nil
}

// ChangedBy reports whether the key now in use shows that the intent was carried out.
func (i Intent) ChangedBy(key string) bool {
	if i.Want != "" {
		return key == i.Want
	}
	return key != "" && key != i.Before
}

// IntentWrite asks the database for the leave to change a unit, once.
type IntentWrite struct {
	Task     ID
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
	VerdictBusy   Verdict = "busy"   // another rotation's intent is open on this unit: wait
	VerdictTurned Verdict = "turned" // the unit's key is newer than the rotation's request: skip
	VerdictHeld   Verdict = "held"   // the policy is paused or the rotation was cancelled
)

// IntentOutcome answers one IntentWrite.
type IntentOutcome struct {
	Verdict Verdict
	Epoch   int64 // fences the result; set with VerdictGo
}

// Taken is an open intent that was taken over from a worker whose lease ended.
type Taken struct {
	Epoch  int64
	Intent Intent
	// SettledIn is how long until the system must show the change if it was ever sent; negative: since when.
	SettledIn time.Duration
	// AnsweredFor is how long ago the system's acceptance of the change was recorded; negative: never.
	AnsweredFor time.Duration
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
	// Answered records that the system accepted the change. With State == TaskIntended.
	Answered bool
	// Unsent records that the change can't be sent any more from now on, so that settling
	// counts from now and not from the end of ApplyFor. With State == TaskIntended.
	Unsent bool
}

// QueuedTask is a task that is handed to the workers' queue. Everything in it
// is a hint: the row decides.
type QueuedTask struct {
	Task       ID        `json:"task"`
	Rotation   ID        `json:"rotation"`
	Unit       string    `json:"unit"`
	State      TaskState `json:"state"`
	Uncertain  Uncertain `json:"uncertain"`
	Generation int64     `json:"generation"` // of the target's spec
	Failures   int       `json:"failures"`   // failed tries before any change
	Handed     int64     `json:"handed"`     // when it was handed out, in Unix milliseconds of the database's clock
}

// Due is a policy whose slot has come, as the scheduler claims it.
type Due struct {
	Policy Policy
	Slot   Slot // the slot that is due
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
	Type     string // "rotation.requested", "rotation.started", "rotation.completed" or "tasks"
	Rotation ID     // with a rotation's type
	Tasks    []ID   // with "tasks": tasks that ended in one commit
}
