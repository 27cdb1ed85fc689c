package simulator_test

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/simulator"
)

type cluster struct{ ID, GroupID, ClusterName, ReplicaSetName, ShardName, TypeName string }

type link struct{ Href, Rel string }

type page[T any] struct {
	TotalCount *int
	Results    []T
	Links      []link
	Status     int
}

func (c *client) clusters(group string) []cluster {
	c.t.Helper()
	var p page[cluster]
	c.get("/groups/"+group+"/clusters?itemsPerPage=500", &p)
	return p.Results
}

func leftOutEstate() *simulator.Estate {
	return simulator.NewEstate(simulator.EstateConfig{
		Projects: 1, ClustersPerProject: 1, ReplicaSetsPerProject: 1,
		LeftOut: simulator.LeftOut{BackupOff: 2, EncryptionOff: 1, FCV42: 1, FCVUnknown: 1},
	})
}

func find(t *testing.T, e *simulator.Estate, reason simulator.Reason) simulator.Unit {
	t.Helper()
	for _, u := range e.Units() {
		if u.LeaveOut == reason {
			return u
		}
	}
	t.Fatalf("no unit is %q", reason)
	return simulator.Unit{}
}

func TestClusters_ListsTheParentAndItsParts(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	c := clientOf(t, s)
	group := s.Estate().Units()[0].ProjectID
	var got []cluster
	for _, cl := range c.clusters(group) {
		if cl.GroupID != group || len(cl.ID) != 24 {
			t.Errorf("ids of %+v", cl)
		}
		cl.ID, cl.GroupID = "", ""
		got = append(got, cl)
	}
	want := []cluster{
		{ClusterName: "cluster-000", ShardName: "cluster-000-0", TypeName: "SHARDED_REPLICA_SET"},
		{ClusterName: "cluster-000", ReplicaSetName: "cluster-000-0", ShardName: "cluster-000-0", TypeName: "REPLICA_SET"},
		{ClusterName: "cluster-000", ReplicaSetName: "cluster-000-1", ShardName: "cluster-000-1", TypeName: "REPLICA_SET"},
		{ClusterName: "cluster-000", ReplicaSetName: "cluster-000-config", TypeName: "CONFIG_SERVER_REPLICA_SET"},
		{ClusterName: "rs-000", ReplicaSetName: "rs-000", TypeName: "REPLICA_SET"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestGet_OneOfEach(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{Version: "5.0.1"})
	c := clientOf(t, s)
	u := s.Estate().Units()[0]
	var one cluster
	a := c.get("/groups/"+u.ProjectID+"/clusters/"+u.ClusterID, &one)
	if one.ID != u.ClusterID || one.ReplicaSetName != u.Name {
		t.Errorf("cluster %+v", one)
	}
	if v := a.header.Get("X-MongoDB-Service-Version"); !strings.HasSuffix(v, "versionString=5.0.1") {
		t.Errorf("version header %q", v)
	}
	var group struct{ ID, Name string }
	c.get("/groups/"+u.ProjectID, &group)
	if group.ID != u.ProjectID || group.Name != u.ProjectName {
		t.Errorf("group %+v", group)
	}
	var root struct{ AppName string }
	if c.get("", &root); root.AppName != "MongoDB Ops Manager" {
		t.Errorf("root %+v", root)
	}
	var all page[struct {
		GroupID  string
		Clusters []struct {
			Name, Type string
			Versions   []string
			NodeCount  int
		}
	}]
	c.get("/clusters", &all)
	if len(all.Results) != 2 || len(all.Results[0].Clusters) != 2 || all.Results[0].Clusters[0].NodeCount != 10 {
		t.Errorf("all clusters %+v", all)
	}
}

func TestBackupConfigs(t *testing.T) {
	t.Parallel()
	e := leftOutEstate()
	c := clientOf(t, newSimulator(t, simulator.Config{Estate: e}))
	type config struct {
		ClusterID, StatusName string
		EncryptionEnabled     *bool
	}
	var p page[config]
	c.get("/groups/"+e.Units()[0].ProjectID+"/backupConfigs", &p)
	if len(p.Results) != 10 {
		t.Errorf("%d entries, not one for each entity", len(p.Results))
	}
	for reason, want := range map[simulator.Reason]struct {
		status    string
		encrypted bool
	}{
		"":                            {"STARTED", true},
		simulator.ReasonBackupOff:     {"INACTIVE", true},
		simulator.ReasonEncryptionOff: {"STARTED", false},
	} {
		u := find(t, e, reason)
		var one config
		c.get("/groups/"+u.ProjectID+"/backupConfigs/"+u.ClusterID, &one)
		if one.StatusName != want.status || *one.EncryptionEnabled != want.encrypted {
			t.Errorf("%q: %+v", reason, one)
		}
		if i := slices.IndexFunc(p.Results, func(c config) bool { return c.ClusterID == u.ClusterID }); !reflect.DeepEqual(p.Results[i], one) {
			t.Errorf("listed as %+v, alone %+v", p.Results[i], one)
		}
	}
	omit := clientOf(t, newSimulator(t, simulator.Config{Estate: e, ListsOmitEncryption: true}))
	var without page[config]
	omit.get("/groups/"+e.Units()[0].ProjectID+"/backupConfigs", &without)
	if without.Results[0].EncryptionEnabled != nil {
		t.Error("the list has encryptionEnabled")
	}
}

func TestAutomationConfigAndHosts(t *testing.T) {
	t.Parallel()
	e := leftOutEstate()
	c := clientOf(t, newSimulator(t, simulator.Config{Estate: e}))
	group := e.Units()[0].ProjectID
	var cfg struct {
		Processes []struct {
			Name, Hostname, ProcessType, Version, FeatureCompatibilityVersion, Cluster string
			Args                                                                       struct {
				Replication struct{ ReplSetName string }
				Sharding    struct{ ClusterRole string }
			} `json:"args2_6"`
		}
		ReplicaSets []struct {
			ID      string `json:"_id"`
			Members []struct{ Host string }
		}
		Sharding []struct {
			Name, ConfigServerReplica string
			Shards                    []struct {
				ID string `json:"_id"`
				RS string
			}
		}
	}
	c.get("/groups/"+group+"/automationConfig", &cfg)
	fcv, role, names := map[string]string{}, map[string]string{}, map[string]bool{}
	for _, p := range cfg.Processes {
		fcv[p.Args.Replication.ReplSetName] = p.FeatureCompatibilityVersion
		role[p.Args.Replication.ReplSetName] = p.Args.Sharding.ClusterRole
		names[p.Name] = true
	}
	for _, rs := range cfg.ReplicaSets {
		for _, m := range rs.Members {
			if !names[m.Host] {
				t.Errorf("member %s of %s is no process", m.Host, rs.ID)
			}
		}
	}
	for reason, want := range map[simulator.Reason]string{"": "4.0", simulator.ReasonFCV42: "4.2", simulator.ReasonFCVUnknown: ""} {
		if u := find(t, e, reason); fcv[u.Name] != want {
			t.Errorf("%q has the FCV %q", reason, fcv[u.Name])
		}
	}
	if len(cfg.Sharding) != 1 || cfg.Sharding[0].ConfigServerReplica != "cluster-000-config" ||
		cfg.Sharding[0].Shards[1].RS != "cluster-000-1" || cfg.Sharding[0].Shards[1].ID == cfg.Sharding[0].Shards[1].RS {
		t.Errorf("sharding %+v", cfg.Sharding)
	}
	if role["cluster-000-0"] != "shardsvr" || role["cluster-000-config"] != "configsvr" || role["rs-000"] != "" {
		t.Errorf("roles %v", role)
	}

	type host struct{ ClusterID, ReplicaSetName, ShardName, TypeName, Version, Hostname string }
	var hosts page[host]
	c.get("/groups/"+group+"/hosts", &hosts)
	if len(hosts.Results) != 3*9+1 {
		t.Errorf("%d hosts", len(hosts.Results))
	}
	u := find(t, e, simulator.ReasonFCVUnknown)
	c.get("/groups/"+group+"/hosts?clusterId="+u.ClusterID, &hosts)
	if len(hosts.Results) != 3 || !strings.HasPrefix(hosts.Results[0].Version, "4.2") || hosts.Results[0].TypeName != "REPLICA_PRIMARY" {
		t.Errorf("hosts of the unknown %+v", hosts.Results)
	}
	parent := c.clusters(group)[0]
	c.get("/groups/"+group+"/hosts?clusterId="+parent.ID, &hosts)
	if len(hosts.Results) != 3*3+1 || hosts.Results[0].TypeName != "SHARD_MONGOS" {
		t.Errorf("hosts of the sharded cluster %+v", hosts.Results)
	}
}

func TestPaging(t *testing.T) {
	t.Parallel()
	e := simulator.NewEstate(simulator.EstateConfig{Projects: 1, ReplicaSetsPerProject: 205})
	c := clientOf(t, newSimulator(t, simulator.Config{Estate: e, CentralURL: "https://om.invalid/"}))
	path := "/groups/" + e.Units()[0].ProjectID + "/clusters"
	seen := map[string]bool{}
	for i, want := range []struct {
		items int
		rels  string
	}{{100, "self next"}, {100, "self previous next"}, {5, "self previous"}, {0, "self previous"}} {
		var p page[cluster]
		query := fmt.Sprintf("?pageNum=%d", i+1)
		if i == 0 {
			query = ""
		}
		c.get(path+query, &p)
		var rels []string
		for _, l := range p.Links {
			rels = append(rels, l.Rel)
			if !strings.HasPrefix(l.Href, "https://om.invalid/api/public/v1.0"+path+"?pageNum=") {
				t.Errorf("link %q", l.Href)
			}
		}
		if len(p.Results) != want.items || strings.Join(rels, " ") != want.rels || *p.TotalCount != 205 {
			t.Errorf("page %d: %d items, %v, total %d", i+1, len(p.Results), rels, *p.TotalCount)
		}
		for _, cl := range p.Results {
			seen[cl.ID] = true
		}
	}
	if len(seen) != 205 {
		t.Errorf("saw %d clusters", len(seen))
	}
	var p page[cluster]
	c.get(path+"?itemsPerPage=500&includeCount=false", &p)
	if len(p.Results) != 205 || p.TotalCount != nil {
		t.Errorf("one page: %d items, total %v", len(p.Results), p.TotalCount)
	}
}

func TestEnvelopeAndPretty(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	c := clientOf(t, s)
	u := s.Estate().Units()[0]
	var one struct {
		Status  int
		Content struct{ EncryptionKeyUUID string }
	}
	if c.get(keyPath(u)+"?envelope=true", &one); one.Status != 200 || one.Content.EncryptionKeyUUID != u.Key {
		t.Errorf("%+v", one)
	}
	var list page[cluster]
	if c.get("/groups/"+u.ProjectID+"/clusters?envelope=true", &list); list.Status != 200 || len(list.Results) != 5 {
		t.Errorf("%+v", list)
	}
	var failed struct {
		Status  int
		Content struct{ ErrorCode string }
	}
	if c.get("/groups/"+u.ProjectID+"/clusters/000000000000000000000000?envelope=true", &failed); failed.Status != 404 || failed.Content.ErrorCode != "CLUSTER_NOT_FOUND" {
		t.Errorf("%+v", failed)
	}
	if a := c.do(http.MethodPut, keyPath(u)+"?envelope=true"); a.status != 201 || string(a.body) != `{"status":201,"content":{}}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := c.do(http.MethodGet, keyPath(u)+"?pretty=true"); !strings.HasPrefix(string(a.body), "{\n  \"clusterId\": \"") {
		t.Errorf("%s", a.body)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	e := leftOutEstate()
	u := find(t, e, "")
	none := "000000000000000000000000"
	auth := simulator.Auth{Keys: []simulator.APIKey{
		{Public: "full", Private: "a"},
		{Public: "reader", Private: "b", ReadOnly: true},
		{Public: "outsider", Private: "c", NoProjects: true},
	}}
	s := newSimulator(t, simulator.Config{Estate: e, Auth: auth})
	parent := clientOf(t, s).clusters(u.ProjectID)[0]
	for name, tc := range map[string]struct {
		key          int
		method, path string
		status       int
		code         string
	}{
		"UnknownResource":  {0, "GET", "/softwareComponents/version", 404, "RESOURCE_NOT_FOUND"},
		"TooDeep":          {0, "GET", keyPath(u) + "/x", 404, "RESOURCE_NOT_FOUND"},
		"InvalidGroup":     {0, "GET", "/groups/nope/clusters", 404, "INVALID_GROUP_ID"},
		"UnknownGroup":     {0, "GET", "/groups/" + none, 404, "GROUP_NOT_FOUND"},
		"NotInGroup":       {2, "GET", "/groups/" + u.ProjectID + "/clusters", 401, "NOT_IN_GROUP"},
		"NotInUnknown":     {2, "GET", "/groups/" + none, 401, "NOT_IN_GROUP"},
		"InvalidCluster":   {0, "GET", "/groups/" + u.ProjectID + "/clusters/NOPE", 404, "INVALID_CLUSTER_ID"},
		"UnknownCluster":   {0, "PUT", "/groups/" + u.ProjectID + "/backupConfigs/" + none + "/encryptionKey", 404, "CLUSTER_NOT_FOUND"},
		"BadMethod":        {0, "POST", keyPath(u), 405, ""},
		"BadMethodOfList":  {0, "DELETE", "/groups", 405, ""},
		"UnknownQuery":     {0, "GET", "/groups?nope=1", 400, "INVALID_QUERY_PARAMETER"},
		"PageOfNoList":     {0, "GET", "/groups/" + u.ProjectID + "?pageNum=1", 400, "INVALID_QUERY_PARAMETER"},
		"PageZero":         {0, "GET", "/groups?pageNum=0", 400, "INVALID_QUERY_PARAMETER"},
		"TooManyItems":     {0, "GET", "/groups?itemsPerPage=501", 400, "INVALID_QUERY_PARAMETER"},
		"NotBoolean":       {0, "GET", "/groups?pretty=1", 400, "INVALID_QUERY_PARAMETER"},
		"ReadOnly":         {1, "PUT", keyPath(u), 401, "USER_UNAUTHORIZED"},
		"Parent":           {0, "PUT", "/groups/" + u.ProjectID + "/backupConfigs/" + parent.ID + "/encryptionKey", 403, "UNSUPPORTED_FOR_CURRENT_CONFIG"},
		"ParentGet":        {0, "GET", "/groups/" + u.ProjectID + "/backupConfigs/" + parent.ID + "/encryptionKey", 403, "UNSUPPORTED_FOR_CURRENT_CONFIG"},
		"BackupOff":        {0, "PUT", keyPath(find(t, e, simulator.ReasonBackupOff)), 404, "BACKUP_CONFIG_NOT_FOUND"},
		"EncryptionOff":    {0, "PUT", keyPath(find(t, e, simulator.ReasonEncryptionOff)), 403, "UNSUPPORTED_FOR_CURRENT_CONFIG"},
		"FCV42":            {0, "PUT", keyPath(find(t, e, simulator.ReasonFCV42)), 403, "UNSUPPORTED_FOR_CURRENT_CONFIG"},
		"FCVUnknown":       {0, "PUT", keyPath(find(t, e, simulator.ReasonFCVUnknown)), 403, "UNSUPPORTED_FOR_CURRENT_CONFIG"},
		"QuotesInThePaths": {0, "GET", "/%22%5C", 404, "RESOURCE_NOT_FOUND"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clientOf(t, s)
			c.key = s.Keys()[tc.key]
			a := c.do(tc.method, tc.path)
			var body struct {
				Detail, ErrorCode, Reason string
				Error                     int
			}
			decode(t, a.body, &body)
			if a.status != tc.status || body.Error != tc.status || body.ErrorCode != tc.code || body.Detail == "" || body.Reason != http.StatusText(tc.status) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a.header.Get("Www-Authenticate") != "" {
				t.Error("an error of the application carries a challenge")
			}
		})
	}
	t.Cleanup(func() {
		if n := len(e.Truth()); n != 0 {
			t.Errorf("%d keys turned", n)
		}
	})
}

func TestGroups_AreThoseOfTheKey(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{Auth: simulator.Auth{Keys: []simulator.APIKey{
		{Public: "reader", Private: "a", ReadOnly: true}, {Public: "outsider", Private: "b", NoProjects: true},
	}}})
	for i, want := range []int{2, 0} {
		c := clientOf(t, s)
		c.key = s.Keys()[i]
		var p page[cluster]
		if c.get("/groups", &p); p.Results == nil || len(p.Results) != want {
			t.Errorf("%s sees %+v", c.key.Public, p)
		}
	}
}
