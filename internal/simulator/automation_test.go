package simulator_test

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/simulator"
)

const agentsTake = 4 * time.Second

// modern makes a project with one replica set whose key agents turn.
func modern(t *testing.T, agents simulator.Agents) (s *simulator.Simulator, c *client, u simulator.Unit) {
	t.Helper()
	e := simulator.NewEstate(simulator.EstateConfig{Projects: 1, ModernReplicaSetsPerProject: 1})
	s = newSimulator(t, simulator.Config{Estate: e, Faults: simulator.Faults{Agents: agents}})
	return s, clientOf(t, s), e.Units()[0]
}

// put sends a body.
func (c *client) put(path string, body []byte) answer {
	c.t.Helper()
	path = "/api/public/v1.0" + path
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPut, c.base+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {c.sign(http.MethodPut, path, c.challenge(), "00000001", "abc")}, "Content-Type": {"application/json"}}
	resp, err := c.transport.RoundTrip(r)
	if err != nil {
		c.t.Fatal(err)
	}
	answered, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: answered}
}

// stamped sets the time of all processes.
func stamped(config []byte, at string) []byte {
	config = regexp.MustCompile(`"lastKmipMasterKeyRotation":"[^"]*",`).ReplaceAll(config, nil)
	return bytes.ReplaceAll(config, []byte(`{"args2_6"`), []byte(`{"lastKmipMasterKeyRotation":"`+at+`","args2_6"`))
}

func (c *client) config(u simulator.Unit, more string) []byte {
	c.t.Helper()
	a := c.do(http.MethodGet, "/groups/"+u.ProjectID+"/automationConfig"+more)
	if a.status != http.StatusOK {
		c.t.Fatalf("GET automationConfig%s: %d %s", more, a.status, a.body)
	}
	return a.body
}

// reached returns how many processes have reached the goal, and the goal.
func (c *client) reached(u simulator.Unit) (n int, goal int64) {
	c.t.Helper()
	var status struct {
		GoalVersion int64
		Processes   []struct{ LastGoalVersionAchieved int64 }
	}
	c.get("/groups/"+u.ProjectID+"/automationStatus", &status)
	for _, p := range status.Processes {
		if p.LastGoalVersionAchieved == status.GoalVersion {
			n++
		}
	}
	return n, status.GoalVersion
}

func TestAutomation_AgentsTurnTheKeyOncePerTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c, u := modern(t, simulator.Agents{Takes: keyturn.Duration(agentsTake), GoalLag: keyturn.Duration(time.Second)})
		path := "/groups/" + u.ProjectID + "/automationConfig"
		if a := c.put(path, stamped(c.config(u, ""), "2030-01-01T00:00:00Z")); a.status != 200 {
			t.Fatalf("PUT: %d %s", a.status, a.body)
		}
		if n, goal := c.reached(u); n != 3 || goal != 1 {
			t.Errorf("before the goal is known %d have reached %d", n, goal)
		}
		pass(1500 * time.Millisecond)
		if n, goal := c.reached(u); n != 0 || goal != 2 || len(s.Truth()) > 0 {
			t.Errorf("under way %d have reached %d, turned %+v", n, goal, s.Truth())
		}
		pass(agentsTake)
		if n, _ := c.reached(u); n != 3 {
			t.Errorf("%d have reached the goal", n)
		}
		truth := s.Truth()
		if len(truth) != 1 || truth[0].Members != 3 || truth[0].Timestamp != "2030-01-01T00:00:00Z" || truth[0].By != simulator.ByAutomation || truth[0].KeyBefore != u.Key {
			t.Errorf("truth %+v", truth)
		}
		for _, at := range []string{"2030-01-01T00:00:00Z", "2029-01-01T00:00:00Z"} { // again, and an earlier one
			if a := c.put(path, stamped(c.config(u, ""), at)); a.status != 200 {
				t.Fatalf("PUT: %d %s", a.status, a.body)
			}
			pass(2 * agentsTake)
		}
		if n := len(s.Truth()); n != 1 {
			t.Errorf("%d turns", n)
		}
		if stats, _, err := s.Estate().Automation(u.ProjectID); err != nil || stats.Reformatted+stats.Damaged > 0 || stats.Published != 3 || stats.Version != 4 {
			t.Errorf("%+v, %v", stats, err)
		}
	})
}

func TestAutomation_RefusesOldVersionsLocksAndNonsense(t *testing.T) {
	t.Parallel()
	s, c, u := modern(t, simulator.Agents{})
	path := "/groups/" + u.ProjectID + "/automationConfig"
	old := stamped(c.config(u, ""), "2030-01-01T00:00:00Z")
	if rec := control(t, s, "POST", "projects/"+u.ProjectID+"/edit", ""); rec.Code != 204 {
		t.Fatalf("edit: %d %s", rec.Code, rec.Body)
	}
	if a := c.put(path, old); a.status != 409 || !strings.Contains(string(a.body), "AUTOMATION_CONFIG_CONCURRENT_MODIFICATION") {
		t.Errorf("an old version: %d %s", a.status, a.body)
	}
	if rec := control(t, s, "PUT", "projects/"+u.ProjectID+"/lock?holder=operator", ""); rec.Code != 204 {
		t.Fatalf("lock: %d %s", rec.Code, rec.Body)
	}
	if a := c.put(path, c.config(u, "")); a.status != 403 {
		t.Errorf("against a lock: %d %s", a.status, a.body)
	}
	if a := c.do("GET", "/groups/"+u.ProjectID+"/controlledFeature"); !strings.Contains(string(a.body), `"policy":"EXTERNALLY_MANAGED_LOCK"`) || !strings.Contains(string(a.body), "operator") {
		t.Errorf("locks: %s", a.body)
	}
	control(t, s, "DELETE", "projects/"+u.ProjectID+"/lock", "")
	if a := c.put(path, []byte("{")); a.status != 400 {
		t.Errorf("half a config: %d %s", a.status, a.body)
	}
	if rec := control(t, s, "POST", "projects/nobody/edit", ""); rec.Code != 404 {
		t.Errorf("an unknown project: %d", rec.Code)
	}
	if len(s.Truth()) > 0 {
		t.Errorf("truth %+v", s.Truth())
	}
}

func TestAutomation_CountsWhatAPutDamages(t *testing.T) {
	t.Parallel()
	s, c, u := modern(t, simulator.Agents{})
	path := "/groups/" + u.ProjectID + "/automationConfig"
	config := c.config(u, "")
	for _, put := range [][]byte{
		bytes.Replace(config, []byte(` { "big"`), []byte(`{"big"`), 1),                                           // as a formatter does
		bytes.Replace(config, []byte(`12345678901234567890123`), []byte(`1.2345678901234568e22`), 1),             // as a float does
		bytes.Replace(config, []byte(`"lastRestart":"2026-01-01T00:00:00.000+00:00",`), nil, 1),                  // as a structure does
		bytes.Replace(config, []byte(`"simulated-keyfile-content"`), []byte(`"simulated-keyfile-content" `), -1), // white space
	} {
		version := regexp.MustCompile(`"version":\d+\}`).Find(c.config(u, ""))
		put = regexp.MustCompile(`"version":\d+\}$`).ReplaceAll(put, version)
		if a := c.put(path, put); a.status != 200 {
			t.Fatalf("PUT: %d %s", a.status, a.body)
		}
		if a := c.put(path, regexp.MustCompile(`"version":\d+\}$`).ReplaceAll(config, regexp.MustCompile(`"version":\d+\}`).Find(c.config(u, "")))); a.status != 200 {
			t.Fatalf("PUT: %d %s", a.status, a.body)
		}
	}
	stats, _, err := s.Estate().Automation(u.ProjectID)
	if err != nil || stats.Published != 8 || stats.Reformatted != 8 || stats.Damaged != 4 { // there and back
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestAutomation_NoSecretsKeepsThem(t *testing.T) {
	t.Parallel()
	s, c, u := modern(t, simulator.Agents{})
	whole, without := c.config(u, ""), c.config(u, "/noSecrets")
	for _, secret := range []string{"simulated-automation-password", "simulated-keyfile-content", "simulated-certificate-password"} {
		if !bytes.Contains(whole, []byte(secret)) || bytes.Contains(without, []byte(secret)) {
			t.Errorf("%s is in the wrong one", secret)
		}
	}
	if a := c.put("/groups/"+u.ProjectID+"/automationConfig/noSecrets", stamped(without, "2030-01-01T00:00:00Z")); a.status != 200 {
		t.Fatalf("PUT: %d %s", a.status, a.body)
	}
	if got := c.config(u, ""); !bytes.Contains(got, []byte("simulated-keyfile-content")) || len(s.Truth()) != 1 {
		t.Errorf("turned %+v, config %s", s.Truth(), got)
	}
}

func TestAutomation_AnEditThatTakesATimeBackIsInTimeUntilTheAgentsBegin(t *testing.T) {
	t.Parallel()
	for begun, turns := range map[bool]int{false: 0, true: 1} {
		synctest.Test(t, func(t *testing.T) {
			s, c, u := modern(t, simulator.Agents{Takes: keyturn.Duration(agentsTake)})
			if a := c.put("/groups/"+u.ProjectID+"/automationConfig", stamped(c.config(u, ""), "2030-01-01T00:00:00Z")); a.status != 200 {
				t.Fatalf("PUT: %d %s", a.status, a.body)
			}
			if begun {
				pass(agentsTake / 2)
			}
			if err := s.Estate().EditAutomation(u.ProjectID, true); err != nil {
				t.Fatal(err)
			}
			pass(2 * agentsTake)
			if n := len(s.Truth()); n != turns {
				t.Errorf("begun %v: %d turns", begun, n)
			}
			if bytes.Contains(c.config(u, ""), []byte("2030")) {
				t.Error("the time was not taken back")
			}
		})
	}
}

func TestSnapshots_NeedTheKeyThatWasInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSimulator(t, simulator.Config{Faults: simulator.Faults{Agents: simulator.Agents{SnapshotEvery: keyturn.Duration(time.Hour)}}})
		c, units := clientOf(t, s), s.Estate().Units()
		first := units[0] // a shard
		pass(90 * time.Minute)
		if _, err := s.Estate().Rotate(first.ClusterID); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		parent := c.clusters(first.ProjectID)[0].ID
		var list page[struct {
			ID      string
			Created struct{ Date time.Time }
			Parts   []struct{ ClusterID, MasterKeyUUID string }
		}]
		c.get("/groups/"+first.ProjectID+"/clusters/"+parent+"/snapshots", &list)
		if len(list.Results) != 3 {
			t.Fatalf("%d snapshots", len(list.Results))
		}
		now := s.Estate().Units()[0].Key
		for i, want := range []string{now, first.Key, first.Key} { // the newest first
			if r := list.Results[i]; len(r.Parts) != 3 || r.Parts[0].ClusterID != first.ClusterID || r.Parts[0].MasterKeyUUID != want {
				t.Errorf("snapshot of %s: %+v, want key %s", r.Created.Date, r.Parts, want)
			}
		}
	})
}
