package opsmanager_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

const (
	modernUnit = "om." + projectID + ".c2"
	configPath = projectPath + "/automationConfig"
)

// keeper is an automation config that a fake keeps, with agents that are through at once.
type keeper struct {
	mu     sync.Mutex
	config []byte
	puts   [][]byte
	read   func(reads int, config []byte) []byte // nil: as it is
	reads  int
	refuse string // what a PUT is answered with, as 400
}

func keep(t *testing.T, f *fake, a *automation) *keeper {
	t.Helper()
	f.estate([]object{replicaSet("c2", "rs")}, nil, a)
	config, err := json.Marshal(a.object())
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{config: config}
	f.on("GET "+projectPath+"/automationStatus", http.StatusOK, `{"goalVersion":7,"processes":[
		{"name":"rs_process_0","lastGoalVersionAchieved":7},{"name":"rs_process_1","lastGoalVersionAchieved":7},{"name":"rs_process_2","lastGoalVersionAchieved":7}]}`)
	f.handle("GET "+configPath, func(w http.ResponseWriter, _ *http.Request) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.reads++
		if k.read != nil {
			k.config = k.read(k.reads, k.config)
		}
		_, _ = w.Write(k.config)
	})
	f.handle("PUT "+configPath, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.puts = append(k.puts, body)
		if k.refuse != "" {
			answer(w, http.StatusBadRequest, object{"error": 400, "errorCode": "INVALID_ATTRIBUTE", "reason": "Bad Request", "detail": k.refuse})
			return
		}
		k.config = body // 200, and nothing in the answer
	})
	return k
}

func TestAutomation_TimesThatOthersSetLaterStay(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	k := keep(t, f, modernSet(nil))
	c := f.client(t)
	intent, err := c.Prepare(t.Context(), modernUnit, keyturn.ID{})
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)
	k.config = bytes.Replace(k.config, []byte(`"name":"rs_process_1"`), []byte(`"lastKmipMasterKeyRotation":"`+later+`","name":"rs_process_1"`), 1)
	if err := c.Apply(t.Context(), modernUnit, intent); err != nil {
		t.Fatal(err)
	}
	want := strings.TrimPrefix(intent.Want, opsmanager.MarkerPrefix)
	if len(k.puts) != 1 || bytes.Count(k.puts[0], []byte(want)) != 2 || bytes.Count(k.puts[0], []byte(later)) != 1 {
		t.Errorf("sent %s", k.puts)
	}
}

func TestAutomation_ReadsTimesInAllFormsOfISO8601(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // empty: refused
		"2026-01-02T03:04:05Z": "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.120Z": "2026-01-02T03:04:05.12Z",
		"2026-01-02T05:04:05+02:00": "2026-01-02T03:04:05Z", "2026-01-02T05:04:05.000+0200": "2026-01-02T03:04:05Z",
		"2026-01-01T22:04:05-05": "2026-01-02T03:04:05Z", "2026-01-02T03:04Z": "2026-01-02T03:04:00Z", "2026-01-02T05:04+0200": "2026-01-02T03:04:00Z",
		"2026-01-02T03:04:05": "", "2026-01-02": "", "yesterday": "",
	}
	for text, want := range tests {
		f := newFake(t)
		a := modernSet(nil)
		for _, p := range a.processes {
			p["lastKmipMasterKeyRotation"] = text
		}
		keep(t, f, a)
		intent, err := f.client(t).Prepare(t.Context(), modernUnit, keyturn.ID{})
		if want == "" && kindOf(err) != permanent || want != "" && (err != nil || intent.Before != opsmanager.MarkerPrefix+want) {
			t.Errorf("%s: %q, %v, want %q", text, intent.Before, err, want)
		}
	}
}

func TestAutomation_NoSecretOfTheConfigGetsIntoAnError(t *testing.T) {
	t.Parallel()
	for _, detail := range []string{
		`Invalid attribute auth.key: secret`, `cannot parse "secret" as a key`, `bad config {"auth":{"key":"secret"}}`, `user mms-automation has password pa55-word-1, which is too short`,
	} {
		f := newFake(t)
		k := keep(t, f, modernSet(func(p object) { p["kerberosPassword"] = "pa55-word-1" }))
		k.refuse = detail
		c := f.client(t)
		intent, err := c.Prepare(t.Context(), modernUnit, keyturn.ID{})
		if err != nil {
			t.Fatal(err)
		}
		err = c.Apply(t.Context(), modernUnit, intent)
		if kindOf(err) != permanent || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "pa55-word-1") {
			t.Errorf("%s: %v", detail, err)
		}
		if !strings.Contains(err.Error(), "INVALID_ATTRIBUTE") {
			t.Errorf("%s says too little: %v", detail, err)
		}
	}
}

func TestAutomation_StatusesThatAreOdd(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status string
		waits  bool
	}{
		"no codes of errors, and plans at the goal": {`{"goalVersion":7,"x":[{}],"processes":[{"name":"rs_process_0","plan":["Download"],"lastGoalVersionAchieved":7},
			{"name":"rs_process_1","lastGoalVersionAchieved":7,"plan":["WaitRsInit"]},{"name":"rs_process_2","lastGoalVersionAchieved":7},{"name":"other","lastGoalVersionAchieved":1}]}`, false},
		"codes in quotes": {`{"goalVersion":"7","processes":[{"name":"rs_process_0","lastGoalVersionAchieved":"7","errorCode":"0"},
			{"name":"rs_process_1","lastGoalVersionAchieved":7,"errorCode":0},{"name":"rs_process_2","lastGoalVersionAchieved":7,"errorCode":null}]}`, false},
		"one twice, another not at all": {`{"goalVersion":7,"processes":[{"name":"rs_process_0","lastGoalVersionAchieved":7},
			{"name":"rs_process_1","lastGoalVersionAchieved":7},{"name":"rs_process_1","lastGoalVersionAchieved":7}]}`, true},
		"one twice, once behind": {`{"goalVersion":7,"processes":[{"name":"rs_process_0","lastGoalVersionAchieved":7},{"name":"rs_process_2","lastGoalVersionAchieved":7},
			{"name":"rs_process_1","lastGoalVersionAchieved":6},{"name":"rs_process_1","lastGoalVersionAchieved":7}]}`, true},
		"a goal ahead of the config": {`{"goalVersion":8,"processes":[{"name":"rs_process_0","lastGoalVersionAchieved":7},
			{"name":"rs_process_1","lastGoalVersionAchieved":7},{"name":"rs_process_2","lastGoalVersionAchieved":7}]}`, true},
		"nothing": {`{}`, true},
	}
	for name, tt := range tests {
		f := newFake(t)
		keep(t, f, modernSet(nil))
		f.on("GET "+projectPath+"/automationStatus", http.StatusOK, tt.status)
		_, err := f.client(t).Prepare(t.Context(), modernUnit, keyturn.ID{})
		if waits := err != nil && keyturn.AsSystemError(err, "").Waits; waits != tt.waits || err != nil && !tt.waits {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Hosts of a shard may name the sharded cluster as their own.
func TestPrepare_SeesMembersOfShardsThatAreDown(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	a := new(automation).replicaSet("x-0", "6.0", "6.0", "6.0").replicaSet("x-config", "6.0").cluster("x", "x-config", "x-0")
	status := object{"goalVersion": 7}
	var processes []object
	for _, p := range a.processes {
		p["args2_6"] = object{"security": object{"enableEncryption": true, "kmip": object{"serverName": "kmip"}}}
		processes = append(processes, object{"name": p["name"], "lastGoalVersionAchieved": 7})
	}
	status["processes"] = processes
	f.estate([]object{sharded("p", "x", "SHARDED_REPLICA_SET"), shard("c2", "x", "x-0"), configServers("cs", "x", "x-config")}, nil, a)
	f.objects[projectPath+"/automationStatus"] = status
	for i, state := range []string{"PRIMARY", "SECONDARY", "DOWN"} {
		h := host(string(rune('a'+i)), "p", "x-0", "6.0.1")
		h["hostname"], h["replicaStateName"] = "host", state
		f.lists[projectPath+"/hosts"] = append(f.lists[projectPath+"/hosts"], h)
	}
	_, err := f.client(t).Prepare(t.Context(), modernUnit, keyturn.ID{})
	want{transient, false, "unhealthy", 15 * time.Second, "host host is DOWN"}.check(t, "Prepare", err)
}

// A target that hangs is in trouble, whoever of those that wait for its answer asked.
func TestPrepare_WaitingForAnAnswerThatNeverComesIsTheTargetsTrouble(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	keep(t, f, modernSet(nil))
	f.handle("GET "+projectPath+"/automationStatus", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := f.client(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 8 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_, err := c.Prepare(ctx, modernUnit, keyturn.ID{})
			want{transient, true, "timeout", 0, "no answer from"}.check(t, "Prepare", err)
		})
	}
}

func TestRequestsPerSecond_WaitingIsNoFailure(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client(t, func(cfg *opsmanager.Config) { cfg.Target.Limits.RequestsPerSecond = 0.001 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		_, err := c.Current(ctx, unitID)
		if e := keyturn.AsSystemError(err, ""); e.Code == "requests_per_second" && e.Waits {
			return
		}
	}
	t.Error("the limit is not one that a task waits for")
}

// A replica set that is only monitored must not be taken for the one of the same name that automation manages.
func TestPrepare_RefusesReplicaSetsOfTheSameName(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	keep(t, f, modernSet(nil))
	f.estate([]object{replicaSet("c2", "rs"), replicaSet("c3", "rs")}, nil, modernSet(nil))
	f.lists[projectPath+"/hosts"] = []object{host("1", "c2", "rs", "6.0.1"), host("2", "c3", "rs", "6.0.1")}
	c := f.client(t)
	for _, unit := range []string{modernUnit, "om." + projectID + ".c3"} {
		_, err := c.Prepare(t.Context(), unit, keyturn.ID{})
		want{permanent, false, "not_rotatable", 0, "more than one replica set named rs"}.check(t, unit, err)
	}
}
