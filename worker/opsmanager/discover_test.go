package opsmanager_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
)

func TestDiscover_TurnsAShardedClusterIntoItsParts(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.shannon()
	units, err := f.client(t).Discover(t.Context(), keyturn.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	unit := func(id, cluster string, c keyturn.Component, name, fcv string) keyturn.Unit {
		return keyturn.Unit{
			ID: "om." + projectID + "." + id, Target: "om", System: keyturn.SystemOpsManager, ProjectID: projectID, ProjectName: "alpha",
			ClusterID: id, ClusterName: cluster, Component: c, Name: name, FCV: fcv, Rotatable: true,
		}
	}
	want := []keyturn.Unit{
		unit("rs", "liffey", keyturn.ComponentReplicaSet, "liffey", "3.4"),
		unit("cs", "shannon", keyturn.ComponentConfig, "shannon-config", "4.0"),
		unit("s0", "shannon", keyturn.ComponentShard, "shannon-0", "4.0"),
		unit("s1", "shannon", keyturn.ComponentShard, "shannon-1", "4.0"),
	}
	if !slices.Equal(units, want) {
		t.Errorf("units\n%+v, want\n%+v", units, want)
	}
	requests := map[string]int{"GET /groups": 1, "GET " + projectPath + "/clusters": 1, "GET " + projectPath + "/backupConfigs": 1, "GET " + projectPath + "/automationConfig/noSecrets": 1, "GET " + projectPath + "/automationConfig": 1}
	if got := f.seen(); !maps.Equal(got, requests) {
		t.Errorf("requests %v, want %v", got, requests)
	}
}

func TestDiscover_Selects(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.shannon()
	f.lists["/groups"] = append(f.lists["/groups"], object{"id": "p2", "name": "beta"})
	f.lists["/groups/p2/clusters"] = []object{replicaSet("other", "liffey")}
	f.lists["/groups/p2/backupConfigs"] = []object{}
	tests := map[string]struct {
		sel      keyturn.Selection
		want     string
		requests int // all but that for the projects
	}{
		"all":                {keyturn.Selection{}, "cs other rs s0 s1", 9},
		"project by name":    {keyturn.Selection{Projects: []string{"al*"}}, "cs rs s0 s1", 4},
		"project by id":      {keyturn.Selection{Projects: []string{"p2"}}, "other", 5},
		"no project":         {keyturn.Selection{Projects: []string{"gamma"}}, "", 0},
		"cluster":            {keyturn.Selection{Clusters: []string{"shan*"}}, "cs s0 s1", 5},
		"cluster by its id":  {keyturn.Selection{Clusters: []string{"p"}}, "cs s0 s1", 5},
		"part by its id":     {keyturn.Selection{Clusters: []string{"s1"}}, "s1", 5},
		"id and component":   {keyturn.Selection{Clusters: []string{"p"}, Components: []keyturn.Component{"shard"}}, "s0 s1", 5},
		"unit by id":         {keyturn.Selection{Units: []string{"om." + projectID + ".s1"}}, "s1", 4},
		"unit by name":       {keyturn.Selection{Units: []string{"shannon-1"}}, "s1", 5},
		"unit by part of id": {keyturn.Selection{Units: []string{"om.*.s1"}}, "s1", 5},
		"foreign unit":       {keyturn.Selection{Units: []string{"other." + projectID + ".s1"}}, "", 0},
		"parent as a unit":   {keyturn.Selection{Units: []string{"p"}}, "", 2},
	}
	for name, tt := range tests {
		before := 0
		for _, n := range f.seen() {
			before += n
		}
		got := slices.Sorted(maps.Keys(discover(t, f, tt.sel)))
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
		after := 0
		for _, n := range f.seen() {
			after += n
		}
		// Of two projects that are read at once, the second one may learn from the first that there is no config without secrets.
		if n := after - before - 1; n != tt.requests && (name != "all" || n != tt.requests-1) {
			t.Errorf("%s: %d requests beside the list of projects, want %d", name, n, tt.requests)
		}
	}
}

func TestDiscover_WalksPages(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.most = 100 // Ops Manager 4.0
	var clusters, backups []object
	a := new(automation)
	for i := range 250 {
		id, name := fmt.Sprintf("c%d", i), fmt.Sprintf("rs%d", i)
		clusters = append(clusters, replicaSet(id, name))
		backups = append(backups, backup(id, "STARTED", true))
		a.replicaSet(name, "4.0")
	}
	f.estate(append(clusters, clusters[0]), backups, a)
	units := discover(t, f, keyturn.Selection{})
	rotatable := 0
	for _, u := range units {
		if u.Rotatable {
			rotatable++
		}
	}
	if len(units) != 250 || rotatable != 250 {
		t.Errorf("%d units, %d rotatable", len(units), rotatable)
	}
	if n := f.seen()["GET "+projectPath+"/clusters"]; n != 3 {
		t.Errorf("%d pages of clusters", n)
	}
}

func TestDiscover_FallsBackToSmallPages(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.shannon()
	f.handle("GET /groups", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("itemsPerPage") != "100" {
			answer(w, http.StatusBadRequest, object{"errorCode": "INVALID_QUERY_PARAMETER"})
			return
		}
		f.page(w, r, f.lists["/groups"])
	})
	if units := discover(t, f, keyturn.Selection{}); len(units) != 4 {
		t.Errorf("%d units", len(units))
	}
}

func TestDiscover_RefusesAListWithoutEnd(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.handle("GET /groups", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, object{"results": f.lists["/groups"], "links": []object{{"rel": "next", "href": "x"}}})
	})
	_, err := f.client(t).Discover(t.Context(), keyturn.Selection{})
	want{permanent, false, "endless_list", 0, "listing the projects of target om"}.check(t, "Discover", err)
	if n := f.seen()["GET /groups"]; n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestDiscover_SaysWhyAUnitCannotBeRotated(t *testing.T) {
	t.Parallel()
	plain := []object{replicaSet("c1", "rs")}
	on := []object{backup("c1", "STARTED", true)}
	low := new(automation).replicaSet("rs", "4.0", "4.0")
	parts := []object{shard("c1", "x", "x-0"), configServers("cs", "x", "x-config")}
	partsOn := []object{backup("p", "STARTED", true), backup("c1", "STARTED", true), backup("cs", "STARTED", true)}
	partsLow := func() *automation {
		return new(automation).replicaSet("x-0", "4.0").replicaSet("x-config", "4.0").cluster("x", "x-config", "x-0")
	}
	tests := map[string]struct {
		clusters, backups []object
		automation        *automation
		hosts             []object
		fcv, reason       string
	}{
		"rotatable":                {plain, on, low, nil, "4.0", ""},
		"backup stopped":           {plain, []object{backup("c1", "STOPPED", true)}, low, nil, "4.0", "backup is off (status STOPPED)"},
		"no backup configuration":  {plain, nil, low, nil, "4.0", "backup is off (there is no backup configuration)"},
		"encryption off":           {plain, []object{backup("c1", "STARTED", false)}, low, nil, "4.0", "encryption is off"},
		"encryption unknown":       {plain, []object{backup("c1", "STARTED", nil)}, low, nil, "4.0", "it is unknown whether encryption is on"},
		"FCV too high":             {plain, on, new(automation).replicaSet("rs", "4.2", "4.2"), nil, "4.2", "FCV 4.2: its key is turned through automation, and process rs_process_0 has no key in a KMIP server"},
		"FCV mixed":                {plain, on, new(automation).replicaSet("rs", "4.0", "4.2"), nil, "4.2", "FCV is 4.0 for some of its processes and 4.2 for others"},
		"FCV as a number":          {plain, on, new(automation).replicaSet("rs", "4.0", "10.0"), nil, "10.0", "FCV is 4.0 for some of its processes and 10.0 for others"},
		"FCV of one is missing":    {plain, on, new(automation).replicaSet("rs", "4.0", nil), nil, "", "FCV is unknown: no host of it is known, and the automation config does not tell"},
		"not in the automation":    {plain, on, new(automation), nil, "", "FCV is unknown"},
		"no automation config":     {plain, on, nil, nil, "", "FCV is unknown: no host of it is known, and reading the automation config"},
		"twice in the automation":  {plain, on, new(automation).replicaSet("rs", "4.0").replicaSet("rs", "4.0"), nil, "", "FCV is unknown"},
		"other set in automation":  {plain, on, new(automation).replicaSet("rs", "4.0").cluster("y", "y-config", "rs"), nil, "", "FCV is unknown"},
		"hosts low":                {plain, on, nil, []object{host("1", "c1", "rs", "4.0.28-ent"), host("2", "c1", "rs", "3.6.23")}, "", ""},
		"hosts low, by name":       {plain, on, nil, []object{host("1", "", "rs", "4.0.28")}, "", ""},
		"hosts high":               {plain, on, nil, []object{host("1", "c1", "rs", "4.0.28"), host("2", "c1", "rs", "10.0.1")}, "", "FCV is at least 4.2, as MongoDB 10.0.1 runs on it"},
		"hosts unclear":            {plain, on, nil, []object{host("1", "c1", "rs", "4.0.28"), host("2", "c1", "rs", "4.2.24-ent")}, "", "FCV is unknown: MongoDB 4.2.24-ent may run at FCV 4.0 or 4.2"},
		"hosts without version":    {plain, on, nil, []object{host("1", "c1", "rs", "4.0.28"), host("2", "c1", "rs", "")}, "", "FCV is unknown: a host does not tell its version"},
		"hosts of others":          {plain, on, nil, []object{host("1", "c9", "rs", "4.0.28")}, "", "FCV is unknown: no host of it is known"},
		"shard":                    {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET")), partsOn, partsLow(), nil, "4.0", ""},
		"shard, encrypted above":   {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET")), []object{backup("p", "STARTED", true), backup("c1", "INACTIVE", nil)}, partsLow(), nil, "4.0", ""},
		"shard, not encrypted":     {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET")), []object{backup("p", "STARTED", true), backup("c1", "INACTIVE", false)}, partsLow(), nil, "4.0", "encryption is off"},
		"shard, backup off above":  {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET")), []object{backup("p", "STOPPED", true), backup("c1", "STARTED", true)}, partsLow(), nil, "4.0", "backup is off (status STOPPED)"},
		"shard, renamed cluster":   {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET")), partsOn, new(automation).replicaSet("x-0", "4.0").cluster("old-name", "x-config", "x-0"), nil, "4.0", ""},
		"shard of another cluster": {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET")), partsOn, partsLow().cluster("y", "y-config", "x-0").cluster("x", "x-config"), nil, "4.0", ""},
		"no shard in automation":   {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET")), partsOn, new(automation).replicaSet("x-0", "4.0"), nil, "", "FCV is unknown"},
		"hosts name the parent":    {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET")), partsOn, nil, []object{host("1", "p", "x-0", "4.0.1"), {"id": "2", "clusterId": "p", "typeName": "SHARD_MONGOS", "version": "6.0.0"}}, "", ""},
		"no parent":                {parts, partsOn, partsLow(), nil, "", "sharded cluster x, which it is a part of, is not in the list"},
		"two parents":              {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET"), sharded("p2", "x", "SHARDED_REPLICA_SET")), partsOn, partsLow(), nil, "", "2 sharded clusters of the project are named x"},
		"standalone shards":        {append(parts, sharded("p", "x", "SHARDED")), partsOn, partsLow(), nil, "", "the shards of x are standalones"},
		"mirrored config servers":  {[]object{parts[0], sharded("p", "x", "SHARDED_REPLICA_SET")}, partsOn, partsLow(), nil, "", "has no config server replica set"},
		"two config server sets":   {append(parts, sharded("p", "x", "SHARDED_REPLICA_SET"), configServers("cs2", "x", "x-config2")), partsOn, partsLow(), nil, "", "has 2 config server replica sets"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.estate(tt.clusters, tt.backups, tt.automation)
			if tt.hosts != nil {
				f.lists[projectPath+"/hosts"] = tt.hosts
			}
			units := discover(t, f, keyturn.Selection{})
			u, ok := units["c1"]
			if !ok || u.FCV != tt.fcv || (u.Reason == "") != (tt.reason == "") || !strings.HasPrefix(u.Reason, tt.reason) && !strings.Contains(u.Reason, tt.reason) {
				t.Errorf("FCV %q, reason %q; want %q, %q", u.FCV, u.Reason, tt.fcv, tt.reason)
			}
			for _, parent := range []string{"p", "p2"} {
				if _, ok := units[parent]; ok {
					t.Errorf("the sharded cluster %s is a unit", parent)
				}
			}
		})
	}
}

func TestDiscover_ReportsAShardedClusterWithoutParts(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.estate([]object{sharded("p", "old", "SHARDED")}, nil, nil)
	u := discover(t, f, keyturn.Selection{})["p"]
	if u.Rotatable || u.Name != "old" || !strings.Contains(u.Reason, "standalones") {
		t.Errorf("unit %+v", u)
	}
}

func TestDiscover_AsksOnceMoreWhenTheListOmitsEncryption(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.shannon()
	for _, b := range f.lists[projectPath+"/backupConfigs"] {
		delete(b, "encryptionEnabled")
	}
	f.objects[projectPath+"/backupConfigs/p"] = backup("p", "STARTED", true)
	f.objects[projectPath+"/backupConfigs/rs"] = backup("rs", "STARTED", false)
	units := discover(t, f, keyturn.Selection{})
	for id, rotatable := range map[string]bool{"s0": true, "s1": true, "cs": true, "rs": false} {
		if units[id].Rotatable != rotatable {
			t.Errorf("unit %s: %+v", id, units[id])
		}
	}
	if n := f.seen()["GET "+projectPath+"/backupConfigs/p"]; n != 1 {
		t.Errorf("asked %d times for the same configuration", n)
	}
}

func TestDiscover_WhatMayNotBeReadIsAReason(t *testing.T) {
	t.Parallel()
	const denied = `{"error":401,"errorCode":"USER_UNAUTHORIZED","detail":"no","reason":"Unauthorized"}`
	f := newFake(t)
	f.shannon()
	f.on("GET "+projectPath+"/backupConfigs", http.StatusUnauthorized, denied)
	if u := discover(t, f, keyturn.Selection{})["rs"]; !strings.HasPrefix(u.Reason, "it can't be known whether backup is on") {
		t.Errorf("reason %q", u.Reason)
	}
	f.on("GET "+projectPath+"/automationConfig", http.StatusUnauthorized, denied)
	f.on("GET "+projectPath+"/hosts", http.StatusForbidden, denied)
	if u := discover(t, f, keyturn.Selection{})["rs"]; !strings.Contains(u.Reason, "lacks the role") || !strings.Contains(u.Reason, "Project Automation Admin") {
		t.Errorf("reason %q", u.Reason)
	}
	f.on("GET "+projectPath+"/clusters", http.StatusUnauthorized, denied)
	_, err := f.client(t).Discover(t.Context(), keyturn.Selection{})
	want{permanent, false, "not_permitted", 0, "listing the clusters of project alpha (" + projectID + ")"}.check(t, "Discover", err)
}

func TestDiscover_LeavesOutAProjectThatIsGone(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.shannon()
	f.lists["/groups"] = append(f.lists["/groups"], object{"id": "deleted", "name": "deleted"})
	if units := discover(t, f, keyturn.Selection{}); len(units) != 4 {
		t.Errorf("%d units", len(units))
	}
}

func TestDiscover_FailsWhenAnAnswerIsMissing(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/groups", projectPath + "/clusters", projectPath + "/backupConfigs", projectPath + "/automationConfig"} {
		f := newFake(t)
		f.shannon()
		f.on("GET "+path, http.StatusServiceUnavailable, "", "Retry-After: 2")
		_, err := f.client(t).Discover(t.Context(), keyturn.Selection{})
		if kindOf(err) != transient {
			t.Errorf("%s: %v", path, err)
		}
		f.on("GET "+path, http.StatusOK, "<html>")
		_, err = f.client(t).Discover(t.Context(), keyturn.Selection{})
		want{permanent, true, "not_ops_manager", 0, "an Ops Manager?"}.check(t, path, err)
	}
}

func TestDiscover_RefusesIDsThatCannotBePartOfAUnits(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.estate([]object{replicaSet("../../x", "rs")}, nil, nil)
	_, err := f.client(t).Discover(t.Context(), keyturn.Selection{})
	want{permanent, false, "bad_id", 0, "../../x"}.check(t, "Discover", err)
}
