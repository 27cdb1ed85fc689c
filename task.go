package keyturn

import "time"

// TaskState is how far a task is.
type TaskState string

// The states of a task.
const (
	TaskPending   TaskState = "pending"   // nothing was changed for it
	TaskIntended  TaskState = "intended"  // its intent is durable: the change may have happened
	TaskSucceeded TaskState = "succeeded" // the unit has a new key
	TaskFailed    TaskState = "failed"    // the system refused; nothing was changed
	TaskSkipped   TaskState = "skipped"   // it must not, or need not, be done; the reason says why
	TaskParked    TaskState = "parked"    // the outcome is unknown; a person decides
)

// Final reports whether the task has ended as far as its rotation is concerned.
func (s TaskState) Final() bool { return s != TaskPending && s != TaskIntended }

// CanBecome reports whether a task may go from s to next. The databases' CHECKs
// and the statements that move tasks follow this table.
func (s TaskState) CanBecome(next TaskState) bool {
	switch s {
	case TaskPending:
		// pending again: it must wait.
		return next == TaskPending || next == TaskIntended || next == TaskFailed || next == TaskSkipped
	case TaskIntended:
		// pending: proven not applied, or settled and still showing the key before.
		// intended again: taken over, or waiting for the system to settle.
		return next != TaskSkipped
	case TaskParked: // by a person
		return next == TaskSucceeded || next == TaskFailed || next == TaskPending
	default:
		return false
	}
}

// Resolution says how a result is known.
type Resolution string

// The resolutions.
const (
	ResolutionConfirmed Resolution = "confirmed"          // the answer to the change was seen, then the new key
	ResolutionInferred  Resolution = "inferred"           // only the new key was seen
	ResolutionByPerson  Resolution = "resolved-by-person" // someone looked and decided
)

// Task is one unit in one rotation.
type Task struct {
	ID         ID         `json:"id"`
	Rotation   ID         `json:"rotationId"`
	Unit       string     `json:"unit"` // the unit's id
	State      TaskState  `json:"state"`
	Resolution Resolution `json:"resolution"`
	Reason     string     `json:"reason"`
	Attempts   int        `json:"attempts"` // how often the change was, or may have been, sent; not what was given back because it is proven to have changed nothing
	KeyBefore  string     `json:"keyBefore"`
	KeyAfter   string     `json:"keyAfter"`
	StartedAt  *time.Time `json:"startedAt"`  // when the first intent was recorded
	FinishedAt *time.Time `json:"finishedAt"` // when it ended
}

// Origin says how a key came into the history.
type Origin string

// The origins.
const (
	OriginRotated  Origin = "rotated"  // a task of ours turned it
	OriginObserved Origin = "observed" // it was found in use
)

// KeyRecord is one line of the history: this unit used this key from then to
// then. Records are only ever added; Until is the From of the next one.
type KeyRecord struct {
	ID            ID         `json:"id"`
	Unit          string     `json:"unit"`
	KeyID         string     `json:"keyId"`
	PreviousKeyID string     `json:"previousKeyId"`
	From          time.Time  `json:"from"`
	Until         *time.Time `json:"until"`
	Origin        Origin     `json:"origin"`
	Rotation      ID         `json:"rotationId"`
	Task          ID         `json:"taskId"`
}
