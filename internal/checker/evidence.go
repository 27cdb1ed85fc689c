// Package checker compares what Keyturn says it did with what really happened.
//
// It is separate from the code that it checks: it uses the standard library
// only and knows nothing but two kinds of evidence, both as JSON: the record of
// the simulated estate of every change of a key that really happened, and what
// `keyturn history -o json` and `keyturn rotations ID -o json` say.
package checker

import (
	"encoding/json"
	"fmt"
	"time"
)

// Change is one change of a key that really happened, as GET /simulator/truth lists it.
type Change struct {
	Seq       int64     `json:"seq"`
	Time      time.Time `json:"time"`
	ProjectID string    `json:"projectId"`
	ClusterID string    `json:"clusterId"`
	KeyBefore string    `json:"keyBefore"`
	KeyAfter  string    `json:"keyAfter"`
	By        string    `json:"by"` // "request": one of ours; "elsewhere": somebody else's
}

func (c Change) place() string { return c.ProjectID + "/" + c.ClusterID }

// Unit is a unit that really exists, as GET /simulator/units lists it.
type Unit struct {
	ProjectID string `json:"projectId"`
	ClusterID string `json:"clusterId"`
}

// Record is a key record, as `keyturn history -o json` lists it.
type Record struct {
	ID            string     `json:"id"`
	Unit          string     `json:"unit"`
	KeyID         string     `json:"keyId"`
	PreviousKeyID string     `json:"previousKeyId"`
	From          time.Time  `json:"from"`
	Until         *time.Time `json:"until"`
	Origin        string     `json:"origin"`
	Rotation      string     `json:"rotationId"`
	Task          string     `json:"taskId"`
}

// Rotation is a rotation with its tasks, as `keyturn rotations ID -o json` shows it.
type Rotation struct {
	ID      string `json:"id"`
	Policy  string `json:"policy"`
	Trigger string `json:"trigger"`
	Slot    string `json:"slot"`
	// TriggerID is the id under which it was asked for.
	TriggerID string `json:"triggerId"`
	State     string `json:"state"`
	Reason    string `json:"reason"`
	Counts    Counts `json:"counts"`
	Tasks     []Task `json:"tasks"`
}

// Counts are a rotation's tasks by state.
type Counts struct {
	Total     int `json:"total"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
	Parked    int `json:"parked"`
	Pending   int `json:"pending"`
}

// Task is one unit in one rotation.
type Task struct {
	ID         string `json:"id"`
	Unit       string `json:"unit"`
	State      string `json:"state"`
	Resolution string `json:"resolution"`
	Reason     string `json:"reason"`
	Attempts   int    `json:"attempts"`
	KeyBefore  string `json:"keyBefore"`
	KeyAfter   string `json:"keyAfter"`
}

// Evidence is everything that is known at the end, when nothing is under way any more.
type Evidence struct {
	Truth     []Change
	Units     []Unit // that every rotation of the policies in Whole must meet
	History   []Record
	Rotations []Rotation
	// Asked are the rotations that were acknowledged to whoever asked for them.
	Asked []string
	// Triggers are the ids of requests that were acknowledged to whoever published them.
	Triggers []string
	// Whole are the policies that select every unit.
	Whole []string
}

// Parse reads one piece of evidence.
func Parse[T any](what string, data []byte) (T, error) {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("reading %s: %w", what, err)
	}
	return v, nil
}
