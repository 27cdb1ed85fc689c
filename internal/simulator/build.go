package simulator

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"time"
)

// Versions of the simulated deployments. 4.2 binaries may run at the feature
// compatibility version 4.0: only the automation configuration tells.
const (
	version40 = "4.0.28-ent"
	version42 = "4.2.24-ent"
	fcv40     = "4.0"
	fcv42     = "4.2"
)

func newEstate(seed uint64) *Estate {
	return &Estate{seed: seed, byID: map[string]*entity{}, groups: map[string]*project{}}
}

// projectBuilder fills one project.
type projectBuilder struct {
	estate   *Estate
	project  *project
	entities []*entity
	clusters int // how many sharded clusters it has so far
	sets     int // how many plain replica sets it has so far
	modern   bool
}

func (e *Estate) newProject() *projectBuilder {
	p := &project{id: e.newID(), name: "project-" + pad(len(e.projects)), orgID: objectID(e.seed, 0)}
	p.index = e.next
	e.projects = append(e.projects, p)
	e.groups[p.id] = p
	return &projectBuilder{estate: e, project: p}
}

func (b *projectBuilder) done() {
	b.project.live.Store(&b.entities)
	if b.modern && slices.ContainsFunc(b.entities, func(c *entity) bool { return c.modern }) {
		b.project.automation = newAutomation(b.estate, b.project)
	}
}

func (b *projectBuilder) add(c *entity, leaveOut Reason, seq int) *entity {
	c.project = b.project
	c.id = b.estate.newID()
	c.index = b.estate.next
	c.leaveOut = leaveOut
	c.version, c.fcv = versions(leaveOut, seq)
	if b.modern {
		c.makeModern(seq)
	}
	c.backupStatus = "STARTED"
	if leaveOut == ReasonBackupOff {
		c.backupStatus = [...]string{"STOPPED", "INACTIVE"}[seq%2]
	}
	if c.typ != typeSharded {
		c.setKey(keyOf(b.estate.seed, c.index, 0))
		c.used = []keyAt{{key: c.key}}
	}
	b.entities = append(b.entities, c)
	b.estate.byID[c.id] = c
	return c
}

func (b *projectBuilder) sharded(shards int, leaveOut Reason) {
	seq := b.clusters
	name := "cluster-" + pad(seq)
	b.clusters++
	// The parent carries the name of its first shard, as the real ones do.
	parent := b.add(&entity{typ: typeSharded, clusterName: name, shard: name + "-0"}, leaveOut, seq)
	for i := range shards {
		set := name + "-" + strconv.Itoa(i)
		b.add(&entity{typ: typeReplicaSet, clusterName: name, replicaSet: set, shard: set, parent: parent}, leaveOut, seq)
	}
	b.add(&entity{typ: typeConfigServer, clusterName: name, replicaSet: name + "-config", parent: parent}, leaveOut, seq)
}

func (b *projectBuilder) replicaSet(leaveOut Reason) {
	seq := b.sets
	name := "rs-" + pad(seq)
	b.sets++
	b.add(&entity{typ: typeReplicaSet, clusterName: name, replicaSet: name}, leaveOut, seq)
}

func (b *projectBuilder) leftOut(l LeftOut, shards int) {
	for _, group := range []struct {
		count  int
		reason Reason
	}{
		{l.BackupOff, ReasonBackupOff},
		{l.EncryptionOff, ReasonEncryptionOff},
		{l.FCV42, ReasonFCV42},
		{l.FCVUnknown, ReasonFCVUnknown},
	} {
		for range group.count {
			if l.Sharded {
				b.sharded(shards, group.reason)
			} else {
				b.replicaSet(group.reason)
			}
		}
	}
}

// modernLeftOut adds what the agents can't be asked to turn.
func (b *projectBuilder) modernLeftOut(l LeftOut, shards int) {
	for _, group := range []struct {
		count  int
		reason Reason
	}{{l.KeyIdentifier, ReasonKeyIdentifier}, {l.ManualMode, ReasonManualMode}, {l.Disabled, ReasonDisabled}} {
		for range group.count {
			if l.Sharded {
				b.sharded(shards, group.reason)
			} else {
				b.replicaSet(group.reason)
			}
		}
	}
}

// makeModern: every fourth runs 4.2 binaries, of which only the automation configuration tells that they are not at
// 4.0; every second had its key turned before.
func (c *entity) makeModern(seq int) {
	c.modern = true
	all := [...][2]string{{version42, fcv42}, {"5.0.31-ent", "5.0"}, {"6.0.16-ent", "6.0"}, {"10.0.1-ent", "10.0"}}
	c.version, c.fcv = all[seq%len(all)][0], all[seq%len(all)][1]
	if seq%2 == 1 {
		c.rotatedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
}

// versions returns the version of the binaries and the real feature
// compatibility version. Every fourth deployment runs 4.2 binaries at 4.0.
func versions(leaveOut Reason, seq int) (version, fcv string) {
	switch {
	case leaveOut == ReasonFCV42 || leaveOut == ReasonFCVUnknown:
		return version42, fcv42
	case seq%4 == 3:
		return version42, fcv40
	default:
		return version40, fcv40
	}
}

func (e *Estate) newID() string {
	e.next++
	return objectID(e.seed, e.next)
}

// objectID returns 24 hexadecimal digits that are unique by n.
func objectID(seed, n uint64) string {
	var id [12]byte
	binary.BigEndian.PutUint64(id[:], mix(seed, n))
	binary.BigEndian.PutUint32(id[:], 0x5ba00000+uint32(n/60)) //nolint:gosec // G115: a rough time of creation, as in real ids
	binary.BigEndian.PutUint32(id[8:], uint32(n))              //nolint:gosec // G115: far fewer than 2^32 ids
	return hex.EncodeToString(id[:])
}

// keyOf returns the UUID of a unit's key after so many turns.
func keyOf(seed, index, turns uint64) string {
	seed = ^seed // nothing in a key repeats a part of an id
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], mix(seed^index, turns*2))
	binary.BigEndian.PutUint64(id[8:], mix(seed^turns, index))
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[:8], id[:4])
	hex.Encode(out[9:13], id[4:6])
	hex.Encode(out[14:18], id[6:8])
	hex.Encode(out[19:23], id[8:10])
	hex.Encode(out[24:], id[10:])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// mix spreads two numbers over 64 bits (the finalizer of SplitMix64, twice).
func mix(a, b uint64) uint64 {
	for _, n := range [...]uint64{b, 0x9e3779b97f4a7c15} {
		a += n*0x9e3779b97f4a7c15 + 0x632be59bd9b4e019
		a = (a ^ a>>30) * 0xbf58476d1ce4e5b9
		a = (a ^ a>>27) * 0x94d049bb133111eb
		a ^= a >> 31
	}
	return a
}

func pad(n int) string {
	s := strconv.Itoa(n)
	if len(s) < 3 {
		return "000"[len(s):] + s
	}
	return s
}
