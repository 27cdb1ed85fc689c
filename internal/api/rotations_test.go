package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

type wakerFunc func(ctx context.Context, id keyturn.ID) error

func (f wakerFunc) PublishRotation(ctx context.Context, id keyturn.ID) error { return f(ctx, id) }

func TestRotationIsRequestedOncePerID(t *testing.T) {
	t.Parallel()
	var woken []keyturn.ID
	f := newFixture(t, func(c *api.Config) {
		c.Waker = wakerFunc(func(_ context.Context, id keyturn.ID) error {
			woken = append(woken, id)
			return errors.New("no broker") // must not matter
		})
	})
	const body = `{"policy":"quarterly","reason":"leak","id":"INC-1","only":{"projects":["payments"]}}`
	first := f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/rotations", body)
	wantStatus(t, first, http.StatusCreated)
	r := decode[keyturn.Rotation](t, first)
	if r.RequestedBy != "token:operator" || r.Trigger != keyturn.TriggerManual || r.Reason != "leak" || r.Only.Projects[0] != "payments" {
		t.Errorf("the rotation is %+v", r)
	}
	if got, want := first.Header().Get("Location"), "/api/v1/rotations/"+r.ID.String(); got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	second := f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/rotations", body)
	wantStatus(t, second, http.StatusOK)
	if again := decode[keyturn.Rotation](t, second); again.ID != r.ID {
		t.Errorf("the same id made %s and %s", r.ID, again.ID)
	}
	if len(woken) == 0 || woken[0] != r.ID {
		t.Errorf("planners woken for %v, want %s", woken, r.ID)
	}
}

func TestRotationsWithoutIDAreDifferent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	first := decode[keyturn.Rotation](t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/rotations", `{"policy":"quarterly"}`))
	second := decode[keyturn.Rotation](t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/rotations", `{"policy":"quarterly"}`))
	if first.ID == second.ID || first.ID.IsZero() {
		t.Errorf("ids %s and %s", first.ID, second.ID)
	}
}

func TestRotationKeepsTheKeysThatWereNamed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	r := decode[keyturn.Rotation](t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/rotations",
		`{"policy":"quarterly","keys":{"a.p.aws":"arn:1"},"only":{"projects":["p"]}}`))
	if r.Only.Keys["a.p.aws"] != "arn:1" || r.Only.Projects[0] != "p" {
		t.Errorf("the rotation is %+v", r)
	}
}

func TestRotationRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		body   string
		status int
		detail string
	}{
		{`{"policy":"nosuch"}`, 404, `there is no policy "nosuch"`},
		{`{"policy":"monthly","id":"taken"}`, 409, `"taken"`},
		{`{"policy":""}`, 422, "body.policy"},
		{`{}`, 422, "policy"},
		{`{"policy":"quarterly","resaon":"typo"}`, 422, "body.resaon"},
		{`{"policy":"quarterly","only":{"projects":["[a"]}}`, 422, "glob"},
		{`{"policy":"quarterly","only":{"components":["mongos"]}}`, 422, "mongos"},
		{`{"policy":"quarterly","keys":{"aws":"arn:1"}}`, 422, `"aws" is not a unit's id`},
		{`{"policy":"quarterly","keys":{"a.p.aws":"x"},"only":{"keys":{"a.p.aws":"y"}}}`, 422, "two keys are named for unit a.p.aws"},
		{`{"policy":7}`, 422, "body.policy"},
		{`not json`, 400, ""},
	}
	for _, test := range tests {
		t.Run(test.body, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			f.store.AddResource(keyturn.KindPolicy, "monthly", `{"target":"om"}`)
			wantStatus(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/rotations", `{"policy":"quarterly","id":"taken"}`), 201)
			p := wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/rotations", test.body), test.status)
			if !strings.Contains(p.Detail, test.detail) {
				t.Errorf("the detail %q does not say %q", p.Detail, test.detail)
			}
		})
	}
}

// addBigRotation adds a rotation of n tasks.
func addBigRotation(f *fixture, n int) keyturn.Rotation {
	r := keyturn.Rotation{
		ID: keyturn.NewID(apitest.Epoch()), Policy: "quarterly", Target: "om", Trigger: keyturn.TriggerManual,
		State: keyturn.RotationRunning, Counts: keyturn.Counts{Total: n, Pending: n}, RequestedAt: apitest.Epoch(),
	}
	tasks := make([]keyturn.Task, n)
	for i := range tasks {
		tasks[i] = keyturn.Task{ID: keyturn.NewID(apitest.Epoch()), Rotation: r.ID, Unit: fmt.Sprintf("om.p.%d", i), State: keyturn.TaskPending}
	}
	f.store.AddRotation(r, tasks...)
	return r
}

func TestRotationComesWithAllItsTasks(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	r := addBigRotation(f, 2500)
	path := "/api/v1/rotations/" + r.ID.String()
	if got := decode[keyturn.Rotation](t, f.call(t, keyturn.RoleViewer, http.MethodGet, path, "")); len(got.Tasks) != 2500 {
		t.Errorf("%d tasks, want 2500", len(got.Tasks))
	}
	if got := decode[keyturn.Rotation](t, f.call(t, keyturn.RoleViewer, http.MethodGet, path+"?tasks=false", "")); got.Tasks != nil {
		t.Errorf("%d tasks, want none", len(got.Tasks))
	}
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/rotations/nonsense", ""), 404)
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/rotations/"+keyturn.NewID(apitest.Epoch()).String(), ""), 404)
}

type page[T any] struct {
	Items []T
	Next  string
}

func TestListingsArePaged(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	r := addBigRotation(f, 25)
	seen, after, pages := map[keyturn.ID]bool{}, "", 0
	for {
		rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/rotations/"+r.ID.String()+"/tasks?limit=10&after="+after, "")
		wantStatus(t, rec, 200)
		p := decode[page[keyturn.Task]](t, rec)
		pages++
		for _, task := range p.Items {
			seen[task.ID] = true
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if len(seen) != 25 || pages != 3 {
		t.Errorf("%d tasks on %d pages, want 25 on 3", len(seen), pages)
	}
	for _, query := range []string{"after=!", "after=_w", "limit=0", "limit=1001", "limit=x", "nosuch=1"} {
		wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/rotations?"+query, ""), 422)
	}
}

func TestEmptyListingsAreEmptyArrays(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, path := range []string{"/units", "/history", "/rotations", "/webhooks"} {
		rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1"+path, "")
		wantStatus(t, rec, 200)
		if got, want := strings.TrimSpace(rec.Body.String()), `{"items":[],"next":""}`; got != want {
			t.Errorf("%s answers %s, want %s", path, got, want)
		}
	}
}
