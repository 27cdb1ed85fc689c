package keyturn

import (
	"bytes"
	"encoding/json"
	"errors"
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
	// More reports that behind them many more wait for their turn, in one rotation: at least a quarter of the feed's window.
	More bool
}

// Bundles reports whether the two may share a message: neither has begun or was put back, and they are of one project in one rotation.
func (t QueuedTask) Bundles(with QueuedTask) bool {
	of, project, _, err := SplitUnitID(t.Unit)
	target, other, _, otherErr := SplitUnitID(with.Unit)
	return err == nil && otherErr == nil && of == target && project == other &&
		t.Rotation == with.Rotation && t.State == TaskPending && with.State == TaskPending && !t.Returned && !with.Returned
}

// EncodeQueuedTasks writes the message that hands tasks to a worker: an object for one, an array for several.
func EncodeQueuedTasks(tasks []QueuedTask) ([]byte, error) {
	if len(tasks) == 1 {
		return json.Marshal(tasks[0])
	}
	return json.Marshal(tasks)
}

// ParseQueuedTasks reads what EncodeQueuedTasks wrote. Its error says what is wrong with a message that nobody can work on.
func ParseQueuedTasks(message []byte) ([]QueuedTask, error) {
	var tasks []QueuedTask
	var err error
	if bytes.HasPrefix(message, []byte("[")) {
		err = json.Unmarshal(message, &tasks)
	} else {
		tasks = make([]QueuedTask, 1)
		err = json.Unmarshal(message, &tasks[0])
	}
	if err != nil {
		return nil, fmt.Errorf("not a task: %w", err)
	}
	if len(tasks) == 0 {
		return nil, errors.New("not a task: the list is empty")
	}
	for i := range tasks {
		if _, _, _, err := SplitUnitID(tasks[i].Unit); err != nil {
			return nil, err
		}
	}
	return tasks, nil
}
