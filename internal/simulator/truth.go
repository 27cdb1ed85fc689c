package simulator

import (
	"sync"
	"time"
)

// By says who turned a key.
type By string

// Who turns keys.
const (
	ByRequest   By = "request"   // a PUT of the API
	ByElsewhere By = "elsewhere" // somebody else, see Estate.Rotate
	// ByAutomation are the agents, which carry out an automation config, whoever published it.
	ByAutomation By = "automation"
)

// Record is one change of a key that really happened.
type Record struct {
	Seq       int64     `json:"seq"`  // from 1, without gaps
	Time      time.Time `json:"time"` // UTC, when it happened
	ProjectID string    `json:"projectId"`
	ClusterID string    `json:"clusterId"`
	KeyBefore string    `json:"keyBefore"`
	KeyAfter  string    `json:"keyAfter"`
	RequestID string    `json:"requestId,omitempty"` // the request's X-Request-Id, or a number given by the simulator
	By        By        `json:"by"`
	// Of a rotation by the agents: the time that they were given, and how many processes got a new key.
	Timestamp string `json:"timestamp,omitempty"`
	Earlier   string `json:"earlier,omitempty"` // the time of the rotation before; empty: there was none
	Members   int    `json:"members,omitempty"`
}

// truth is the record of all changes. The zero value is ready.
type truth struct {
	mu      sync.Mutex
	records []Record
}

func (t *truth) add(r Record) Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.Seq = int64(len(t.records)) + 1
	t.records = append(t.records, r)
	return r
}

func (t *truth) total() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(len(t.records))
}

// after returns at most limit records behind seq; limit 0 means all. What it
// returns is shared and never changes.
func (t *truth) after(seq int64, limit int) []Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := int(max(0, min(seq, int64(len(t.records)))))
	to := len(t.records)
	if limit > 0 {
		to = min(to, from+limit)
	}
	return t.records[from:to:to]
}
