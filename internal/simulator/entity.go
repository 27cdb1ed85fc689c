package simulator

import (
	"sync"
	"sync/atomic"
	"time"
)

// entity is one element of the clusters resource: a sharded cluster, one of
// its shards, its config servers, or a plain replica set.
type entity struct {
	id, clusterName, replicaSet, shard string
	version, fcv, backupStatus         string
	typ                                typeName
	leaveOut                           Reason
	project                            *project
	parent                             *entity // of shards and config servers
	index                              uint64
	removed                            atomic.Bool
	draws                              [2]atomic.Uint64 // faults drawn so far: for GET, for PUT
	modern                             bool             // its key is that of the deployment, and the agents turn it
	rotatedAt                          time.Time        // when they did so before the simulation began; zero: never

	mu      sync.Mutex
	key     string // the key really in use
	turns   uint64
	answer  []byte // the body that GET answers with; never changed, only replaced
	pending []pendingKey
	used    []keyAt // the last keys, the one in use included
}

// pendingKey is in use, but GET doesn't show it yet.
type pendingKey struct {
	key string
	at  time.Time
}

// change is one reason for a key to turn.
type change struct {
	by        By
	requestID string
	hidden    time.Duration // how long GET goes on showing the key before
	at        time.Time     // when it happened; zero: now
	timestamp time.Time     // of a rotation by automation
	earlier   time.Time     // the same: of the rotation before; zero: there was none
	members   int           // the same: how many processes got a new key
}

// stampOf writes the time of a rotation; empty: there was none.
func stampOf(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

func (c *entity) encrypted() bool { return c.leaveOut != ReasonEncryptionOff }

// setKey sets what is in use and shown. The caller holds mu, or is the only one to know c.
func (c *entity) setKey(key string) {
	c.key = key
	c.show(key)
}

func (c *entity) show(key string) {
	j := jsonBuf{b: make([]byte, 0, 160)}
	j.open('{')
	j.str("clusterId", c.id)
	j.str("encryptionKeyUUID", key)
	j.str("groupId", c.project.id)
	j.close('}')
	c.answer = j.b
}

// current returns the key that is really in use.
func (c *entity) current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.key
}

// shown returns the body that GET answers with now.
func (c *entity) shown() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) > 0 {
		c.showDue(time.Now())
	}
	return c.answer
}

func (c *entity) showDue(now time.Time) {
	due := 0
	for due < len(c.pending) && !c.pending[due].at.After(now) {
		due++
	}
	if due > 0 {
		c.show(c.pending[due-1].key)
		c.pending = c.pending[due:]
	}
}

// remove reports whether it was there. No key turns afterwards.
func (c *entity) remove() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.removed.Swap(true)
}

// turn gives a unit a new key and records it; false: the unit was removed.
func (e *Estate) turn(c *entity, ch change) (Record, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed.Load() {
		return Record{}, false
	}
	now := time.Now()
	if !ch.at.IsZero() {
		now = ch.at
	}
	before := c.key
	c.turns++
	after := keyOf(e.seed, c.index, c.turns)
	switch {
	case ch.hidden > 0:
		c.key = after
		c.pending = append(c.pending, pendingKey{key: after, at: now.Add(ch.hidden)})
	default:
		c.pending = nil
		c.setKey(after)
	}
	if len(c.used) >= keysKept {
		c.used = append(c.used[:0], c.used[1:]...)
	}
	c.used = append(c.used, keyAt{key: after, at: now})
	// Recorded under the unit's lock: the truth of one unit is in order.
	return e.truth.add(Record{
		Time: now.UTC(), ProjectID: c.project.id, ClusterID: c.id,
		KeyBefore: before, KeyAfter: after, RequestID: ch.requestID, By: ch.by,
		Timestamp: stampOf(ch.timestamp), Earlier: stampOf(ch.earlier), Members: ch.members,
	}), true
}
