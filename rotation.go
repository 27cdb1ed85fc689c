package keyturn

import "time"

// Trigger is what asked for a rotation.
type Trigger string

// The triggers.
const (
	TriggerSchedule Trigger = "schedule"
	TriggerManual   Trigger = "manual"
	TriggerWebhook  Trigger = "webhook"
	TriggerRetry    Trigger = "retry"
)

// RotationState is how far a rotation is.
type RotationState string

// The states of a rotation.
const (
	RotationRequested RotationState = "requested" // durable; nobody planned it yet
	RotationPlanning  RotationState = "planning"  // a planner asks the target which units there are
	RotationRunning   RotationState = "running"   // its tasks exist; of a large plan, at least the first of them
	RotationSucceeded RotationState = "succeeded" // every unit turned or skipped
	RotationPartial   RotationState = "partial"   // some turned, some failed or parked
	RotationFailed    RotationState = "failed"    // none turned, or nothing was selected
	RotationCancelled RotationState = "cancelled" // stopped by a person before its end
)

// Final reports whether the rotation has ended.
func (s RotationState) Final() bool {
	switch s {
	case RotationSucceeded, RotationPartial, RotationFailed, RotationCancelled:
		return true
	default:
		return false
	}
}

// CanBecome reports whether a rotation may go from s to next. The databases'
// CHECKs and the statements that move rotations follow this table.
func (s RotationState) CanBecome(next RotationState) bool {
	switch s {
	case RotationRequested:
		return next == RotationPlanning || next == RotationFailed || next == RotationCancelled
	case RotationPlanning: // planning again: the planner that had it died
		return next == RotationPlanning || next == RotationRunning || next == RotationFailed || next == RotationCancelled
	case RotationRunning:
		return next.Final()
	case RotationPartial: // a person resolved what was parked
		return next == RotationSucceeded
	case RotationFailed:
		return next == RotationSucceeded || next == RotationPartial
	default:
		return false
	}
}

// Rotation is one trigger carried out over all the units of a policy.
type Rotation struct {
	ID          ID            `json:"id"`
	Policy      string        `json:"policy"`
	Target      string        `json:"target"`
	Trigger     Trigger       `json:"trigger"`
	TriggerID   string        `json:"triggerId,omitempty"` // the caller's idempotency key
	Slot        string        `json:"slot"`                // Slot.Name of a scheduled rotation
	Reason      string        `json:"reason"`              // why it was asked for, or the Trouble if there is any
	Trouble     string        `json:"trouble,omitempty"`   // why it failed, or what keeps it from being planned
	RequestedBy string        `json:"requestedBy"`
	Only        Selection     `json:"only,omitzero"` // narrows the policy's selection
	State       RotationState `json:"state"`
	Counts      Counts        `json:"counts"`
	RequestedAt time.Time     `json:"requestedAt"`
	StartedAt   *time.Time    `json:"startedAt"`
	FinishedAt  *time.Time    `json:"finishedAt"`
	OpenedAt    *time.Time    `json:"-"`     // when its policy's windows let it go on last; nil: they never stopped it
	Tasks       []Task        `json:"tasks"` // nil: not asked for

	// RetryOf is the rotation whose missing units this one turns. They are many: listings and events leave
	// them, and all Keys, out of Only.
	RetryOf *ID `json:"retryOf,omitempty"`
	// Halted says that what had not begun was stopped: by a person (Cancelled) or by the policy's rollout.
	Halted      bool       `json:"halted,omitempty"`
	CancelledBy string     `json:"cancelledBy,omitempty"`
	CancelledAt *time.Time `json:"cancelledAt,omitempty"`
	// Wave is how far a rollout is; nil: all at once.
	Wave *Wave `json:"wave,omitempty"`
	// Clusters sums up the tasks by cluster; nil: not asked for.
	Clusters []ClusterCounts `json:"clusters,omitempty"`
}

// Wave is a rotation's place in its policy's rollout.
type Wave struct {
	Current int        `json:"current"` // from 1
	Total   int        `json:"total"`
	NextAt  *time.Time `json:"nextAt,omitempty"` // when the next one begins; nil: when this one has ended
}

// ClusterCounts are the tasks of one cluster in a rotation.
type ClusterCounts struct {
	ProjectID   string `json:"projectId"`
	ProjectName string `json:"projectName"`
	Cluster     string `json:"cluster"`
	// Mixed reports that some of its components have a new key and others, which should have one, don't.
	Mixed bool `json:"mixed"`
	// MixedSince is when the first of its components got a new key; nil: it is not mixed.
	MixedSince *time.Time `json:"mixedSince,omitempty"`
	Counts     Counts     `json:"counts"`
}

// Counts are a rotation's tasks by state. Pending counts what has not ended.
type Counts struct {
	Total     int `json:"total"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
	Parked    int `json:"parked"`
	Pending   int `json:"pending"`
}

// WithUnsaved adds n units of a plan that have no tasks yet: those of a rotation that was stopped are going to be skipped.
func (c Counts) WithUnsaved(n int, stopped bool) Counts {
	c.Total += n
	if stopped {
		c.Skipped += n
	} else {
		c.Pending += n
	}
	return c
}

// Outcome is the state in which a rotation with these counts ends. It must be
// asked only when nothing is pending.
func (c Counts) Outcome() RotationState {
	switch {
	case c.Total == 0:
		return RotationFailed
	case c.Failed+c.Parked == 0:
		return RotationSucceeded
	case c.Succeeded > 0:
		return RotationPartial
	default:
		return RotationFailed
	}
}
