package opsmanager_test

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn"
)

func shard(id, clusterName, name string) object {
	return object{"id": id, "clusterName": clusterName, "replicaSetName": name, "shardName": name, "typeName": "REPLICA_SET"}
}

func configServers(id, clusterName, name string) object {
	return object{"id": id, "clusterName": clusterName, "replicaSetName": name, "typeName": "CONFIG_SERVER_REPLICA_SET"}
}

// sharded is the parent; it carries a shardName, as real ones have been seen to.
func sharded(id, clusterName, typeName string) object {
	return object{"id": id, "clusterName": clusterName, "shardName": clusterName + "-0", "typeName": typeName}
}

func replicaSet(id, name string) object {
	return object{"id": id, "clusterName": name, "replicaSetName": name, "typeName": "REPLICA_SET"}
}

func backup(id, status string, encrypted any) object {
	b := object{"clusterId": id, "statusName": status}
	if encrypted != nil {
		b["encryptionEnabled"] = encrypted
	}
	return b
}

// automation builds an automation config of replica sets with two members each.
type automation struct {
	processes, replicaSets, sharding []object
}

func (a *automation) replicaSet(name string, fcvs ...any) *automation {
	members := []object{}
	for i, fcv := range fcvs {
		process := fmt.Sprintf("%s_process_%d", name, i)
		members = append(members, object{"_id": i, "host": process})
		p := object{"name": process, "processType": "mongod"}
		if fcv != nil {
			p["featureCompatibilityVersion"] = fcv
		}
		a.processes = append(a.processes, p)
	}
	a.replicaSets = append(a.replicaSets, object{"_id": name, "members": members})
	return a
}

func (a *automation) cluster(name, config string, shards ...string) *automation {
	list := []object{}
	for i, rs := range shards {
		list = append(list, object{"_id": fmt.Sprintf("shard_%d", i), "rs": rs})
	}
	a.processes = append(a.processes, object{"name": name + "_mongos", "processType": "mongos", "cluster": name, "featureCompatibilityVersion": "9.0"})
	a.sharding = append(a.sharding, object{"name": name, "configServerReplica": config, "shards": list})
	return a
}

func (a *automation) object() object {
	return object{"processes": a.processes, "replicaSets": a.replicaSets, "sharding": a.sharding, "version": 7, "auth": object{"key": "secret"}}
}

func host(id, clusterID, replicaSet, version string) object {
	return object{"id": id, "clusterId": clusterID, "replicaSetName": replicaSet, "version": version, "typeName": "REPLICA_SECONDARY"}
}

// estate sets what the project of a fake has.
func (f *fake) estate(clusters, backups []object, a *automation) {
	f.lists[projectPath+"/clusters"] = append([]object{}, clusters...)
	f.lists[projectPath+"/backupConfigs"] = append([]object{}, backups...)
	if a != nil {
		f.objects[projectPath+"/automationConfig"] = a.object()
	}
}

// shannon is a sharded cluster of two shards, beside a replica set.
func (f *fake) shannon() {
	f.estate(
		[]object{
			sharded("p", "shannon", "SHARDED_REPLICA_SET"), shard("s0", "shannon", "shannon-0"), shard("s1", "shannon", "shannon-1"),
			configServers("cs", "shannon", "shannon-config"), replicaSet("rs", "liffey"),
		},
		[]object{
			backup("p", "STARTED", nil), backup("s0", "INACTIVE", true), backup("s1", "INACTIVE", true),
			backup("cs", "INACTIVE", true), backup("rs", "STARTED", true),
		},
		new(automation).replicaSet("shannon-0", "4.0", "4.0").replicaSet("shannon-1", "3.6", "4.0").replicaSet("shannon-config", "4.0").
			replicaSet("liffey", "3.4", "3.4").cluster("shannon", "shannon-config", "shannon-0", "shannon-1"),
	)
}

func discover(t *testing.T, f *fake, sel keyturn.Selection) map[string]keyturn.Unit {
	t.Helper()
	units, err := f.client(t).Discover(t.Context(), sel)
	if err != nil {
		t.Fatal(err)
	}
	byCluster := make(map[string]keyturn.Unit)
	for _, u := range units {
		if u.Rotatable != (u.Reason == "") {
			t.Errorf("unit %s: rotatable %t, reason %q", u.ID, u.Rotatable, u.Reason)
		}
		byCluster[u.ClusterID] = u
	}
	if len(byCluster) != len(units) {
		t.Errorf("a unit came twice: %+v", units)
	}
	return byCluster
}
