package keyturn

import (
	"encoding/json"
	"time"
)

// TaskEvent is what a line of a task's log is about.
type TaskEvent string

// What is written into a task's log. What went as it should leaves no line: the task itself has its
// intent and its answer.
const (
	TaskPutBack   TaskEvent = "put-back"   // nothing was changed; it waits to begin again
	TaskWaits     TaskEvent = "waits"      // its intent stays open: the outcome is not known yet
	TaskTakenOver TaskEvent = "taken-over" // the lease of the worker that had its intent ended
	TaskSentAgain TaskEvent = "sent-again" // the system had settled and showed the key from before
	TaskInferred  TaskEvent = "inferred"   // the new key was seen, but never the answer to the change
	TaskGaveUp    TaskEvent = "failed"
	TaskUnclear   TaskEvent = "parked"
	TaskResolved  TaskEvent = "resolved" // a person decided
)

// The bounds of a task's log: of the lines in between, none is kept.
const (
	TaskLogFirst = 10
	TaskLogLast  = 20
	TaskLogText  = 2000 // characters of one line
)

// TaskLine is one line of a task's log. Lines are never changed.
type TaskLine struct {
	N       int       `json:"n"` // from 1; a gap says how many lines are not kept
	At      time.Time `json:"at"`
	Attempt int       `json:"attempt"` // how often the change was, or may have been, sent until then
	What    TaskEvent `json:"what"`
	Text    string    `json:"text"`
}

// TaskIntent is the last intent of a task, as it was written down, and what is known of its answer.
type TaskIntent struct {
	Before     string          `json:"before"`         // the key in use before the change
	Want       string          `json:"want,omitempty"` // the key that the change makes the system use; empty: the system chooses
	Data       json.RawMessage `json:"data,omitempty"` // what else the change needs to be found again
	Epoch      int64           `json:"epoch"`          // counts who held it
	Owner      string          `json:"owner,omitempty"`
	IntendedAt time.Time       `json:"intendedAt"`
	ApplyBy    time.Time       `json:"applyBy"` // from when on the change can't be sent any more
	AnsweredAt *time.Time      `json:"answeredAt"`
}

// TaskDetail is a task with everything that is known of its attempts.
type TaskDetail struct {
	Task

	Intent *TaskIntent `json:"intent"` // nil: there was none yet
	Log    []TaskLine  `json:"log" nullable:"false"`
}
