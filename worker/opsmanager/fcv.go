package opsmanager

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn"
)

// host is a process that was seen running.
type host struct {
	ID             string `json:"id"`
	ClusterID      string `json:"clusterId"`
	ReplicaSetName string `json:"replicaSetName"`
	TypeName       string `json:"typeName"`
	Version        string `json:"version"` // of the binary
}

func (h *host) scan(s *scanner) {
	s.object(func(name string) *string {
		switch name {
		case "id":
			return &h.ID
		case "clusterId":
			return &h.ClusterID
		case "replicaSetName":
			return &h.ReplicaSetName
		case "typeName":
			return &h.TypeName
		case "version":
			return &h.Version
		default:
			return nil
		}
	})
}

// fcv is what is known of a replica set's feature compatibility version.
type fcv struct {
	version string // empty: unknown, or only known to be low enough
	low     bool   // at most 4.0
	why     string // not low: the reason
}

// plan is the automation config, made ready to look replica sets up in.
type plan struct {
	members  map[string][]string // by replica set: names of processes
	double   map[string]bool     // replica sets that are listed more than once
	fcvs     map[string]string   // by name of a mongod process
	shardOf  map[string][]string // by replica set: sharded clusters that it is a shard of
	configOf map[string][]string // the same for config servers
	sharded  map[string]bool     // names of sharded clusters
}

func newPlan(ac automationConfig) *plan {
	p := &plan{
		members: make(map[string][]string, len(ac.ReplicaSets)), double: make(map[string]bool),
		fcvs:    make(map[string]string, len(ac.Processes)),
		shardOf: make(map[string][]string), configOf: make(map[string][]string), sharded: make(map[string]bool),
	}
	for _, process := range ac.Processes {
		if process.ProcessType == "mongod" {
			p.fcvs[process.Name] = process.FCV
		}
	}
	for _, rs := range ac.ReplicaSets {
		if _, ok := p.members[rs.ID]; ok {
			p.double[rs.ID] = true
		}
		members := make([]string, len(rs.Members))
		for i, m := range rs.Members {
			members[i] = m.Host
		}
		p.members[rs.ID] = members
	}
	for _, s := range ac.Sharding {
		p.sharded[s.Name] = true
		p.configOf[s.ConfigServer] = append(p.configOf[s.ConfigServer], s.Name)
		for _, shard := range s.Shards {
			p.shardOf[shard.ReplicaSet] = append(p.shardOf[shard.ReplicaSet], s.Name)
		}
	}
	return p
}

// fcv looks a component up; known is false if not all of its processes have one.
func (p *plan) fcv(comp component) (found fcv, known bool) {
	name := comp.name()
	if !p.fits(comp) || p.double[name] || len(p.members[name]) == 0 {
		return fcv{}, false
	}
	highest := ""
	for _, process := range p.members[name] {
		v := p.fcvs[process]
		if _, ok := parseVersion(v); !ok {
			return fcv{}, false
		}
		if highest == "" || compareVersions(v, highest) > 0 {
			highest = v
		}
	}
	if compareVersions(highest, "4.0") > 0 {
		return fcv{version: highest, why: "FCV " + highest + ": the backup endpoint acts only up to FCV 4.0"}, true
	}
	return fcv{version: highest, low: true}, true
}

// fits reports whether the replica set of that name is what the component is.
// A sharded cluster may have another name in the list of clusters than in the automation config.
func (p *plan) fits(comp component) bool {
	name := comp.name()
	switch comp.kind {
	case keyturn.ComponentShard:
		return p.partOf(p.shardOf[name], comp.ClusterName)
	case keyturn.ComponentConfig:
		return p.partOf(p.configOf[name], comp.ClusterName)
	default:
		return len(p.shardOf[name]) == 0 && len(p.configOf[name]) == 0
	}
}

func (p *plan) partOf(clusters []string, name string) bool {
	if p.sharded[name] {
		return slices.Contains(clusters, name)
	}
	return len(clusters) == 1
}

// fcvByHosts judges by the versions of the binaries: an FCV is that of the
// binary or the one before, so that below 4.2 it is at most 4.0, above 4.2 at
// least 4.2, and with 4.2 it can be either.
// https://www.mongodb.com/docs/manual/reference/command/setFeatureCompatibilityVersion/
func fcvByHosts(members []host, unread string) fcv {
	unclear := ""
	for _, h := range members {
		if _, ok := parseVersion(h.Version); !ok {
			unclear = "a host does not tell its version"
			continue
		}
		switch diff := compareVersions(h.Version, "4.2"); {
		case diff > 0:
			return fcv{why: "FCV is at least 4.2, as MongoDB " + h.Version + " runs on it: the backup endpoint acts only up to FCV 4.0"}
		case diff == 0:
			unclear = "MongoDB " + h.Version + " may run at FCV 4.0 or 4.2"
		}
	}
	switch {
	case len(members) == 0:
		unclear = "no host of it is known"
	case unclear == "":
		return fcv{low: true}
	}
	return fcv{why: fmt.Sprintf("FCV is unknown: %s, and %s", unclear, unread)}
}

// inventory is the hosts of a project, made ready to look replica sets up in.
type inventory struct {
	byCluster, byReplicaSet map[string][]host
	families                map[string]string // by cluster id: the name that a sharded cluster and its parts share
}

func newInventory(hosts []host, clusters []cluster) *inventory {
	inv := &inventory{
		byCluster: make(map[string][]host), byReplicaSet: make(map[string][]host),
		families: make(map[string]string, len(clusters)),
	}
	for _, cl := range clusters {
		inv.families[cl.ID] = cl.ClusterName
	}
	for _, h := range hosts {
		if strings.Contains(h.TypeName, "MONGOS") {
			continue
		}
		inv.byCluster[h.ClusterID] = append(inv.byCluster[h.ClusterID], h)
		if h.ReplicaSetName != "" {
			inv.byReplicaSet[h.ReplicaSetName] = append(inv.byReplicaSet[h.ReplicaSetName], h)
		}
	}
	return inv
}

// members returns the hosts of a component's replica set. A host may name the
// sharded cluster as its own, or another part of it, or none.
func (inv *inventory) members(comp component) []host {
	found := slices.Clone(inv.byCluster[comp.ID])
	for _, h := range inv.byReplicaSet[comp.name()] {
		family := inv.families[h.ClusterID]
		if h.ClusterID == "" || h.ClusterID != comp.ID && comp.parent != nil && family == comp.ClusterName {
			found = append(found, h)
		}
	}
	return found
}

// version is major and minor.
type version [2]int

// parseVersion reads "4.0", "4.0.28" and "4.0.28-ent".
func parseVersion(s string) (version, bool) {
	majorText, rest, _ := strings.Cut(s, ".")
	minorText := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		minorText = rest[:end]
	}
	major, err := strconv.ParseUint(majorText, 10, 16)
	if err != nil {
		return version{}, false
	}
	minor, err := strconv.ParseUint(minorText, 10, 16)
	if err != nil {
		return version{}, false
	}
	return version{int(major), int(minor)}, true
}

// compareVersions compares as numbers: 10.0 is above 4.0.
func compareVersions(a, b string) int {
	va, _ := parseVersion(a)
	vb, _ := parseVersion(b)
	return slices.Compare(va[:], vb[:])
}
