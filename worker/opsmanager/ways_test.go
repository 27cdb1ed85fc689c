package opsmanager_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
)

// modern is the automation config of the replica set "rs" with three members, of which change may change one.
func modernSet(change func(process object)) *automation {
	a := new(automation).replicaSet("rs", "6.0", "6.0", "6.0")
	for _, p := range a.processes {
		p["args2_6"] = object{"security": object{"enableEncryption": true, "kmip": object{"serverName": "kmip"}}, "net": object{"port": 27017}}
	}
	if change != nil {
		change(a.processes[1])
	}
	return a
}

func security(fields object) func(object) {
	return func(p object) { p["args2_6"] = object{"security": fields} }
}

func TestDiscover_FindsTheWayOfModernUnits(t *testing.T) {
	t.Parallel()
	kmip := object{"serverName": "kmip"}
	tests := map[string]struct {
		config *automation
		hosts  []object
		lock   string
		reason string // empty: it can be turned
	}{
		"as it should be":             {config: modernSet(nil)},
		"turned before":               {config: modernSet(func(p object) { p["lastKmipMasterKeyRotation"] = "2026-01-01T00:00:00Z" })},
		"a flag in quotes":            {config: modernSet(security(object{"enableEncryption": "true", "kmip": kmip}))},
		"odd settings elsewhere":      {config: modernSet(func(p object) { p["disabled"], p["lastRestart"], p["hostname"] = nil, 7, "h" })},
		"no encryption":               {config: modernSet(security(object{"enableEncryption": false, "kmip": kmip})), reason: "process rs_process_1 has no key in a KMIP server"},
		"a local key":                 {config: modernSet(security(object{"enableEncryption": true, "encryptionKeyFile": "/key"})), reason: "has no key in a KMIP server"},
		"empty settings of KMIP":      {config: modernSet(security(object{"enableEncryption": true, "kmip": object{}})), reason: "has no key in a KMIP server"},
		"settings that are no object": {config: modernSet(func(p object) { p["args2_6"] = "none" }), reason: "has no key in a KMIP server"},
		"a key of its own":            {config: modernSet(security(object{"enableEncryption": true, "kmip": object{"keyIdentifier": "7", "serverName": "k"}})), reason: "keyIdentifier"},
		"disabled":                    {config: modernSet(func(p object) { p["disabled"] = true }), reason: "process rs_process_1 is disabled"},
		"manual mode":                 {config: modernSet(func(p object) { p["manualMode"] = true }), reason: "manual mode"},
		"no mongod":                   {config: modernSet(func(p object) { p["processType"] = "mongos" }), hosts: []object{host("1", "c1", "rs", "6.0.1")}, reason: "process rs_process_1 is no mongod"},
		"a time that is none":         {config: modernSet(func(p object) { p["lastKmipMasterKeyRotation"] = "yesterday" }), reason: "lastKmipMasterKeyRotation is no time"},
		"a number for a time":         {config: modernSet(func(p object) { p["lastKmipMasterKeyRotation"] = 1735689600 }), reason: "lastKmipMasterKeyRotation is no time"},
		"no FCV, modern binaries":     {config: modernSet(func(p object) { delete(p, "featureCompatibilityVersion") }), hosts: []object{host("1", "c1", "rs", "6.0.1")}},
		"no FCV, binaries of 4.2":     {config: modernSet(func(p object) { delete(p, "featureCompatibilityVersion") }), hosts: []object{host("1", "c1", "rs", "4.2.24")}, reason: "FCV is unknown: MongoDB 4.2.24 may run"},
		"an upgrade under way":        {config: modernSet(func(p object) { p["featureCompatibilityVersion"] = "4.0" }), reason: "FCV is 4.0 for some of its processes and 6.0 for others"},
		"not managed":                 {config: new(automation), hosts: []object{host("1", "c1", "rs", "6.0.1")}, reason: "FCV is at least 4.2, as MongoDB 6.0.1 runs on it: its key is turned through automation, and the automation config does not name it"},
		"monitoring only":             {hosts: []object{host("1", "c1", "rs", "6.0.1")}, reason: "give the API key a role that may read the automation config"},
		"an operator's lock":          {config: modernSet(nil), lock: `{"externalManagementSystem":{"name":"mongodb-enterprise-operator","version":"1.2"},"policies":[{"policy":"DISABLE_AUTHENTICATION_MECHANISMS"},{"policy":"EXTERNALLY_MANAGED_LOCK","disabledParams":[]}]}`, reason: "mongodb-enterprise-operator 1.2 manages the project and holds the lock EXTERNALLY_MANAGED_LOCK"},
		"a policy of no concern":      {config: modernSet(nil), lock: `{"policies":[{"policy":"DISABLE_SET_MONGOD_VERSION"}]}`},
		"locks that can't be known":   {config: modernSet(nil), lock: "refused", reason: "it can't be known whether an external system holds a lock"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.estate([]object{replicaSet("c1", "rs")}, nil, tt.config) // without a backup: the key is the deployment's
			if tt.hosts != nil {
				f.lists[projectPath+"/hosts"] = tt.hosts
			}
			switch tt.lock {
			case "":
			case "refused":
				f.on("GET "+projectPath+"/controlledFeature", http.StatusUnauthorized, `{"errorCode":"USER_UNAUTHORIZED","reason":"Unauthorized"}`)
			default:
				f.on("GET "+projectPath+"/controlledFeature", http.StatusOK, tt.lock)
			}
			u := discover(t, f, keyturn.Selection{})["c1"]
			if (u.Reason == "") != (tt.reason == "") || !strings.Contains(u.Reason, tt.reason) {
				t.Errorf("reason %q, want %q", u.Reason, tt.reason)
			}
		})
	}
}

func TestDiscover_ArbitersNeedNoKey(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	a := modernSet(security(object{}))
	members, _ := a.replicaSets[0]["members"].([]object)
	members[1]["arbiterOnly"] = true
	f.estate([]object{replicaSet("c1", "rs")}, nil, a)
	if u := discover(t, f, keyturn.Selection{})["c1"]; !u.Rotatable {
		t.Errorf("unit %+v", u)
	}
}

// The shards are found by rs, and not by _id, which is another here.
func TestDiscover_ModernShardsAreFoundByTheirReplicaSet(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	a := new(automation).replicaSet("x-0", "7.0").replicaSet("x-config", "7.0").cluster("x", "x-config", "x-0")
	for _, p := range a.processes {
		p["args2_6"] = object{"security": object{"enableEncryption": true, "kmip": object{"serverName": "kmip"}}}
	}
	f.estate([]object{sharded("p", "x", "SHARDED_REPLICA_SET"), shard("c1", "x", "x-0"), configServers("cs", "x", "x-config")}, nil, a)
	units := discover(t, f, keyturn.Selection{})
	if len(units) != 2 || !units["c1"].Rotatable || !units["cs"].Rotatable {
		t.Errorf("units %+v", units)
	}
}

func TestPrepare_FindsTheWayAgain(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.estate([]object{replicaSet("low", "old"), replicaSet("gone-dark", "dark")}, nil, new(automation).replicaSet("old", "4.0"))
	f.on("GET "+projectPath+"/backupConfigs/low/encryptionKey", http.StatusOK, keyBody)
	c := f.client(t)
	if intent, err := c.Prepare(t.Context(), "om."+projectID+".low", keyturn.ID{}); err != nil || intent.Before != "1234-3456" || intent.Data != nil || intent.Exclusive != "" {
		t.Errorf("Prepare = %+v, %v", intent, err)
	}
	_, err := c.Prepare(t.Context(), "om."+projectID+".gone-dark", keyturn.ID{})
	want{permanent, false, "not_rotatable", 0, "its key can't be turned: FCV is unknown"}.check(t, "a unit without a way", err)
	_, err = c.Prepare(t.Context(), "om."+projectID+".never-there", keyturn.ID{})
	want{permanent, false, "not_found", 0, "list of clusters does not name it"}.check(t, "a unit that is gone", err)
	f.on("GET "+projectPath+"/automationConfig", http.StatusServiceUnavailable, "")
	if _, err = f.client(t).Prepare(t.Context(), "om."+projectID+".low", keyturn.ID{}); kindOf(err) != transient {
		t.Errorf("without an answer: %v", err)
	}
	if n := f.seen()["GET "+projectPath+"/backupConfigs/gone-dark/encryptionKey"]; n > 0 {
		t.Error("the key of a unit without a way was asked for")
	}
}

func TestApply_WritesToWhereItMayBeWritten(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.estate([]object{replicaSet("c2", "rs")}, nil, modernSet(nil))
	f.objects[projectPath+"/automationConfig/noSecrets"] = f.objects[projectPath+"/automationConfig"]
	f.on("GET "+projectPath+"/automationStatus", http.StatusOK, `{"goalVersion":7,"processes":[
		{"name":"rs_process_0","lastGoalVersionAchieved":7},{"name":"rs_process_1","lastGoalVersionAchieved":7},{"name":"rs_process_2","lastGoalVersionAchieved":7}]}`)
	f.on("PUT "+projectPath+"/automationConfig/noSecrets", http.StatusMethodNotAllowed, "")
	f.on("PUT "+projectPath+"/automationConfig", http.StatusOK, "{}")
	c := f.client(t)
	unit := "om." + projectID + ".c2"
	for i, code := range []string{"http_405", "overwritten"} { // the fake keeps nothing
		intent, err := c.Prepare(t.Context(), unit, keyturn.ID{})
		if err != nil {
			t.Fatal(err)
		}
		if e := keyturn.AsSystemError(c.Apply(t.Context(), unit, intent), ""); e.Code != code || e.Waits != (i == 0) {
			t.Errorf("Apply: %v, want %s", e, code)
		}
	}
	if n := f.seen()["PUT "+projectPath+"/automationConfig"]; n != 1 {
		t.Errorf("%d PUTs", n)
	}
}

func TestPrepare_WaitsForMembersThatAreDown(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		hosts []object
		words string // empty: it goes on
	}{
		"all are well": {hosts: []object{member("1", "PRIMARY", "2026-11-22T08:00:00Z"), member("2", "SECONDARY", "2026-11-22T08:00:00Z"), member("3", "SECONDARY", "2026-11-22T07:59:00Z")}},
		"one is down":  {hosts: []object{member("1", "PRIMARY", "2026-11-22T08:00:00Z"), member("2", "SECONDARY", "2026-11-22T08:00:00Z"), member("3", "DOWN", "2026-11-22T08:00:00Z")}, words: "host host-3 is DOWN: with one more down, too few of 3 members would be left"},
		"one is mute":  {hosts: []object{member("1", "PRIMARY", "2026-11-22T08:00:00Z"), member("2", "SECONDARY", "2026-11-22T08:00:00Z"), member("3", "SECONDARY", "2026-11-22T07:00:00Z")}, words: "host host-3 gave no sign of life since 2026-11-22T07:00:00Z"},
		"one of five":  {hosts: []object{member("1", "PRIMARY", ""), member("2", "SECONDARY", ""), member("3", "SECONDARY", ""), member("4", "SECONDARY", ""), member("5", "RECOVERING", "")}},
		"all are old":  {hosts: []object{member("1", "PRIMARY", "2018-01-01T00:00:00Z"), member("2", "SECONDARY", "2018-01-01T00:00:00Z")}},
		"nothing told": {hosts: []object{member("1", "", ""), member("2", "", "")}},
		"no hosts":     {hosts: []object{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.estate([]object{replicaSet("c2", "rs")}, nil, modernSet(nil))
			f.lists[projectPath+"/hosts"] = tt.hosts
			f.on("GET "+projectPath+"/automationStatus", http.StatusOK, `{"goalVersion":7,"processes":[
				{"name":"rs_process_0","lastGoalVersionAchieved":7},{"name":"rs_process_1","lastGoalVersionAchieved":7},{"name":"rs_process_2","lastGoalVersionAchieved":7}]}`)
			_, err := f.client(t).Prepare(t.Context(), "om."+projectID+".c2", keyturn.ID{})
			if tt.words == "" && err != nil || tt.words != "" && (kindOf(err) != transient || !strings.Contains(err.Error(), tt.words)) {
				t.Errorf("Prepare: %v, want %q", err, tt.words)
			}
		})
	}
}

func member(id, state, ping string) object {
	h := host(id, "c2", "rs", "6.0.1")
	h["hostname"], h["replicaStateName"], h["lastPing"] = "host-"+id, state, ping
	return h
}
