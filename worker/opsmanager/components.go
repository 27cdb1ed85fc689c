package opsmanager

import (
	"cmp"
	"fmt"

	"github.com/keyturn/keyturn"
)

// What typeName says of a cluster. Only it tells a sharded cluster from its
// parts: it has been seen to carry a shardName itself.
// https://www.mongodb.com/docs/ops-manager/v7.0/reference/api/clusters/clusters-get-all/
const (
	typeReplicaSet        = "REPLICA_SET"
	typeConfigServer      = "CONFIG_SERVER_REPLICA_SET"
	typeShardedReplicaSet = "SHARDED_REPLICA_SET" // a sharded cluster with at least one shard that is a replica set
	typeSharded           = "SHARDED"             // one whose shards are all standalones
)

// cluster is an element of the clusters resource: a sharded cluster, one of
// its parts, or a plain replica set.
type cluster struct {
	ID             string `json:"id"`
	ClusterName    string `json:"clusterName"`
	TypeName       string `json:"typeName"`
	ReplicaSetName string `json:"replicaSetName"`
	ShardName      string `json:"shardName"`
}

func (c *cluster) scan(s *scanner) {
	s.object(func(name string) *string {
		switch name {
		case "id":
			return &c.ID
		case "clusterName":
			return &c.ClusterName
		case "typeName":
			return &c.TypeName
		case "replicaSetName":
			return &c.ReplicaSetName
		case "shardName":
			return &c.ShardName
		default:
			return nil
		}
	})
}

// component is a cluster that has a master key of its own, or should have.
type component struct {
	cluster
	kind   keyturn.Component
	parent *cluster // of shards and config servers; nil if there is no one such
	flaw   string   // why it can't be told what it is; empty: it can
	twin   bool     // another component has the same replica set's name
}

// markTwins marks components that their replica set's name does not tell apart.
func markTwins(all []component) {
	first := make(map[string]int, len(all))
	for i := range all {
		name := all[i].name()
		if j, ok := first[name]; ok {
			all[i].twin, all[j].twin = true, true
		}
		first[name] = i
	}
}

// family is a sharded cluster with its parts. The name is all that holds them together.
type family struct {
	name    string
	parents []cluster
	shards  []cluster
	configs []cluster
}

// components finds the units among the clusters of a project. The sharded
// cluster itself is none: it has no key, and its id must never be used to turn one.
func components(clusters []cluster) []component {
	var (
		all      = make([]component, 0, len(clusters))
		families []*family
		byName   = make(map[string]*family)
	)
	member := func(cl cluster) *family {
		f := byName[cl.ClusterName]
		if f == nil {
			f = &family{name: cl.ClusterName}
			byName[cl.ClusterName] = f
			families = append(families, f)
		}
		return f
	}
	for _, cl := range clusters {
		switch {
		case cl.TypeName == typeShardedReplicaSet || cl.TypeName == typeSharded:
			f := member(cl)
			f.parents = append(f.parents, cl)
		case cl.TypeName == typeConfigServer:
			f := member(cl)
			f.configs = append(f.configs, cl)
		case cl.TypeName == typeReplicaSet && cl.ShardName != "":
			f := member(cl)
			f.shards = append(f.shards, cl)
		case cl.TypeName == typeReplicaSet:
			all = append(all, component{cluster: cl, kind: keyturn.ComponentReplicaSet})
		}
	}
	for _, f := range families {
		all = f.components(all)
	}
	markTwins(all)
	return all
}

// components adds those of the sharded cluster to all.
func (f *family) components(all []component) []component {
	before := len(all)
	flaw := f.flaw()
	var parent *cluster
	if len(f.parents) == 1 {
		parent = &f.parents[0]
	}
	for _, cl := range f.shards {
		all = append(all, component{cluster: cl, kind: keyturn.ComponentShard, parent: parent, flaw: flaw})
	}
	for _, cl := range f.configs {
		all = append(all, component{cluster: cl, kind: keyturn.ComponentConfig, parent: parent, flaw: flaw})
	}
	if len(all) > before {
		return all
	}
	// A sharded cluster without any part: reported in their place, so that it
	// is seen that nothing is done for it.
	for _, cl := range f.parents {
		all = append(all, component{cluster: cl, kind: keyturn.ComponentShard, parent: parent, flaw: flaw})
	}
	return all
}

// flaw says what is wrong with the sharded cluster, if something is.
func (f *family) flaw() string {
	switch {
	case len(f.parents) == 0:
		return fmt.Sprintf("sharded cluster %s, which it is a part of, is not in the list of clusters", f.name)
	case len(f.parents) > 1:
		return fmt.Sprintf("%d sharded clusters of the project are named %s, so their parts can't be told apart: rename one", len(f.parents), f.name)
	case f.parents[0].TypeName == typeSharded:
		return fmt.Sprintf("the shards of %s are standalones, whose backups have no master key of their own", f.name)
	case len(f.configs) == 0:
		return fmt.Sprintf("sharded cluster %s has no config server replica set in the list of clusters: mirrored config servers can't have encrypted backups", f.name)
	case len(f.configs) > 1:
		return fmt.Sprintf("sharded cluster %s has %d config server replica sets in the list of clusters, expected one", f.name, len(f.configs))
	case len(f.shards) == 0:
		return fmt.Sprintf("sharded cluster %s has no shards in the list of clusters", f.name)
	default:
		return ""
	}
}

// name is the replica set's.
func (c component) name() string {
	if c.TypeName == typeReplicaSet || c.TypeName == typeConfigServer {
		return cmp.Or(c.ReplicaSetName, c.ShardName, c.ClusterName)
	}
	return c.ClusterName
}

// backupID is the cluster whose backup configuration says whether backup is on:
// it can be set for a sharded cluster only as a whole.
func (c component) backupID() string {
	if c.parent != nil {
		return c.parent.ID
	}
	return c.ID
}
