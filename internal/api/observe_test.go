package api_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/keyturn/keyturn"
)

func TestObserve(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/targets/nobody/observe", ""), http.StatusNotFound)
	f.store.AddResource(keyturn.KindTarget, "om", `{}`)
	if rec := f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/targets/om/observe", ""); rec.Code != http.StatusAccepted {
		t.Fatalf("answer %d %s", rec.Code, rec.Body)
	}
	if got := f.store.Asked(); !slices.Equal(got, []string{"om"}) {
		t.Errorf("asked for a look at %v, want om", got)
	}
}
