package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

func anAlert(state keyturn.AlertState) keyturn.Alert {
	return keyturn.Alert{
		ID: keyturn.NewID(apitest.Epoch()), Kind: keyturn.AlertKeyAge, Severity: keyturn.SeverityWarning, State: state,
		Subject: "om.p1.c1", Message: "old", Since: apitest.Epoch(), Policy: "quarterly", Target: "om",
	}
}

func TestAlertsAreListedAndShownWithTheirHistory(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	firing, over := anAlert(keyturn.AlertFiring), anAlert(keyturn.AlertResolved)
	f.store.AddAlert(firing, keyturn.AlertChange{At: apitest.Epoch(), State: keyturn.AlertFiring, Severity: keyturn.SeverityWarning})
	f.store.AddAlert(over)
	list := decode[api.List[keyturn.Alert]](t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/alerts?state=firing&kind=key.age", ""))
	if len(list.Items) != 1 || list.Items[0].ID != firing.ID {
		t.Errorf("listed %+v", list.Items)
	}
	one := decode[api.AlertWithHistory](t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/alerts/"+firing.ID.String(), ""))
	if one.ID != firing.ID || len(one.History) != 1 || one.History[0].State != keyturn.AlertFiring {
		t.Errorf("got %+v", one)
	}
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/alerts/none", ""), http.StatusNotFound)
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/alerts?state=odd", ""), http.StatusUnprocessableEntity)
}

func TestAlertsAreAcknowledged(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	firing, over := anAlert(keyturn.AlertFiring), anAlert(keyturn.AlertResolved)
	f.store.AddAlert(firing)
	f.store.AddAlert(over)
	path := "/api/v1/alerts/" + firing.ID.String() + "/ack"
	a := decode[keyturn.Alert](t, f.call(t, keyturn.RoleOperator, http.MethodPost, path, `{"for":"4h","note":"on it"}`))
	if a.State != keyturn.AlertAcknowledged || a.AckedUntil == nil || !a.AckedUntil.Equal(apitest.Epoch().Add(4*time.Hour)) || a.AckNote != "on it" || a.AckedBy == "" {
		t.Errorf("got %+v", a)
	}
	a = decode[keyturn.Alert](t, f.call(t, keyturn.RoleOperator, http.MethodPost, path, ""))
	if a.AckedUntil != nil {
		t.Errorf("without an end: got %+v", a)
	}
	for body, want := range map[string]int{
		`{"until":"2020-01-01T00:00:00Z"}`:            http.StatusUnprocessableEntity,
		`{"until":"2030-01-01T00:00:00Z","for":"4h"}`: http.StatusUnprocessableEntity,
		`{"until":"tomorrow"}`:                        http.StatusUnprocessableEntity,
	} {
		wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, path, body), want)
	}
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/alerts/"+over.ID.String()+"/ack", ""), http.StatusConflict)
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/alerts/"+keyturn.NewID(apitest.Epoch()).String()+"/ack", ""), http.StatusNotFound)
}
