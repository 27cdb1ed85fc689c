package simulator

import (
	"cmp"
	"time"
)

const (
	snapshotsKept = 20 // of each cluster
	keysKept      = 64 // of each unit, to know what a snapshot needs
)

// keyAt is a key that came into use.
type keyAt struct {
	key string
	at  time.Time
}

// keyThen returns the key that was in use at a time.
func (c *entity) keyThen(at time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := ""
	for _, k := range c.used {
		if key == "" || !k.at.After(at) {
			key = k.key
		}
	}
	return cmp.Or(key, c.key)
}

// snapshots lists the snapshots of a cluster: made at even times since the simulation began, the newest first, and one
// from before it.
func (c *call) snapshots() {
	every := cmp.Or(c.plan.faults.Agents.SnapshotEvery.Std(), 6*time.Hour)
	e := c.entity
	n := int(time.Since(c.s.started) / every)
	if e.parent != nil || e.leaveOut == ReasonBackupOff {
		c.list(0, nil)
		return
	}
	oldest := max(0, n-snapshotsKept+1)
	c.list(n-oldest+1, func(i int) {
		c.snapshot(e, n-i, c.s.started.Add(time.Duration(n-i)*every), every)
	})
}

func (c *call) snapshot(e *entity, n int, at time.Time, every time.Duration) {
	j := &c.buf
	id := objectID(e.index+1<<32, uint64(n)) //nolint:gosec // G115: not negative
	j.open('{')
	j.str("clusterId", e.id)
	j.bool("complete", true)
	j.key("created")
	j.open('{')
	j.str("date", at.UTC().Format(time.RFC3339Nano))
	j.num("increment", 1)
	j.close('}')
	j.bool("doNotDelete", n == 0)
	j.str("expires", at.Add(snapshotsKept*every).UTC().Format(time.RFC3339))
	j.str("groupId", e.project.id)
	j.str("id", id)
	c.links("/groups/", e.project.id, "/clusters/", e.id, "/snapshots/", id)
	j.key("parts")
	j.open('[')
	for _, part := range *e.project.live.Load() {
		if part == e && e.typ != typeSharded || part.parent == e {
			c.snapshotPart(part, at)
		}
	}
	j.close(']')
	j.close('}')
}

func (c *call) snapshotPart(part *entity, at time.Time) {
	j := &c.buf
	j.open('{')
	j.str("clusterId", part.id)
	j.num("dataSizeBytes", 1<<30)
	j.bool("encryptionEnabled", part.encrypted())
	if part.encrypted() {
		j.str("masterKeyUUID", part.keyThen(at))
	}
	j.str("mongodVersion", part.version)
	j.str("replicaSetName", part.replicaSet)
	j.str("typeName", string(part.typ))
	j.close('}')
}
