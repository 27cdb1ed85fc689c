package keyturn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
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

// EncodeQueuedTasks writes the message that hands tasks, each of which Bundles with the first, to a worker. There must be one.
// It is the first one as JSON, and a line for each of the others with what is not the same: its id and its unit.
func EncodeQueuedTasks(tasks []QueuedTask) ([]byte, error) {
	message, err := json.Marshal(tasks[0])
	if err != nil {
		return nil, fmt.Errorf("writing task %s: %w", tasks[0].Task, err)
	}
	for _, t := range tasks[1:] {
		message = append(t.Task.appendTo(append(message, '\n')), ' ')
		message = append(message, t.Unit...)
	}
	return message, nil
}

// ParseQueuedTasks reads what EncodeQueuedTasks wrote. Its error says what is wrong with a message that nobody can work on.
func ParseQueuedTasks(message []byte) ([]QueuedTask, error) {
	head, rest, more := bytes.Cut(message, []byte("\n"))
	tasks := make([]QueuedTask, 1, 2+bytes.Count(rest, []byte("\n")))
	if err := json.Unmarshal(head, &tasks[0]); err != nil {
		return nil, fmt.Errorf("not a task: %w", err)
	}
	for line, lines := "", string(rest); more; {
		line, lines, more = strings.Cut(lines, "\n")
		next := tasks[0]
		id, unit, _ := strings.Cut(line, " ")
		var err error
		if next.Task, err = ParseID(id); err != nil {
			return nil, fmt.Errorf("not a task: %w", err)
		}
		next.Unit = unit
		tasks = append(tasks, next)
	}
	for _, t := range tasks {
		if _, _, _, err := SplitUnitID(t.Unit); err != nil {
			return nil, err
		}
	}
	return tasks, nil
}
