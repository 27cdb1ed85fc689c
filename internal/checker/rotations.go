package checker

import (
	"fmt"
	"slices"
)

// rotations holds rotations and tasks to their end, and to what the history says.
func (c *check) rotations() {
	slots, known, triggers := map[string]string{}, map[string]bool{}, map[string]string{}
	for _, r := range c.evidence.Rotations {
		known[r.ID] = true
		if r.Slot != "" {
			name := r.Policy + " " + r.Slot
			if other := slots[name]; other != "" {
				c.report(Doubled, "rotation "+r.ID, "slot %s of policy %s fired before as %s", r.Slot, r.Policy, other)
			}
			slots[name] = r.ID
		}
		if r.TriggerID != "" {
			if other := triggers[r.TriggerID]; other != "" {
				c.report(Doubled, "rotation "+r.ID, "the request %s was carried out before as %s", r.TriggerID, other)
			}
			triggers[r.TriggerID] = r.ID
		}
		c.rotation(r)
	}
	for _, id := range c.evidence.Triggers {
		if triggers[id] == "" {
			c.report(Forgotten, "request "+id, "it was acknowledged and made no rotation")
		}
	}
	for _, id := range c.evidence.Asked {
		if !known[id] {
			c.report(Forgotten, "rotation "+id, "it was acknowledged and is not there")
		}
	}
	for task, r := range c.byTask {
		if !known[r.Rotation] {
			c.report(Untrue, r.Unit, "key %s was made by task %s of rotation %s, which is not there", r.KeyID, task, r.Rotation)
		}
	}
}

func (c *check) rotation(r Rotation) {
	where := "rotation " + r.ID
	if !slices.Contains([]string{"succeeded", "partial", "failed", "cancelled"}, r.State) {
		c.report(Forgotten, where, "it is still %s", r.State)
	}
	units := map[string]string{}
	var counts Counts
	for _, t := range r.Tasks {
		place := placeOf(t.Unit)
		if other := units[place]; other != "" {
			c.report(Doubled, t.Unit, "rotation %s has two tasks for it, %s and %s", r.ID, other, t.ID)
		}
		units[place] = t.ID
		c.task(r, t, &counts)
	}
	counts.Total = len(r.Tasks)
	if counts != r.Counts {
		c.report(Untrue, where, "it counts %+v, its tasks are %+v", r.Counts, counts)
	}
	if want := stateOf(r, counts); want != "" && r.State != want && r.State != "cancelled" {
		c.report(Untrue, where, "it is %s, its tasks say %s", r.State, want)
	}
	if len(r.Tasks) == 0 {
		if r.Reason == "" {
			c.report(Unreasoned, where, "it is %s without a task and without a reason", r.State)
		}
		return
	}
	if !slices.Contains(c.evidence.Whole, r.Policy) {
		return
	}
	for _, u := range c.evidence.Units {
		if place := u.ProjectID + "/" + u.ClusterID; units[place] == "" {
			c.report(Forgotten, place, "rotation %s has no task for it", r.ID)
		}
	}
}

// stateOf is the state that a rotation that has ended must be in; "" if there
// is not one only.
func stateOf(r Rotation, n Counts) string {
	switch {
	case n.Pending > 0 || n.Total == 0 || r.State == "cancelled":
		return ""
	case n.Failed+n.Parked == 0:
		return "succeeded"
	case n.Succeeded > 0:
		return "partial"
	default:
		return "failed"
	}
}

func (c *check) task(r Rotation, t Task, counts *Counts) {
	where := fmt.Sprintf("task %s on %s", t.ID, t.Unit)
	record, made := c.byTask[t.ID]
	switch t.State {
	case "succeeded":
		counts.Succeeded++
		switch {
		case !made:
			c.report(Missing, where, "it succeeded and the history does not have its key %s", t.KeyAfter)
		case record.KeyID != t.KeyAfter || record.Rotation != r.ID || placeOf(record.Unit) != placeOf(t.Unit):
			c.report(Untrue, where, "it made key %s; the history says %s on %s in rotation %s", t.KeyAfter, record.KeyID, record.Unit, record.Rotation)
		}
		if t.Resolution == "" {
			c.report(Unreasoned, where, "it succeeded and does not say how that is known")
		}
		return
	case "failed":
		counts.Failed++
	case "skipped":
		counts.Skipped++
	case "parked":
		counts.Parked++
	default:
		counts.Pending++
		if r.State != "cancelled" {
			c.report(Forgotten, where, "it is still %s", t.State)
		}
		return
	}
	if t.Reason == "" {
		c.report(Unreasoned, where, "it is %s without a reason", t.State)
	}
	if made {
		c.report(Untrue, where, "it is %s, and the history has key %s from it", t.State, record.KeyID)
	}
}
