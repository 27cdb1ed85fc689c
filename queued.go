package keyturn

import (
	"encoding/json"
	"fmt"
)

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
	Returned   bool      `json:"-"`          // it was put back before
	Handed     int64     `json:"handed"`     // when it was handed out, in Unix milliseconds of the database's clock
}

// Fed is what a target's feed handed out.
type Fed struct {
	Tasks []QueuedTask
	// More reports that behind them many more wait for their turn, in one rotation: at least a sixteenth of the feed's window.
	More bool
}

// Bundles reports whether the two may share a message: neither has begun or was put back, and they are of one project in one rotation.
func (t QueuedTask) Bundles(with QueuedTask) bool {
	of, project, _, err := SplitUnitID(t.Unit)
	target, other, _, otherErr := SplitUnitID(with.Unit)
	return err == nil && otherErr == nil && of == target && project == other &&
		t.Rotation == with.Rotation && t.State == TaskPending && with.State == TaskPending && !t.Returned && !with.Returned
}

// queuedMessage hands tasks to a worker: the first one and, of those that share its message, what is not the same.
type queuedMessage struct {
	QueuedTask
	Next []queuedNext `json:"next,omitempty"`
}

type queuedNext struct {
	Task ID     `json:"task"`
	Unit string `json:"unit"`
}

// EncodeQueuedTasks writes the message that hands tasks, each of which Bundles with the first, to a worker. There must be one.
func EncodeQueuedTasks(tasks []QueuedTask) ([]byte, error) {
	m := queuedMessage{QueuedTask: tasks[0]}
	if len(tasks) > 1 {
		m.Next = make([]queuedNext, len(tasks)-1)
	}
	for i, t := range tasks[1:] {
		m.Next[i] = queuedNext{t.Task, t.Unit}
	}
	return json.Marshal(m)
}

// ParseQueuedTasks reads what EncodeQueuedTasks wrote. Its error says what is wrong with a message that nobody can work on.
func ParseQueuedTasks(message []byte) ([]QueuedTask, error) {
	var m queuedMessage
	if err := json.Unmarshal(message, &m); err != nil {
		return nil, fmt.Errorf("not a task: %w", err)
	}
	tasks := make([]QueuedTask, 1+len(m.Next))
	for i := range tasks {
		tasks[i] = m.QueuedTask
		if i > 0 {
			tasks[i].Task, tasks[i].Unit = m.Next[i-1].Task, m.Next[i-1].Unit
		}
		if _, _, _, err := SplitUnitID(tasks[i].Unit); err != nil {
			return nil, err
		}
	}
	return tasks, nil
}
