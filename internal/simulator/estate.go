package simulator

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// typeName is the kind of an entity of the clusters resource.
type typeName string

const (
	typeReplicaSet   typeName = "REPLICA_SET"
	typeSharded      typeName = "SHARDED_REPLICA_SET"
	typeConfigServer typeName = "CONFIG_SERVER_REPLICA_SET"
)

// Reason says why a unit must be left out of a rotation; empty: it must not.
type Reason string

// The reasons.
const (
	ReasonBackupOff     Reason = "backup-off"     // its backup is STOPPED or INACTIVE
	ReasonEncryptionOff Reason = "encryption-off" // its backup is not encrypted
	ReasonFCV42         Reason = "fcv-4.2"        // the endpoint doesn't work for it, and it has no key in a KMIP server
	ReasonFCVUnknown    Reason = "fcv-unknown"    // 4.2 binaries that automation doesn't manage
	ReasonKeyIdentifier Reason = "key-identifier" // FCV 4.2 or newer, with a key that its configuration names
	ReasonManualMode    Reason = "manual-mode"    // FCV 4.2 or newer, whose processes no agent restarts
	ReasonDisabled      Reason = "disabled"       // FCV 4.2 or newer, whose processes are switched off
)

// EstateConfig says what an estate consists of. Counts below zero are zero.
type EstateConfig struct {
	Seed uint64 // the same configuration and seed make the same ids and keys

	Projects              int
	ClustersPerProject    int // sharded clusters; each is ShardsPerCluster units and one more for its config servers
	ShardsPerCluster      int // 0 means 2
	ReplicaSetsPerProject int // plain replica sets; each is one unit

	// The same at FCV 4.2 and newer: the agents turn their keys, by the automation config.
	ModernClustersPerProject, ModernReplicaSetsPerProject int

	LeftOut LeftOut // what every project has in addition
}

// LeftOut counts the deployments of every project that a rotation must not
// touch, by the reason.
type LeftOut struct {
	BackupOff, EncryptionOff, FCV42, FCVUnknown int
	KeyIdentifier, ManualMode, Disabled         int

	Sharded bool // they are sharded clusters instead of plain replica sets
}

// Estate is everything an Ops Manager knows about, and the truth about what
// happened to it. It is safe for concurrent use.
type Estate struct {
	seed     uint64
	projects []*project
	byID     map[string]*entity
	groups   map[string]*project
	next     uint64 // counts ids while the estate is made
	agents   atomic.Pointer[Agents]
	truth    truth
}

type project struct {
	id, name, orgID string
	live            atomic.Pointer[[]*entity] // in the order of listings; replaced when one is removed
	automation      *automation               // nil: there are no agents that could turn a key
	configSize      atomic.Int64              // of the automation config when it was written last
	index           uint64
	draws           atomic.Uint64 // faults drawn for PUTs of its automation config
	conflicts       atomic.Uint64 // and conflicts
}

// Unit is one thing with a key of its own, as a rotation has to find it.
type Unit struct {
	ProjectID   string `json:"projectId"`
	ProjectName string `json:"projectName"`
	ClusterID   string `json:"clusterId"`   // the id that its key is asked for with
	ClusterName string `json:"clusterName"` // the cluster that it is a component of
	Name        string `json:"name"`        // its replica set's name
	TypeName    string `json:"typeName"`
	Key         string `json:"key"` // the key that is really in use
	LeaveOut    Reason `json:"leaveOut,omitempty"`
	Automation  bool   `json:"automation,omitempty"` // the agents turn its key
}

// NewEstate makes an estate.
func NewEstate(cfg EstateConfig) *Estate {
	e := newEstate(cfg.Seed)
	shards := cfg.ShardsPerCluster
	if shards <= 0 {
		shards = 2
	}
	for range cfg.Projects {
		b := e.newProject()
		for range cfg.ClustersPerProject {
			b.sharded(shards, "")
		}
		for range cfg.ReplicaSetsPerProject {
			b.replicaSet("")
		}
		b.leftOut(cfg.LeftOut, shards)
		b.modern = true
		for range cfg.ModernClustersPerProject {
			b.sharded(shards, "")
		}
		for range cfg.ModernReplicaSetsPerProject {
			b.replicaSet("")
		}
		b.modernLeftOut(cfg.LeftOut, shards)
		b.done()
	}
	return e
}

// unitsPerProject bounds the projects of EstateOf.
const unitsPerProject = 200

// EstateOf makes an estate of exactly that many units, all of which can be
// rotated: projects of 200, in which four of five units are parts of a
// sharded cluster (three shards and the config servers).
func EstateOf(units int) *Estate {
	e := newEstate(1)
	for left := units; left > 0; left -= unitsPerProject {
		n := min(left, unitsPerProject)
		b := e.newProject()
		for range n / 5 {
			b.sharded(3, "")
		}
		for range n - n/5*4 {
			b.replicaSet("")
		}
		b.done()
	}
	return e
}

// Units returns every unit that still exists, in the order of the listings.
func (e *Estate) Units() []Unit {
	e.settle()
	var units []Unit
	for _, p := range e.projects {
		for _, c := range *p.live.Load() {
			if c.typ == typeSharded {
				continue
			}
			units = append(units, Unit{
				ProjectID: p.id, ProjectName: p.name, ClusterID: c.id, ClusterName: c.clusterName,
				Name: c.replicaSet, TypeName: string(c.typ), Key: c.current(), LeaveOut: c.leaveOut, Automation: c.modern,
			})
		}
	}
	return units
}

// Truth returns every change of a key in the order in which they happened.
func (e *Estate) Truth() []Record {
	e.settle()
	return slices.Clone(e.truth.after(0, 0))
}

// Rotate turns the key of a unit as if somebody else had asked for it.
func (e *Estate) Rotate(clusterID string) (Record, error) {
	c := e.byID[clusterID]
	if c == nil || c.typ == typeSharded {
		return Record{}, fmt.Errorf("rotating %q: there is no such unit; take a clusterId of the units", clusterID)
	}
	r, ok := e.turn(c, change{by: ByElsewhere})
	if !ok {
		return Record{}, fmt.Errorf("rotating %q: it was removed", clusterID)
	}
	return r, nil
}

// Remove makes a cluster disappear: a sharded cluster with all its parts, or
// one replica set. It reports whether it was there.
func (e *Estate) Remove(clusterID string) bool {
	gone := e.byID[clusterID]
	if gone == nil || !gone.remove() {
		return false
	}
	p := gone.project
	for {
		before := p.live.Load()
		after := make([]*entity, 0, len(*before))
		for _, c := range *before {
			if c.parent == gone {
				c.remove()
			}
			if !c.removed.Load() {
				after = append(after, c)
			}
		}
		if p.live.CompareAndSwap(before, &after) {
			return true
		}
	}
}

// cluster returns a cluster of a project; nil: there is none.
func (e *Estate) cluster(p *project, id string) *entity {
	c := e.byID[id]
	if c == nil || c.project != p || c.removed.Load() {
		return nil
	}
	return c
}
