package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

// documented is an operation as /openapi.json lists it.
type documented struct {
	method, path string
	ID           string                `json:"operationId"`
	Role         keyturn.Role          `json:"x-role"`
	Security     []map[string][]string `json:"security"`
}

func documentedOperations(t *testing.T, f *fixture) []documented {
	t.Helper()
	rec := f.call(t, "", http.MethodGet, "/openapi.json", "")
	wantStatus(t, rec, http.StatusOK)
	spec := decode[struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}](t, rec)
	if !strings.HasPrefix(spec.OpenAPI, "3.1.") {
		t.Fatalf("OpenAPI %q, want 3.1", spec.OpenAPI)
	}
	var ops []documented
	for path, methods := range spec.Paths {
		for method, raw := range methods {
			op := documented{method: strings.ToUpper(method), path: path}
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			ops = append(ops, op)
		}
	}
	return ops
}

func TestEveryOperationHasARoleAndIsClosedToLesserOnes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	roles := []keyturn.Role{"", keyturn.RoleViewer, keyturn.RoleOperator, keyturn.RoleAdmin}
	rank := map[keyturn.Role]int{keyturn.RoleViewer: 1, keyturn.RoleOperator: 2, keyturn.RoleAdmin: 3}
	ops := documentedOperations(t, f)
	if len(ops) < 20 {
		t.Fatalf("only %d operations are documented", len(ops))
	}
	for _, op := range ops {
		if rank[op.Role] == 0 || len(op.Security) != 1 || !strings.HasPrefix(op.path, "/api/v1/") {
			t.Errorf("%s %s has the role %q and the security %v", op.method, op.path, op.Role, op.Security)
			continue
		}
		if op.method != http.MethodGet && op.Role == keyturn.RoleViewer {
			t.Errorf("%s may be called by viewers, who only read", op.ID)
		}
		path := strings.NewReplacer("{id}", "none", "{name}", "none").Replace(op.path)
		for _, role := range roles {
			rec := f.call(t, role, op.method, path, "{}")
			switch {
			case role == "":
				wantProblem(t, rec, http.StatusUnauthorized)
			case rank[role] < rank[op.Role]:
				wantProblem(t, rec, http.StatusForbidden)
			case rec.Code == http.StatusUnauthorized || rec.Code == http.StatusForbidden:
				t.Errorf("%s refuses %s: %d", op.ID, role, rec.Code)
			}
		}
	}
}

func TestRolesOfOperations(t *testing.T) {
	t.Parallel()
	want := map[string]keyturn.Role{
		"request-rotation": keyturn.RoleOperator, "plan-policy": keyturn.RoleOperator,
		"pause-policy": keyturn.RoleOperator, "resume-policy": keyturn.RoleOperator, "ack-alert": keyturn.RoleOperator,
		"backfill-policy": keyturn.RoleOperator, "observe-target": keyturn.RoleOperator, "fix-thresholds": keyturn.RoleOperator,
		"cancel-rotation": keyturn.RoleOperator, "resume-rotation": keyturn.RoleOperator,
		"resolve-task": keyturn.RoleOperator, "list-audit": keyturn.RoleOperator, "export-audit": keyturn.RoleOperator,
		"apply": keyturn.RoleAdmin, "list-tokens": keyturn.RoleAdmin,
		"audit-keys": keyturn.RoleOperator, "get-retirement": keyturn.RoleOperator, "retire-keys": keyturn.RoleAdmin,
		"create-token": keyturn.RoleAdmin, "revoke-token": keyturn.RoleAdmin,
	}
	seen := 0
	for _, op := range documentedOperations(t, newFixture(t, nil)) {
		role, listed := want[op.ID]
		if !listed {
			role = keyturn.RoleViewer
		} else {
			seen++
		}
		if op.Role != role {
			t.Errorf("%s needs the role %s, want %s", op.ID, op.Role, role)
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d operations above viewer exist", seen, len(want))
	}
}

func TestTokensThatAreNoneAreUnauthorized(t *testing.T) {
	t.Parallel()
	good := apitest.Secret(keyturn.RoleViewer)
	tests := []struct {
		name, header string
		want         int
	}{
		{"no header", "", 401},
		{"another scheme", "Basic " + good, 401},
		{"no secret", "Bearer ", 401},
		{"unknown secret", "Bearer kt_" + strings.Repeat("x", 43), 401},
		{"cut off", "Bearer " + good[:40], 401},
		{"longer", "Bearer " + good + "0", 401},
		{"scheme in lower case", "bearer " + good, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			rec := f.callHeader(t, "/api/v1/version", "Authorization", test.header)
			wantStatus(t, rec, test.want)
			if test.want == 401 && !strings.HasPrefix(rec.Header().Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate is %q", rec.Header().Get("WWW-Authenticate"))
			}
			if strings.Contains(rec.Body.String(), good[:20]) {
				t.Errorf("the answer repeats the token: %s", rec.Body)
			}
		})
	}
}

func TestTokenIsLookedUpOnceInAWhile(t *testing.T) {
	t.Parallel()
	now := apitest.Epoch()
	f := newFixture(t, func(c *api.Config) { c.Now = func() time.Time { return now } })
	for range 10 {
		wantStatus(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/version", ""), 200)
	}
	if got := f.store.Lookups(); got != 1 {
		t.Errorf("%d lookups for 10 requests, want 1", got)
	}
	now = now.Add(6 * time.Second)
	wantStatus(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/version", ""), 200)
	if got := f.store.Lookups(); got != 2 {
		t.Errorf("%d lookups after 6 s, want 2", got)
	}
}

func TestTokenIsCachedNoLongerThanItLives(t *testing.T) {
	t.Parallel()
	now := apitest.Epoch()
	clock := func() time.Time { return now }
	f := newFixture(t, func(c *api.Config) { c.Now = clock })
	f.store.Clock = clock
	rec := f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/tokens", `{"name":"short","role":"viewer","expiresIn":"2s"}`)
	wantStatus(t, rec, http.StatusCreated)
	secret := decode[struct{ Token string }](t, rec).Token
	wantStatus(t, f.callHeader(t, "/api/v1/version", "Authorization", "Bearer "+secret), 200)
	now = now.Add(2 * time.Second)
	wantStatus(t, f.callHeader(t, "/api/v1/version", "Authorization", "Bearer "+secret), 401)
}

func TestTokenLifeCycle(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	rec := f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/tokens", `{"name":"ci","role":"operator","expiresIn":"90d"}`)
	wantStatus(t, rec, http.StatusCreated)
	created := decode[struct {
		ID, Name, Token string
		ExpiresAt       time.Time
	}](t, rec)
	if len(created.Token) != 46 || !strings.HasPrefix(created.Token, "kt_") {
		t.Fatalf("the secret %q is not kt_ and 43 characters", created.Token)
	}
	if want := apitest.Epoch().Add(90 * keyturn.Day); !created.ExpiresAt.Equal(want) {
		t.Errorf("expires at %s, want %s", created.ExpiresAt, want)
	}
	listing := f.call(t, keyturn.RoleAdmin, http.MethodGet, "/api/v1/tokens", "")
	if strings.Contains(listing.Body.String(), created.Token) || !strings.Contains(listing.Body.String(), created.ID) {
		t.Errorf("the listing is to show the id and not the secret: %s", listing.Body)
	}
	bearer := "Bearer " + created.Token
	wantStatus(t, f.callHeader(t, "/api/v1/version", "Authorization", bearer), 200)
	wantStatus(t, f.call(t, keyturn.RoleAdmin, http.MethodDelete, "/api/v1/tokens/"+created.ID, ""), http.StatusNoContent)
	wantStatus(t, f.callHeader(t, "/api/v1/version", "Authorization", bearer), 401)
	wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodDelete, "/api/v1/tokens/"+keyturn.NewID(apitest.Epoch()).String(), ""), 404)
}

func TestTokenRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, body := range []string{
		`{"name":"","role":"viewer"}`, `{"name":"a b","role":"viewer"}`, `{"name":"x","role":"root"}`, `{"role":"viewer"}`,
		`{"name":"x","role":"viewer","expiresIn":"soon"}`, `{"name":"x","role":"viewer","extra":1}`, `{`,
	} {
		rec := f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/tokens", body)
		if rec.Code != http.StatusUnprocessableEntity && rec.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d: %s", body, rec.Code, rec.Body)
		}
	}
	wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/tokens", `{"name":"admin","role":"viewer"}`), http.StatusConflict)
}

func TestTokensCanNotBeCheckedWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.store.Fail = func(string) error { return errors.New("connection refused by 10.0.0.7") }
	rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/units", "")
	p := wantProblem(t, rec, http.StatusServiceUnavailable)
	if rec.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if strings.Contains(p.Detail, "10.0.0.7") {
		t.Errorf("the answer tells strangers about the inside: %s", p.Detail)
	}
}
