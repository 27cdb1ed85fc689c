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
	Hostname       string `json:"hostname"`
	State          string `json:"replicaStateName"`
	LastPing       string `json:"lastPing"`
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
		case "hostname":
			return &h.Hostname
		case "replicaStateName":
			return &h.State
		case "lastPing":
			return &h.LastPing
		default:
			return nil
		}
	})
}

// fcv is what is known of a replica set's feature compatibility version.
type fcv struct {
	version string // empty: unknown, or only known to be low or high
	low     bool   // at most 4.0: its backup has a key of its own
	high    bool   // at least 4.2: its key is that of the deployment
	why     string // neither: the reason; high: how it is known
}

// names reports whether the config names the component, as what it is, once.
func (p *plan) names(comp component) bool {
	name := comp.name()
	return p.fits(comp) && !p.double[name] && len(p.members[name]) > 0
}

// fcv looks a component up; known is false if not all of its processes have one.
func (p *plan) fcv(comp component) (found fcv, known bool) {
	if !p.names(comp) {
		return fcv{}, false
	}
	highest, lowest := "", ""
	for _, member := range p.members[comp.name()] {
		v := p.mongods[member.Host].fcv
		if v == highest && v == lowest && v != "" { // as for nearly all
			continue
		}
		if _, ok := parseVersion(v); !ok {
			return fcv{}, false
		}
		if highest == "" || compareVersions(v, highest) > 0 {
			highest = v
		}
		if lowest == "" || compareVersions(v, lowest) < 0 {
			lowest = v
		}
	}
	switch {
	case compareVersions(highest, "4.0") <= 0:
		return fcv{version: highest, low: true}, true
	case compareVersions(lowest, "4.0") <= 0:
		return fcv{version: highest, why: "FCV is " + lowest + " for some of its processes and " + highest + " for others: wait until it is the same for all"}, true
	default:
		return fcv{version: highest, high: true, why: "FCV " + highest}, true
	}
}

// fits reports whether the replica set of that name is what the component is.
// Of two components of that name, one that automation manages and one that it does not, it can't be told which.
// A sharded cluster may have another name in the list of clusters than in the automation config.
func (p *plan) fits(comp component) bool {
	name := comp.name()
	switch comp.kind {
	case keyturn.ComponentShard:
		return p.partOf(p.shardOf[name], comp)
	case keyturn.ComponentConfig:
		return p.partOf(p.configOf[name], comp)
	default:
		return !comp.twin && len(p.shardOf[name]) == 0 && len(p.configOf[name]) == 0
	}
}

func (p *plan) partOf(clusters []string, comp component) bool {
	if p.sharded[comp.ClusterName] {
		return slices.Contains(clusters, comp.ClusterName)
	}
	return !comp.twin && len(clusters) == 1
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
			return fcv{high: true, why: "FCV is at least 4.2, as MongoDB " + h.Version + " runs on it"}
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
