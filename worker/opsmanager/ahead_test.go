package opsmanager_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

// round is how long a request takes, in fake time.
const round = 20 * time.Millisecond

// limited is a concurrency, and stands for a limit of requests per second that a test does not reach.
const limited = 17

// paced is the way to a fake that is as far away as a round.
type paced struct {
	*fake
	slow string // the end of a path that takes ten rounds

	mu          sync.Mutex
	order       []string // of the requests with credentials, without the project's path
	challenges  int
	asked, peak int
}

func (p *paced) RoundTrip(req *http.Request) (*http.Response, error) {
	p.mu.Lock()
	if req.Header.Get("Authorization") != "" {
		p.order = append(p.order, strings.TrimPrefix(strings.TrimPrefix(req.URL.Path, apiPrefix), projectPath))
	} else {
		p.challenges++
	}
	p.asked++
	p.peak = max(p.peak, p.asked)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked--
	}()
	took := round
	if p.slow != "" && strings.HasSuffix(req.URL.Path, p.slow) {
		took *= 10
	}
	select {
	case <-time.After(took):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	w := httptest.NewRecorder()
	if req.Header.Get("Authorization") == "" {
		w.Header().Set("WWW-Authenticate", `Digest realm="r", nonce="n", qop="auth"`)
		w.WriteHeader(http.StatusUnauthorized)
	} else {
		p.fake.ServeHTTP(w, req)
	}
	return w.Result(), nil
}

// discover returns the units, and how many rounds it took.
func (p *paced) discover(ctx context.Context, t *testing.T, concurrency int, sel keyturn.Selection) (units []keyturn.Unit, rounds int, err error) {
	t.Helper()
	c := p.client(t, func(cfg *opsmanager.Config) {
		cfg.Base, cfg.Target.Limits.Concurrency = p, concurrency
		if concurrency == limited {
			cfg.Target.Limits.RequestsPerSecond = 1000
		}
	})
	begun := time.Now()
	units, err = c.Discover(ctx, sel)
	if held := opsmanager.Held(c); err == nil && held != 0 {
		t.Errorf("something of %d projects is held", held)
	}
	return units, int(time.Since(begun) / round), err
}

// counted is a project of which the server says how much there is in it.
func counted(id, name string, sets, shards any) object {
	return object{"id": id, "name": name, "replicaSetCount": sets, "shardCount": shards}
}

// newPaced has a project of two replica sets; the automation config does not tell the FCV of rs2.
func newPaced(t *testing.T, fcv2 any) *paced {
	t.Helper()
	f := newFake(t)
	f.estate([]object{replicaSet("rs", "liffey"), replicaSet("rs2", "boyne")},
		[]object{backup("rs", "STARTED", true), backup("rs2", "STARTED", true)},
		new(automation).replicaSet("liffey", "4.0", "4.0").replicaSet("boyne", "4.0", fcv2))
	f.objects[projectPath+"/automationConfig/noSecrets"] = f.objects[projectPath+"/automationConfig"]
	f.lists[projectPath+"/hosts"] = []object{host("1", "rs2", "boyne", "4.0.28")}
	f.lists["/groups"] = []object{counted(projectID, "alpha", 2, 0)}
	return &paced{fake: f}
}

const (
	ofGroups, ofClusters, ofConfig = "/groups", "/clusters", "/automationConfig/noSecrets"
	ofBackups, ofHosts             = "/backupConfigs", "/hosts"
)

func TestDiscover_AsksForUpToThreeThingsOfAProjectAtATime(t *testing.T) {
	t.Parallel()
	all, low := keyturn.Selection{}, "4.0"
	tests := map[string]struct {
		sel          keyturn.Selection
		fcv          any
		sets, shards any
		concurrency  int
		order        string // sorted if several are asked at a time
		rounds       int    // with that for the challenge
		peak         int
	}{
		"all":                      {all, low, 2, 0, 16, "/automationConfig/noSecrets /backupConfigs /clusters /groups", 3, 3},
		"all, of shards":           {all, low, 0, 2, 16, "/automationConfig/noSecrets /backupConfigs /clusters /groups", 3, 3},
		"the project":              {keyturn.Selection{Projects: []string{"al*"}}, low, 2, 0, 16, "/automationConfig/noSecrets /backupConfigs /clusters /groups", 3, 3},
		"hosts too":                {all, nil, 2, 0, 16, "/automationConfig/noSecrets /backupConfigs /clusters /groups /hosts", 4, 3},
		"room for two":             {all, nil, 2, 0, 2, "/automationConfig/noSecrets /backupConfigs /clusters /groups /hosts", 4, 2},
		"room for one":             {all, nil, 2, 0, 1, "/groups /clusters /automationConfig/noSecrets /backupConfigs /hosts", 6, 1},
		"a limit of requests":      {all, nil, 2, 0, limited, "/groups /clusters /automationConfig/noSecrets /backupConfigs /hosts", 6, 1},
		"counts are not told":      {all, low, nil, nil, 16, "/groups /clusters /automationConfig/noSecrets /backupConfigs", 5, 1},
		"counts are text":          {all, low, "2", "x", 16, "/automationConfig/noSecrets /backupConfigs /clusters /groups", 3, 3},
		"counts are old":           {all, low, 0, 0, 16, "/groups /clusters /automationConfig/noSecrets /backupConfigs", 5, 1},
		"a cluster":                {keyturn.Selection{Clusters: []string{"liffey"}}, low, 2, 0, 16, "/groups /clusters /automationConfig/noSecrets /backupConfigs", 5, 1},
		"a cluster that is not":    {keyturn.Selection{Clusters: []string{"x"}}, low, 2, 0, 16, "/groups /clusters", 3, 1},
		"a component":              {keyturn.Selection{Components: []keyturn.Component{keyturn.ComponentReplicaSet}}, low, 2, 0, 16, "/groups /clusters /automationConfig/noSecrets /backupConfigs", 5, 1},
		"a component that is not":  {keyturn.Selection{Components: []keyturn.Component{keyturn.ComponentShard}}, low, 2, 0, 16, "/groups /clusters", 3, 1},
		"a unit":                   {keyturn.Selection{Units: []string{"boyne"}}, nil, 2, 0, 16, "/automationConfig/noSecrets /backupConfigs /clusters /groups /hosts", 5, 2},
		"a unit with a known FCV":  {keyturn.Selection{Units: []string{"liffey"}}, nil, 2, 0, 16, "/groups /clusters /automationConfig/noSecrets /backupConfigs", 5, 1},
		"another project":          {keyturn.Selection{Projects: []string{"beta"}}, low, 2, 0, 16, "/groups", 2, 1},
		"no backup is to be asked": {all, "high", 2, 0, 16, "/automationConfig/noSecrets /backupConfigs /clusters /groups", 3, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPaced(t, tt.fcv)
			if tt.fcv == "high" {
				p.objects[projectPath+ofConfig] = new(automation).replicaSet("liffey", "4.2", "4.2").replicaSet("boyne", "5.0").object()
			}
			p.lists["/groups"] = []object{counted(projectID, "alpha", tt.sets, tt.shards)}
			synctest.Test(t, func(t *testing.T) {
				_, rounds, err := p.discover(t.Context(), t, tt.concurrency, tt.sel)
				if tt.peak > 1 { // of those that begin at once, each can be first
					slices.Sort(p.order)
				}
				if order := strings.Join(p.order, " "); err != nil || rounds != tt.rounds || p.peak != tt.peak || order != tt.order {
					t.Errorf("%v; %d rounds, %d at a time, asked for %s; want %d, %d, %s", err, rounds, p.peak, order, tt.rounds, tt.peak, tt.order)
				}
			})
		})
	}
}

// Backup configurations that the last survey had no use for are not asked for ahead of it, but when it turns out that they are needed.
func TestDiscover_AsksAheadForBackupsThatItNeededLastTime(t *testing.T) {
	t.Parallel()
	low := new(automation).replicaSet("liffey", "4.0", "4.0").replicaSet("boyne", "4.0", "4.0").object()
	high := new(automation).replicaSet("liffey", "4.2", "4.2").replicaSet("boyne", "5.0").object()
	p := newPaced(t, "4.0")
	synctest.Test(t, func(t *testing.T) {
		c := p.client(t, func(cfg *opsmanager.Config) { cfg.Base, cfg.Target.Limits.Concurrency = p, 16 })
		for i, step := range []struct {
			config object
			asked  bool
			rounds int
		}{{high, true, 3}, {high, false, 2}, {low, true, 3}, {low, true, 2}, {high, true, 2}, {high, false, 2}} {
			p.objects[projectPath+ofConfig], p.order = step.config, nil
			begun := time.Now()
			units, err := c.Discover(t.Context(), keyturn.Selection{})
			rounds := int(time.Since(begun) / round)
			if err != nil || len(units) != 2 || slices.Contains(p.order, ofBackups) != step.asked || rounds != step.rounds {
				t.Errorf("step %d: %d units, %v; asked for %v in %d rounds; want %+v", i, len(units), err, p.order, rounds, step)
			}
			time.Sleep(5 * time.Second) // what is held of the config is old then
		}
	})
}

// The target's limit holds for all projects together, and what is free is used.
func TestDiscover_KeepsTheTargetsLimit(t *testing.T) {
	t.Parallel()
	for concurrency, rounds := range map[int]int{1: 2 + 9*4, 2: 2 + 5*4, 9: 2 + 4, 18: 2 + 3, 256: 2 + 3} {
		p := newPaced(t, nil)
		p.lists["/groups"] = nil
		for _, id := range strings.Split("abcdefghi", "") {
			p.lists["/groups"] = append(p.lists["/groups"], counted(id, id, 2, 0))
			for _, path := range []string{ofClusters, ofBackups, ofHosts} {
				p.lists["/groups/"+id+path] = p.lists[projectPath+path]
			}
			p.objects["/groups/"+id+ofConfig] = p.objects[projectPath+ofConfig]
		}
		synctest.Test(t, func(t *testing.T) {
			units, took, err := p.discover(t.Context(), t, concurrency, keyturn.Selection{})
			if err != nil || len(units) != 18 || p.peak > concurrency || took > rounds || len(p.order) != 1+9*4 || p.challenges != 1 {
				t.Errorf("concurrency %d: %d units, %v; %d at a time, %d rounds, %d requests and %d challenges; want at most %d rounds",
					concurrency, len(units), err, p.peak, took, len(p.order), p.challenges, rounds)
			}
		})
	}
}

// The error is that of what comes first in the order in which one asks alone, whichever answer is there first.
func TestDiscover_ReportsTheSameErrorWhicheverIsFirst(t *testing.T) {
	t.Parallel()
	const denied = `{"error":401,"errorCode":"USER_UNAUTHORIZED","detail":"no","reason":"Unauthorized"}`
	answers := map[string]string{"denied": denied, "down": "", "empty": `{"results":[]}`, "gone": `{"error":404,"errorCode":"NOT_FOUND"}`}
	codes := map[string]int{"denied": http.StatusUnauthorized, "down": http.StatusServiceUnavailable, "empty": http.StatusOK, "gone": http.StatusNotFound}
	tests := map[string]struct {
		broken map[string]string
		want   string // part of the error; empty: none
		units  int
	}{
		"clusters and config":           {map[string]string{ofClusters: "down", ofConfig: "down"}, "listing the clusters", 0},
		"clusters denied, config":       {map[string]string{ofClusters: "denied", ofConfig: "down"}, "listing the clusters", 0},
		"clusters":                      {map[string]string{ofClusters: "down"}, "listing the clusters", 0},
		"config":                        {map[string]string{ofConfig: "down"}, "reading the automation config", 0},
		"config and backups":            {map[string]string{ofConfig: "down", ofBackups: "down"}, "reading the automation config", 0},
		"config denied":                 {map[string]string{ofConfig: "denied"}, "", 2},
		"gone":                          {map[string]string{ofClusters: "gone", ofConfig: "gone"}, "", 0},
		"gone, config":                  {map[string]string{ofClusters: "gone", ofConfig: "down"}, "", 0},
		"gone, config is still there":   {map[string]string{ofClusters: "gone"}, "", 0},
		"nothing in it, config":         {map[string]string{ofClusters: "empty", ofConfig: "down"}, "", 0},
		"nothing in it":                 {map[string]string{ofClusters: "empty"}, "", 0},
		"backups and hosts":             {map[string]string{ofBackups: "down", ofHosts: "down"}, "listing the backup configurations", 0},
		"backups":                       {map[string]string{ofBackups: "down"}, "listing the backup configurations", 0},
		"hosts":                         {map[string]string{ofHosts: "down"}, "listing the hosts", 0},
		"backups denied, hosts":         {map[string]string{ofBackups: "denied", ofHosts: "down"}, "listing the hosts", 0},
		"backups denied, hosts denied":  {map[string]string{ofBackups: "denied", ofHosts: "denied"}, "", 2},
		"config and backups are denied": {map[string]string{ofConfig: "denied", ofBackups: "denied"}, "", 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var first []keyturn.Unit
			for i, slow := range []string{"", ofClusters, ofConfig, ofBackups, ofHosts, "alone"} {
				p := newPaced(t, nil)
				p.slow = slow
				for path, how := range tt.broken {
					p.on("GET "+projectPath+path, codes[how], answers[how])
					if path == ofConfig {
						p.on("GET "+projectPath+"/automationConfig", codes[how], answers[how])
					}
				}
				concurrency := 16
				if slow == "alone" {
					concurrency = 1
				}
				synctest.Test(t, func(t *testing.T) {
					units, _, err := p.discover(t.Context(), t, concurrency, keyturn.Selection{})
					if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) || len(units) != tt.units {
						t.Errorf("%q is slow: %d units, %v; want %d, %q", slow, len(units), err, tt.units, tt.want)
					}
					if i == 0 {
						first = units
					}
					if !slices.Equal(units, first) {
						t.Errorf("%q is slow: units\n%+v, want\n%+v", slow, units, first)
					}
				})
			}
		})
	}
}

// Nothing is left behind: synctest would tell.
func TestDiscover_EndsWhenItsContextDoes(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{round / 2, 2*round + round/2, 3*round + round/2} {
		p := newPaced(t, nil)
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(after, cancel)
			begun := time.Now()
			_, _, err := p.discover(ctx, t, 16, keyturn.Selection{})
			want{transient, false, "canceled", 0, ""}.check(t, "Discover", err)
			if took := time.Since(begun); took != after {
				t.Errorf("it went on for %v after its context had ended", took-after)
			}
		})
	}
}

// The error of one project ends the others' questions, and is not hidden by what becomes of them.
func TestDiscover_ReportsTheErrorThatEndedIt(t *testing.T) {
	t.Parallel()
	for _, path := range []string{ofClusters, ofConfig, ofBackups, ofHosts} {
		p := newPaced(t, nil)
		p.lists["/groups"] = append(p.lists["/groups"], counted("other", "aaa", 2, 0))
		maps.Copy(p.lists, map[string][]object{"/groups/other" + ofClusters: p.lists[projectPath+ofClusters]})
		p.slow = "/groups/other" + ofConfig
		p.on("GET "+projectPath+path, http.StatusServiceUnavailable, "")
		synctest.Test(t, func(t *testing.T) {
			_, rounds, err := p.discover(t.Context(), t, 16, keyturn.Selection{})
			want{transient, true, "http_503", 0, "of project alpha"}.check(t, path, err)
			if rounds > 4 {
				t.Errorf("%s: %d rounds: it waited for what it had no use for", path, rounds)
			}
		})
	}
}
