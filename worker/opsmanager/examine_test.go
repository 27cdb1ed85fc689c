package opsmanager_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/simulator"
	"github.com/keyturn/keyturn/worker"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

var (
	_ worker.Examiner = (*opsmanager.Client)(nil)
	_ worker.Checker  = (*opsmanager.Client)(nil)
)

func TestExamine_TellsTheWayOfEachUnit(t *testing.T) {
	t.Parallel()
	estate := simulator.NewEstate(simulator.EstateConfig{
		Seed: 3, Projects: 2, ClustersPerProject: 1, ReplicaSetsPerProject: 2, ModernClustersPerProject: 1, ModernReplicaSetsPerProject: 2,
		LeftOut: simulator.LeftOut{BackupOff: 1, EncryptionOff: 1, FCV42: 1, FCVUnknown: 1, KeyIdentifier: 1, ManualMode: 1, Disabled: 1},
	})
	_, c := startSimulator(t, simulator.Config{Estate: estate})
	findings, _, err := c.Examine(t.Context(), keyturn.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	truth := map[string]simulator.Unit{}
	for _, u := range estate.Units() {
		truth[u.ProjectID+"."+u.ClusterID] = u
	}
	if len(findings) != len(truth) {
		t.Errorf("%d findings of %d units", len(findings), len(truth))
	}
	ways := map[string]int{}
	for _, f := range findings {
		u := truth[f.ProjectID+"."+f.ClusterID]
		want := "backup-endpoint"
		if u.Automation || u.LeaveOut == simulator.ReasonFCV42 {
			want = "automation"
		}
		if u.LeaveOut == simulator.ReasonFCVUnknown {
			want = ""
		}
		if f.Way != want || f.Rotatable != (u.LeaveOut == "") {
			t.Errorf("%s (%s): way %q, rotatable %v (%s); want %q", f.Name, u.LeaveOut, f.Way, f.Rotatable, f.Reason, want)
		}
		if f.Rotatable == (f.Fix != "") || f.Passing {
			t.Errorf("%s: fix %q, passing %v", f.Name, f.Fix, f.Passing)
		}
		ways[f.Way]++
	}
	if ways["automation"] == 0 || ways["backup-endpoint"] == 0 {
		t.Errorf("ways are %v", ways)
	}
}

// checkOf returns the check of that name.
func checkOf(t *testing.T, checks []keyturn.Check, name string) keyturn.Check {
	t.Helper()
	for _, c := range checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s in %+v", name, checks)
	return keyturn.Check{}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	_, c := startSimulator(t, simulator.Config{
		Estate: simulator.NewEstate(simulator.EstateConfig{Seed: 1, Projects: 1, ReplicaSetsPerProject: 1}), Version: "7.0.11",
	})
	checks := c.Check(t.Context())
	for name, words := range map[string]string{"credentials": "accepts", "role": "suffices to read", "clock": "as ours", "api-version": "version 7.0.11"} {
		if got := checkOf(t, checks, name); got.State != keyturn.CheckOK || !strings.Contains(got.Message, words) {
			t.Errorf("%s is %+v, want %q", name, got, words)
		}
	}
}

func TestCheck_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*fake)
		client func(*opsmanager.Config)
		check  string
		state  keyturn.CheckState
		words  string
	}{
		"wrong key": {client: func(cfg *opsmanager.Config) { cfg.PublicKey = "another" }, check: "credentials", state: keyturn.CheckFailed, words: "spec.credentials"},
		"access list": {change: func(f *fake) {
			f.on("GET /groups", http.StatusForbidden, `{"errorCode":"IP_ADDRESS_NOT_ON_ACCESS_LIST"}`)
		}, check: "credentials", state: keyturn.CheckFailed, words: "access list"},
		"another server": {change: func(f *fake) { f.on("GET /groups", http.StatusOK, "{}") }, check: "reachable", state: keyturn.CheckFailed, words: "spec.url"},
		"nobody there":   {client: func(cfg *opsmanager.Config) { cfg.Target.URL = "http://127.0.0.1:1" }, check: "reachable", state: keyturn.CheckFailed, words: "network"},
		"no project":     {change: func(f *fake) { f.on("GET /groups", http.StatusOK, `{"results":[],"totalCount":0}`) }, check: "role", state: keyturn.CheckWarning, words: "no project"},
		"no role": {change: func(f *fake) {
			for _, path := range []string{"/automationConfig", "/automationConfig/noSecrets"} {
				f.on("GET /groups/"+projectID+path, http.StatusUnauthorized, `{"errorCode":"USER_UNAUTHORIZED"}`)
			}
		}, check: "role", state: keyturn.CheckWarning, words: "Project Automation Admin"},
		"clock is behind": {client: func(cfg *opsmanager.Config) { cfg.Now = func() time.Time { return time.Now().Add(time.Hour) } }, check: "clock", state: keyturn.CheckWarning, words: "behind ours"},
		"clock is ahead":  {client: func(cfg *opsmanager.Config) { cfg.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, check: "clock", state: keyturn.CheckWarning, words: "ahead of ours"},
		"no version":      {check: "api-version", state: keyturn.CheckUnknown, words: "does not tell"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			if tt.change != nil {
				tt.change(f)
			}
			var changes []func(*opsmanager.Config)
			if tt.client != nil {
				changes = append(changes, tt.client)
			}
			got := checkOf(t, f.client(t, changes...).Check(t.Context()), tt.check)
			if got.State != tt.state || !strings.Contains(got.Message+got.Fix, tt.words) {
				t.Errorf("check is %+v, want %s with %q", got, tt.state, tt.words)
			}
			if strings.Contains(got.Message, privateKey) {
				t.Error("the check tells the private key")
			}
		})
	}
}
