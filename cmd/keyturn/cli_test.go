package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cli runs commands against a real API over a store in memory.
type cli struct {
	store  *apitest.Store
	server *httptest.Server
	api    http.Handler
	vars   map[string]string
	stdin  string
	dir    string
	// before, if set, may answer a request instead of the API.
	before func(http.ResponseWriter, *http.Request) bool
}

type result struct {
	code           int
	stdout, stderr string
}

type plannerFunc func(ctx context.Context, policy string, only keyturn.Selection) ([]keyturn.Unit, error)

func (f plannerFunc) Plan(ctx context.Context, policy string, only keyturn.Selection) ([]keyturn.Unit, error) {
	return f(ctx, policy, only)
}

func newCLI(t *testing.T) *cli {
	t.Helper()
	c := &cli{store: &apitest.Store{}, dir: t.TempDir()}
	c.store.AddTokens()
	c.store.AddResource(keyturn.KindTarget, "om-prod", `{"system":"ops-manager","url":"https://om.example.com:8443","credentials":{"publicKey":"env:A","privateKey":"env:B"}}`)
	c.store.AddResource(keyturn.KindPolicy, "quarterly", `{"target":"om-prod","schedule":{"cron":"0 2 1 */3 *","timezone":"Europe/Berlin"}}`)
	c.api = api.New(api.Config{
		Store: c.store, Version: "v9.9.9", Now: apitest.Epoch,
		FirstSlot: func(s keyturn.Schedule, _ time.Time) (*keyturn.Slot, error) {
			return &keyturn.Slot{Local: "2026-04-01T02:00:00", Timezone: s.Timezone, At: apitest.Epoch().Add(4 * keyturn.Day)}, nil
		},
		Planner: plannerFunc(func(_ context.Context, _ string, only keyturn.Selection) ([]keyturn.Unit, error) {
			units := []keyturn.Unit{}
			for _, u := range someUnits() {
				if only.Match(u) {
					units = append(units, u)
				}
			}
			return units, nil
		}),
	})
	c.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.before != nil && c.before(w, r) {
			return
		}
		c.api.ServeHTTP(w, r)
	}))
	t.Cleanup(c.server.Close)
	c.vars = map[string]string{
		"KEYTURN_SERVER": c.server.URL, "KEYTURN_TOKEN": apitest.Secret(keyturn.RoleAdmin), "KEYTURN_DATA_DIR": c.dir,
	}
	return c
}

func (c *cli) run(t *testing.T, args ...string) result {
	t.Helper()
	return c.runContext(t.Context(), args...)
}

func (c *cli) runContext(ctx context.Context, args ...string) result {
	var stdout, stderr bytes.Buffer
	e := &env{
		stdin: strings.NewReader(c.stdin), stdout: &stdout, stderr: &stderr,
		getenv: func(name string) string { return c.vars[name] },
		now:    apitest.Epoch, poll: time.Millisecond, backoff: time.Millisecond,
	}
	code := runEnv(ctx, args, e)
	return result{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

func someUnits() []keyturn.Unit {
	since := apitest.Epoch().Add(-100 * keyturn.Day)
	base := keyturn.Unit{Target: "om-prod", System: keyturn.SystemOpsManager, ProjectID: "p1", ProjectName: "payments", Rotatable: true, FCV: "4.0"}
	shard, config, other := base, base, base
	shard.ID, shard.ClusterID, shard.ClusterName, shard.Name, shard.Component = "om-prod.p1.c1", "c1", "orders", "orders-0", keyturn.ComponentShard
	shard.KeyID, shard.KeySince, shard.KeySinceExact = "key-1", &since, true
	config.ID, config.ClusterID, config.ClusterName, config.Name, config.Component = "om-prod.p1.c2", "c2", "orders", "orders-cfg", keyturn.ComponentConfig
	config.KeyID, config.KeySince = "key-2", &since
	other.ID, other.ClusterID, other.ClusterName, other.Name, other.Component = "om-prod.p1.c3", "c3", "ledger\x1b[31m", "ledger", keyturn.ComponentReplicaSet
	other.Rotatable, other.Reason = false, "backup is off"
	return []keyturn.Unit{shard, config, other}
}

func (r result) want(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.stdout, r.stderr)
	}
	return r
}

// wantError checks that stderr is one line that contains all the words.
func (r result) wantError(t *testing.T, words ...string) {
	t.Helper()
	if strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("stderr is not one line: %q", r.stderr)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("stderr %q does not say %q", r.stderr, word)
		}
	}
}

func fromJSON[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("stdout is not the JSON that it should be (%v): %s", err, r.stdout)
	}
	return v
}

func TestUsageErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args  string
		words []string
	}{
		{"rotat x", []string{`"rotat"`, `did you mean "rotate"?`}},
		{"hsitory", []string{`did you mean "history"?`}},
		{"somethingelse", []string{`"somethingelse"`, "keyturn --help"}},
		{"rotate quarterly --wiat", []string{"--wiat", `did you mean "--wait"?`}},
		{"token crate", []string{`did you mean "create"?`, "keyturn token --help"}},
		{"rotate", []string{"POLICY is missing"}},
		{"rotate a --key arn:1", []string{"is not UNIT=KEY", "keyturn units -o json"}},
		{"rotate a --key aws=arn:1", []string{`"aws" is not a unit's id`}},
		{"rotate --resume 019d2f4e-7c1a-7b3c-9f00-0123456789ab --key a.p.aws=x", []string{"--key does not go with --resume"}},
		{"rotate a b", []string{`unexpected argument "b"`}},
		{"get polices", []string{`did you mean "policies"?`}},
		{"units -o xml", []string{"table, json"}},
		{"apply", []string{"-f"}},
		{"apply -f - -f -", []string{"twice"}},
		{"token create ci", []string{"--role"}},
		{"token create ci --role boss", []string{"viewer, operator, admin"}},
		{"token create ci --role viewer --expires soon", []string{"90d"}},
		{"token revoke ci", []string{"keyturn token list"}},
		{"rotations --limit -1", []string{"--limit"}},
		{"rotations --state done", []string{"succeeded, partial"}},
		{"history --rotation x", []string{"--rotation"}},
		{"units --server nowhere", []string{"http://127.0.0.1:7390"}},
		{"simulate --fault put.eror=1", []string{"eror", "keyturn simulate --help"}},
		{"simulate --fault put.slow=2", []string{"0 to 1"}},
		{"simulate --units 0", []string{"--units"}},
		{"simulate --key secret", []string{"PUBLIC:PRIVATE"}},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			r := newCLI(t).run(t, strings.Fields(test.args)...).want(t, exitUsage)
			r.wantError(t, test.words...)
			if r.stdout != "" {
				t.Errorf("stdout is %q", r.stdout)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	missing := keyturn.NewID(apitest.Epoch()).String()
	tests := []struct {
		name, args, token string
		code              int
		words             []string
	}{
		{"fine", "units", "", exitDone, nil},
		{"no such policy", "rotate nosuch", "", exitNotFound, []string{`"nosuch"`}},
		{"no such policy to pause", "pause nosuch", "", exitNotFound, []string{`"nosuch"`}},
		{"no such target", "get targets nosuch", "", exitNotFound, []string{`"nosuch"`}},
		{"no such rotation", "rotations " + missing, "", exitNotFound, []string{missing}},
		{"no such unit", "history nosuch", "", exitNotFound, []string{"keyturn units"}},
		{"wrong token", "units", "kt_wrong", exitUnauthorized, []string{"KEYTURN_TOKEN"}},
		{"weak token", "rotate quarterly", apitest.Secret(keyturn.RoleViewer), exitUnauthorized, []string{"operator", "viewer"}},
		{"taken name", "token create admin --role viewer", "", exitFailed, []string{"admin"}},
		{"no file", "apply -f /does/not/exist", "", exitFailed, []string{"/does/not/exist"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCLI(t)
			if test.token != "" {
				c.vars["KEYTURN_TOKEN"] = test.token
			}
			r := c.run(t, strings.Fields(test.args)...).want(t, test.code)
			if test.code != exitDone {
				r.wantError(t, test.words...)
			}
		})
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.server.Close()
	c.run(t, "units").want(t, exitFailed).wantError(t, c.server.URL, "keyturn serve")
}

func TestServerThatIsAnotherProgram(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusForbidden, http.StatusFound} {
		c := newCLI(t)
		c.before = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", "https://login.example.com")
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<html>"))
			return true
		}
		r := c.run(t, "units")
		if r.code == exitDone {
			t.Errorf("status %d passed for a Keyturn server", status)
		}
		r.wantError(t, "--server")
	}
}

func TestListingsAsJSONFetchAllPages(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	units := make([]keyturn.Unit, 2100)
	for i := range units {
		units[i] = keyturn.Unit{ID: "u" + number(i), Name: number(i)}
	}
	c.store.AddUnits(units...)
	if got := fromJSON[[]keyturn.Unit](t, c.run(t, "units", "-o", "json").want(t, exitDone)); len(got) != 2100 {
		t.Errorf("%d units, want 2100", len(got))
	}
}

func TestEmptyListingsAreEmptyArraysInJSON(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	for _, args := range []string{"units", "history", "rotations", "get webhooks"} {
		r := c.run(t, append(strings.Fields(args), "-o", "json")...).want(t, exitDone)
		if strings.TrimSpace(r.stdout) != "[]" {
			t.Errorf("%s prints %q, want []", args, r.stdout)
		}
	}
}

func TestTableHidesNothingAndSteersNoTerminal(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.store.AddUnits(someUnits()...)
	got := c.run(t, "units").want(t, exitDone).stdout
	want := strings.Join([]string{
		"UNIT        KIND         PROJECT   CLUSTER      KEY    AGE    NOTE",
		"orders-0    shard        payments  orders       key-1  100d",
		"orders-cfg  config       payments  orders       key-2  >100d",
		"ledger      replica-set  payments  ledger\uFFFD[31m  -      -      backup is off",
		"",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHistoryNamesUnits(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.store.AddUnits(someUnits()...)
	from, until := apitest.Epoch().Add(-3*keyturn.Day), apitest.Epoch().Add(-time.Hour)
	c.store.AddHistory(keyturn.KeyRecord{
		ID: keyturn.NewID(from), Unit: "om-prod.p1.c1", KeyID: "key-0", From: from, Until: &until, Origin: keyturn.OriginObserved,
	})
	got := c.run(t, "history").want(t, exitDone).stdout
	want := "UNIT               KEY    FROM (UTC)           UNTIL                FOR  ORIGIN\n" +
		"payments/orders-0  key-0  2026-03-25 12:00:00  2026-03-28 11:00:00  2d   observed\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	records := fromJSON[[]map[string]any](t, c.run(t, "history", "om-prod.p1.c1", "-o", "json").want(t, exitDone))
	for _, field := range []string{"id", "unit", "keyId", "previousKeyId", "from", "until", "origin", "rotationId", "taskId"} {
		if _, ok := records[0][field]; !ok {
			t.Errorf("the record has no %s: %v", field, records[0])
		}
	}
	if records[0]["from"] != "2026-03-25T12:00:00Z" {
		t.Errorf("from is %v, want RFC 3339 in UTC", records[0]["from"])
	}
}

func TestPlanShowsWhatWouldTurn(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	r := c.run(t, "plan", "quarterly").want(t, exitDone)
	if !strings.Contains(r.stdout, "backup is off") || !strings.Contains(r.stderr, "3 units: 2 would turn, 1 would be skipped") {
		t.Errorf("stdout %s\nstderr %s", r.stdout, r.stderr)
	}
	for _, name := range []string{"c1", "payments/orders-0"} {
		units := fromJSON[[]keyturn.Unit](t, c.run(t, "plan", "quarterly", "--unit", name, "-o", "json").want(t, exitDone))
		if len(units) != 1 || units[0].ClusterID != "c1" {
			t.Errorf("%s: units %v, want c1 only", name, units)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	c.run(t, "pause", "quarterly", "--note", "freeze").want(t, exitDone)
	if got := c.run(t, "get", "policies").want(t, exitDone).stdout; !strings.Contains(got, "paused") || !strings.Contains(got, "by token:admin: freeze") {
		t.Errorf("the policy is not shown as paused:\n%s", got)
	}
	if got := c.run(t, "resume", "quarterly").want(t, exitDone).stdout; !strings.Contains(got, "2026-04-01T02:00:00 Europe/Berlin") {
		t.Errorf("resume says %q", got)
	}
	if got := c.run(t, "get", "policy", "quarterly").want(t, exitDone).stdout; !strings.Contains(got, "active") || !strings.Contains(got, "in 4d") {
		t.Errorf("the policy is not shown as active:\n%s", got)
	}
}

func TestTokenCreatePrintsOnlyTheSecretOnStdout(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	r := c.run(t, "token", "create", "ci", "--role", "viewer", "--expires", "90d").want(t, exitDone)
	secret := strings.TrimSpace(r.stdout)
	if !strings.HasPrefix(secret, "kt_") || strings.Contains(r.stderr, secret) {
		t.Fatalf("stdout %q, stderr %q", r.stdout, r.stderr)
	}
	tokens := fromJSON[[]keyturn.Token](t, c.run(t, "token", "list", "-o", "json").want(t, exitDone))
	made := tokens[len(tokens)-1]
	if made.Name != "ci" || made.ExpiresAt == nil || !made.ExpiresAt.Equal(apitest.Epoch().Add(90*keyturn.Day)) {
		t.Errorf("the token is %+v", made)
	}
	c.vars["KEYTURN_TOKEN"] = secret
	c.run(t, "units").want(t, exitDone)
	c.vars["KEYTURN_TOKEN"] = apitest.Secret(keyturn.RoleAdmin)
	c.run(t, "token", "revoke", made.ID.String()).want(t, exitDone)
	c.vars["KEYTURN_TOKEN"] = secret
	c.run(t, "units").want(t, exitUnauthorized)
}

func TestVersionAsksTheServer(t *testing.T) {
	t.Parallel()
	c := newCLI(t)
	if got := fromJSON[versionInfo](t, c.run(t, "version", "-o", "json").want(t, exitDone)); got.Server != "v9.9.9" || got.Version != version {
		t.Errorf("got %+v", got)
	}
	c.server.Close()
	if got := c.run(t, "version").want(t, exitDone); strings.Contains(got.stdout, "server") || got.stderr != "" {
		t.Errorf("without a server: %+v", got)
	}
}

func TestCompletionNamesPolicies(t *testing.T) {
	t.Parallel()
	if got := newCLI(t).run(t, "__complete", "rotate", "").want(t, exitDone).stdout; !strings.Contains(got, "quarterly") {
		t.Errorf("completion offers %q", got)
	}
}

// pass lets the API carry a request out and drops its answer.
func (c *cli) pass(r *http.Request) { c.api.ServeHTTP(httptest.NewRecorder(), r) }

// keepTasks makes the tasks those of the rotation that is asked for next.
func (c *cli) keepTasks(tasks []keyturn.Task) { c.store.DefaultTasks = tasks }
