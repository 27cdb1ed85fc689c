package keyturn

import (
	"bytes"
	"encoding/json"
	"errors"
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
// It is the first one as JSON, and behind it a line for each of the others with what is not the same: its id and its unit. A line has an end, so
// that one that was cut off is none.
func EncodeQueuedTasks(tasks []QueuedTask) ([]byte, error) {
	message, err := json.Marshal(tasks[0])
	if err != nil {
		return nil, fmt.Errorf("writing task %s: %w", tasks[0].Task, err)
	}
	if len(tasks) > 1 {
		message = append(message, '\n')
	}
	for _, t := range tasks[1:] {
		message = append(t.Task.appendTo(message), ' ')
		message = append(append(message, t.Unit...), '\n')
	}
	return message, nil
}

// ParseQueuedTasks reads what EncodeQueuedTasks wrote. Its error says what is wrong with a message that nobody can work on.
func ParseQueuedTasks(message []byte) ([]QueuedTask, error) {
	head, rest, more := bytes.Cut(message, []byte("\n"))
	var first QueuedTask
	if err := json.Unmarshal(head, &first); err != nil {
		return nil, fmt.Errorf("not a task: %w", err)
	}
	if first.Task.IsZero() {
		return nil, errors.New("not a task: it has no id")
	}
	if _, _, _, err := ParseUnitID(first.Unit); err != nil {
		return nil, err
	}
	tasks := []QueuedTask{first}
	for lines := string(rest); more; {
		line, behind, whole := strings.Cut(lines, "\n")
		if !whole {
			return nil, errors.New("not a task: its line is cut off")
		}
		next, err := first.parseNext(line)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, next)
		lines, more = behind, behind != ""
	}
	return tasks, nil
}

// parseNext reads the line of a task that shares the message.
func (t QueuedTask) parseNext(line string) (next QueuedTask, err error) {
	next = t
	id, unit, _ := strings.Cut(line, " ")
	if next.Task, err = ParseID(id); err != nil {
		return next, fmt.Errorf("not a task: %w", err)
	}
	if next.Task.IsZero() {
		return next, errors.New("not a task: it has no id")
	}
	if _, _, _, err := ParseUnitID(unit); err != nil {
		return next, err
	}
	if next.Unit = unit; !t.Bundles(next) {
		return next, fmt.Errorf("task %s of unit %q can't share a message with one of unit %q", next.Task, unit, t.Unit)
	}
	return next, nil
}
