package keyturn

import (
	"cmp"
	"fmt"
	"slices"
)

// retryProjectsMost is up to how many projects a retry names the projects of its units, so that the
// target is asked for no others.
const retryProjectsMost = 500

// MissingUnit is a unit that a rotation and its retries were to turn, and have not.
type MissingUnit struct {
	Unit    string
	Project string
	Parked  bool // nobody knows whether it was turned: a person must say so first
}

// Resumed is what came of asking to go on with a rotation.
type Resumed struct {
	Rotation Rotation
	Created  bool // false: a retry under way covers all that is missing
	Parked   int  // units that were left out, because a person must say first what became of them
}

// OpenRetry is a retry that has not ended.
type OpenRetry struct {
	Rotation
	Planned bool // all of its units have tasks
}

// RetrySelection works out what a retry of a rotation must turn: what is missing, less what the retries
// in open, which have not ended, are going to turn. Those that were planned have tasks and miss
// nothing; the others say what they want in Only.
//
// again is a retry that covers all; then there is nothing to begin. The error is an ErrConflict.
func RetrySelection(of Rotation, missing []MissingUnit, planned bool, open []OpenRetry) (only Selection, parked int, again *Rotation, err error) {
	if !planned && len(open) == 0 { // it never got as far as tasks
		return of.Only, 0, nil, nil
	}
	waiting := map[string]bool{}
	for i := range open {
		if open[i].Planned {
			continue
		}
		if len(open[i].Only.Units) == 0 || !planned { // it wants all
			return Selection{}, 0, &open[i].Rotation, nil
		}
		for _, unit := range open[i].Only.Units {
			waiting[unit] = true
		}
	}
	for _, m := range missing {
		switch {
		case m.Parked:
			parked++
		case !waiting[m.Unit]:
			only.Units, only.Projects = append(only.Units, m.Unit), append(only.Projects, m.Project)
		}
	}
	slices.Sort(only.Projects)
	if only.Projects = slices.Compact(only.Projects); len(only.Projects) > retryProjectsMost {
		only.Projects = nil
	}
	switch {
	case len(only.Units) > 0:
		only.Keys = of.Only.KeysOf(only.Units...)
		return only, parked, nil, nil
	case len(open) > 0:
		return Selection{}, parked, &open[0].Rotation, nil
	case parked > 0:
		return Selection{}, parked, nil, Conflictf("nothing else is missing than %d parked, whose outcome is unknown: settle them with `keyturn task resolve`", parked)
	default:
		return Selection{}, 0, nil, Conflictf("nothing is missing: every unit that it was to turn has a new key or can't be rotated")
	}
}

// Decision is what a person says became of a parked task.
type Decision struct {
	Task   ID
	As     TaskState // TaskSucceeded, TaskFailed, or TaskPending: try again
	By     string
	Reason string
	Key    string // with TaskSucceeded: the key now in use
}

// Text is the reason that the task shows.
func (d Decision) Text() string {
	return "resolved by " + cmp.Or(d.By, "a person") + ": " + d.Reason
}

// LogText is the line of the task's log, which also says what was decided.
func (d Decision) LogText() string {
	as := string(d.As)
	if d.As == TaskPending {
		as = "retry"
	}
	return "as " + as + " by " + cmp.Or(d.By, "a person") + ": " + d.Reason
}

// Check refuses a decision that can't be carried out.
func (d Decision) Check() error {
	switch {
	case d.As != TaskSucceeded && d.As != TaskFailed && d.As != TaskPending:
		return fmt.Errorf("a parked task can't become %s", d.As)
	case d.Reason == "":
		return fmt.Errorf("a decision needs its reason")
	case d.As == TaskSucceeded && d.Key == "":
		return fmt.Errorf("a success needs the key now in use")
	default:
		return nil
	}
}

// Decided is what came of a decision.
type Decided struct {
	Task     Task
	Rotation Rotation
	// Retry is the rotation that tries again what belongs to a rotation that has ended.
	Retry *Rotation
}
