package keyturn

import (
	"fmt"
	"strings"
)

// mixedNamed is how many mixed clusters a rotation's trouble names.
const mixedNamed = 5

// Ending is what is known of a rotation all of whose tasks have ended.
type Ending struct {
	Halted    bool
	Cancelled bool
	Stop      string // StopTrouble, if it was stopped
	Counts    Counts
	Stopped   int      // tasks, among the skipped ones, that were stopped before they began
	Unsaved   int      // units that its plan should have had: it was halted before all were saved
	Mixed     []string // names of clusters of which only a part was turned
}

// Outcome is the state in which the rotation ends, and its trouble: empty if all went well.
func (e Ending) Outcome() (RotationState, string) {
	c := e.Counts
	c.Failed += e.Stopped + e.Unsaved // they should have new keys, and have none
	state := c.Outcome()
	if e.Cancelled {
		state = RotationCancelled
	}
	var trouble []string
	switch {
	case e.Stop != "" && state != RotationSucceeded:
		trouble = append(trouble, e.Stop)
	case state == RotationFailed:
		trouble = append(trouble, fmt.Sprintf("no unit was turned: %d failed, %d parked, %d skipped", e.Counts.Failed, c.Parked, c.Skipped))
	}
	if e.Cancelled && e.Unsaved > 0 { // who stopped it hides what halted it, and a retry leaves them out
		trouble = append(trouble, unsavedPlan)
	}
	if mixed := MixedTrouble(e.Mixed); mixed != "" {
		trouble = append(trouble, mixed)
	}
	return state, strings.Join(trouble, "; ")
}

// MixedTrouble names clusters that are half-rotated: a few, and how many more. Empty if there are none.
func MixedTrouble(clusters []string) string {
	if len(clusters) == 0 {
		return ""
	}
	text := "only a part has a new key of " + strings.Join(clusters[:min(len(clusters), mixedNamed)], ", ")
	if more := len(clusters) - mixedNamed; more > 0 {
		text += fmt.Sprintf(" and %d more clusters", more)
	}
	return text
}

// ClusterTitle is how a cluster is named to people.
func ClusterTitle(project, cluster string) string { return project + "/" + cluster }

const unsavedPlan = "only a part of it was planned"

// UnsavedTrouble says that a plan was not saved to its end, and why.
func UnsavedTrouble(reason string) string { return unsavedPlan + ": " + reason }

// StopTrouble says who or what stopped a rotation, and why.
func StopTrouble(by, reason string, cancelled bool) string {
	text := "halted"
	if cancelled {
		text = "cancelled"
		if by != "" {
			text += " by " + by
		}
	}
	if reason != "" {
		text += ": " + reason
	}
	return text
}
