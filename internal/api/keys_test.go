package api_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

func withKeeper(t *testing.T, k *apitest.Keeper) *fixture {
	t.Helper()
	return newFixture(t, func(c *api.Config) { c.Retained = k })
}

func TestKeysAreListed(t *testing.T) {
	t.Parallel()
	until := time.Date(2027, 2, 11, 0, 0, 0, 0, time.UTC)
	k := &apitest.Keeper{Known: []keyturn.RetainedKey{{
		KeyID: "k1", Target: "om", Units: []keyturn.RetainedUse{{Unit: "om.p.c", Policies: []string{}}}, Snapshots: 14, Clusters: 3, NeededUntil: &until,
		Sure: keyturn.SureExact, Reasons: []string{"14 name it"}, SafeToRetireAt: &until, State: &keyturn.KeyState{State: keyturn.KeyActive},
	}}}
	rec := withKeeper(t, k).call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/keys?target=om&unit=rs0&key=k1&old=true&bad=true&limit=7", "")
	if rec.Code != http.StatusOK {
		t.Fatal(rec.Code, rec.Body)
	}
	for _, field := range []string{
		`"keyId":"k1"`, `"neededUntil":"2027-02-11T00:00:00Z"`, `"sure":"exact"`, `"safeToRetireAt":"2027-02-11T00:00:00Z"`, `"snapshots":14`, `"units":[{"unit":"om.p.c"`,
		`"state":{`, `"inUse":false`, `"reasons":["14 name it"]`,
	} {
		if !strings.Contains(rec.Body.String(), field) {
			t.Errorf("%s lacks %s", rec.Body, field)
		}
	}
	want := keyturn.KeyFilter{Target: "om", Unit: "rs0", Key: "k1", Old: true, Bad: true, Page: keyturn.Page{Limit: 7}}
	if k.Filter != want {
		t.Errorf("asked for %+v", k.Filter)
	}
}

func TestAuditIsAskedFor(t *testing.T) {
	t.Parallel()
	k := &apitest.Keeper{Found: []keyturn.KeyAudit{{Target: "om", Keys: 5}}}
	f := withKeeper(t, k)
	if rec := f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/targets/om/audit-keys", ""); rec.Code != http.StatusAccepted || len(k.Asked) != 1 {
		t.Errorf("asking: %d %s", rec.Code, rec.Body)
	}
	if rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/key-audits", ""); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"keys":5`) {
		t.Errorf("listing: %d %s", rec.Code, rec.Body)
	}
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/key-audits?target=nobody", ""), http.StatusNotFound)
	k.Err = &keyturn.ConflictError{Reason: "target om has no KMIP server"}
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/targets/om/audit-keys", ""), http.StatusConflict)
}

func TestRetiring(t *testing.T) {
	t.Parallel()
	k := &apitest.Keeper{Retirements: []keyturn.Retirement{{Message: "no known snapshot needs it", Needs: []string{}, Unknowns: []string{}, Able: true}}}
	f := withKeeper(t, k)
	if rec := f.call(t, keyturn.RoleOperator, http.MethodGet, "/api/v1/keys/retirement?name=k1", ""); rec.Code != http.StatusOK || k.Done || k.Query.Name != "k1" {
		t.Errorf("report: %d %s, asked %+v", rec.Code, rec.Body, k.Query)
	}
	body := `{"name":"k1","target":"om","acceptUnknown":true,"reason":"tidy"}`
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/keys/retirement", body), http.StatusForbidden)
	if k.Done {
		t.Fatal("an operator had a key disabled")
	}
	if rec := f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/keys/retirement", body); rec.Code != http.StatusOK || !k.Done ||
		!k.Query.AcceptUnknown || k.Query.By == "" || k.Query.Reason != "tidy" || k.Query.Target != "om" {
		t.Errorf("retiring: %d %s, asked %+v", rec.Code, rec.Body, k.Query)
	}
	k.Err = &keyturn.ConflictError{Reason: "key k1 stays: it is in use"}
	wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/keys/retirement", body), http.StatusConflict)
	k.Err = errors.New("a secret inside")
	if rec := f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/keys/retirement", body); rec.Code != http.StatusInternalServerError || strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("retiring: %d %s", rec.Code, rec.Body)
	}
	wantProblem(t, newFixture(t, nil).call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/keys", ""), http.StatusNotImplemented)
}
