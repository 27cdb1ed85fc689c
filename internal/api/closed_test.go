package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
)

func TestClosedTimesTellBlackoutsFromWindows(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.store.AddResource(keyturn.KindPolicy, "windowed",
		`{"target":"om","schedule":{"cron":"0 2 * * *","windows":[{"days":["sat"],"from":"22:00","to":"05:00"}],"blackouts":[{"date":"2026-05-08"}]}}`)
	rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/closed-times?from=2026-05-02T00:00:00Z&to=2026-05-11T00:00:00Z", "")
	wantStatus(t, rec, http.StatusOK)
	var got []string
	for _, c := range decode[api.ClosedBody](t, rec).Items {
		got = append(got, fmt.Sprint(c.Policy, " ", c.From.Format("02T15"), "-", c.To.Format("02T15"), " ", c.Blackout))
	}
	want := "windowed 02T00-02T22 false|windowed 03T05-08T00 false|windowed 08T00-09T00 true|windowed 09T00-09T22 false|windowed 10T05-11T00 false"
	if strings.Join(got, "|") != want {
		t.Errorf("closed times are\n%s, want\n%s", strings.Join(got, "\n"), want)
	}
}

func TestClosedTimesAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, query := range []string{
		"from=2026-05-02T00:00:00Z&to=2028-05-11T00:00:00Z", "from=2026-05-02T00:00:00Z&to=2026-05-02T00:00:00Z", "from=2026-05-02T00:00:00Z", "",
	} {
		wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/closed-times?"+query, ""), http.StatusUnprocessableEntity)
	}
}

func TestRotationsBetweenTimes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	r, _ := addParked(f, keyturn.RotationRunning) // requested 2026-03-28T12:00:00Z
	for query, want := range map[string]int{
		"from=2026-03-28T12:00:00Z": 1, "from=2026-03-28T12:00:01Z": 0, "to=2026-03-28T12:00:00Z": 0, "to=2026-04-01T00:00:00Z": 1, "": 1,
	} {
		rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/rotations?"+query, "")
		wantStatus(t, rec, http.StatusOK)
		if got := decode[api.List[keyturn.Rotation]](t, rec).Items; len(got) != want || want > 0 && got[0].ID != r.ID {
			t.Errorf("%s: %d rotations, want %d", query, len(got), want)
		}
	}
}
