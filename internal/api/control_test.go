package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

type keysFunc func(ctx context.Context, unit string) (string, error)

func (f keysFunc) KeyInUse(ctx context.Context, unit string) (string, error) { return f(ctx, unit) }

// addParked adds a rotation with one parked task.
func addParked(f *fixture, state keyturn.RotationState) (keyturn.Rotation, keyturn.Task) {
	r := keyturn.Rotation{
		ID: keyturn.NewID(apitest.Epoch()), Policy: "quarterly", Target: "om", Trigger: keyturn.TriggerManual,
		State: state, Counts: keyturn.Counts{Total: 1, Parked: 1}, RequestedAt: apitest.Epoch(),
	}
	task := keyturn.Task{
		ID: keyturn.NewID(apitest.Epoch()), Rotation: r.ID, Unit: "om.p.1", State: keyturn.TaskParked, Reason: "unknown", KeyBefore: "a",
	}
	f.store.AddRotation(r, task)
	return r, task
}

func TestSuccessOfAParkedTaskAsksTheTarget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		key        string // the target's answer
		err        error
		status     int
		says       string
	}{
		{"turned", `{"as":"succeeded","reason":"seen"}`, "b", nil, 200, ""},
		{"still the key before", `{"as":"succeeded","reason":"seen"}`, "a", nil, 409, "still shows key a"},
		{"target is away", `{"as":"succeeded","reason":"seen"}`, "", errors.New("connection refused"), 502, "connection refused"},
		{"key given, target is away", `{"as":"succeeded","reason":"seen","key":"c"}`, "", errors.New("connection refused"), 200, ""},
		{"failed", `{"as":"failed","reason":"seen"}`, "", errors.New("not asked"), 200, ""},
		{"key of a failure", `{"as":"failed","reason":"seen","key":"c"}`, "", nil, 422, "key"},
		{"no reason", `{"as":"failed","reason":""}`, "", nil, 422, "reason"},
		{"no reason at all", `{"as":"failed"}`, "", nil, 422, "reason"},
		{"no such decision", `{"as":"skipped","reason":"x"}`, "", nil, 422, "as"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(c *api.Config) {
				c.Keys = keysFunc(func(_ context.Context, unit string) (string, error) {
					if unit != "om.p.1" {
						t.Errorf("asked for %s", unit)
					}
					return test.key, test.err
				})
			})
			_, task := addParked(f, keyturn.RotationPartial)
			path := "/api/v1/tasks/" + task.ID.String()
			rec := f.call(t, keyturn.RoleOperator, http.MethodPost, path+"/resolve", test.body)
			if test.status != http.StatusOK {
				if p := wantProblem(t, rec, test.status); !strings.Contains(p.Detail, test.says) {
					t.Errorf("the detail %q does not say %q", p.Detail, test.says)
				}
				if got := decode[keyturn.Task](t, f.call(t, keyturn.RoleViewer, http.MethodGet, path, "")); got.State != keyturn.TaskParked {
					t.Errorf("the task is %+v", got)
				}
				return
			}
			wantStatus(t, rec, http.StatusOK)
			got := decode[api.ResolvedTask](t, rec)
			if got.Task.Resolution != keyturn.ResolutionByPerson || got.Task.Reason != "resolved by operator: seen" {
				t.Errorf("the task is %+v", got.Task)
			}
			wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, path+"/resolve", test.body), http.StatusConflict)
		})
	}
}

func TestRetryOfAParkedTaskWakesAPlanner(t *testing.T) {
	t.Parallel()
	var woken []keyturn.ID
	f := newFixture(t, func(c *api.Config) {
		c.Waker = wakerFunc(func(_ context.Context, id keyturn.ID) error { woken = append(woken, id); return nil })
	})
	_, task := addParked(f, keyturn.RotationPartial)
	rec := f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/tasks/"+task.ID.String()+"/resolve", `{"as":"retry","reason":"not turned"}`)
	wantStatus(t, rec, http.StatusOK)
	if got := decode[api.ResolvedTask](t, rec); got.Retry == "" || len(woken) != 1 || woken[0].String() != got.Retry {
		t.Errorf("retry %q, woken %v", got.Retry, woken)
	}
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/tasks/nonsense", ""), 404)
}

func TestResumeAnswers201OnceAndThen200(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	r, _ := addParked(f, keyturn.RotationPartial)
	path := "/api/v1/rotations/" + r.ID.String() + "/resume"
	first := f.call(t, keyturn.RoleOperator, http.MethodPost, path, "")
	wantStatus(t, first, http.StatusCreated)
	retry := decode[api.ResumedRotation](t, first)
	if got, want := first.Header().Get("Location"), "/api/v1/rotations/"+retry.ID.String(); got != want || retry.LeftOut != 1 {
		t.Errorf("Location %q, want %q; %d left out", got, want, retry.LeftOut)
	}
	second := f.call(t, keyturn.RoleOperator, http.MethodPost, path, `{"reason":"again"}`)
	wantStatus(t, second, http.StatusOK)
	if again := decode[api.ResumedRotation](t, second); again.ID != retry.ID {
		t.Errorf("two retries: %s and %s", retry.ID, again.ID)
	}
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/rotations/"+retry.ID.String()+"/resume", ""), http.StatusConflict)
}

func TestWhoChangedWhatIsListed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	r, task := addParked(f, keyturn.RotationRunning)
	wantStatus(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/tasks/"+task.ID.String()+"/resolve", `{"as":"failed","reason":"looked"}`), 200)
	wantStatus(t, f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/rotations/"+r.ID.String()+"/cancel", `{"reason":"enough"}`), 200)
	got := decode[page[keyturn.AuditEntry]](t, f.call(t, keyturn.RoleOperator, http.MethodGet, "/api/v1/audit", ""))
	if len(got.Items) != 2 {
		t.Fatalf("audit is %+v", got.Items)
	}
	cancel, resolve := got.Items[0], got.Items[1]
	if cancel.Actor != "admin" || cancel.Action != "rotation.cancel" || cancel.Subject != r.ID.String() || cancel.Reason != "enough" || cancel.Remote != "192.0.2.1" {
		t.Errorf("entry is %+v", cancel)
	}
	if resolve.Actor != "operator" || resolve.Action != "task.resolve" || resolve.Reason != "looked" || !strings.Contains(string(resolve.Detail), `"failed"`) {
		t.Errorf("entry is %+v", resolve)
	}
}

func TestTaskShowsItsAttemptsWithoutSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	_, task := addParked(f, keyturn.RotationRunning)
	rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/tasks/"+task.ID.String(), "")
	wantStatus(t, rec, http.StatusOK)
	if d := decode[keyturn.TaskDetail](t, rec); d.Intent != nil || d.Log == nil || d.State != keyturn.TaskParked {
		t.Errorf("task without an intent is %s", rec.Body)
	}
	f.store.SetDetail(task.ID, keyturn.TaskIntent{
		Before: "a", Data: []byte(`{"at": 17, "kms": [{"clientSecret": "hunter2"}], "apiToken": {"x": "hunter2"}, "key": "k-2"}`),
	}, keyturn.TaskLine{N: 1, What: keyturn.TaskWaits, Text: "outcome unknown"})
	rec = f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/tasks/"+task.ID.String(), "")
	wantStatus(t, rec, http.StatusOK)
	d := decode[keyturn.TaskDetail](t, rec)
	if d.Intent == nil || d.Intent.Before != "a" || len(d.Log) != 1 || d.Log[0].Text != "outcome unknown" {
		t.Errorf("task is %s", rec.Body)
	}
	data := string(d.Intent.Data)
	if strings.Contains(data, "hunter2") || !strings.Contains(data, `"at":17`) || !strings.Contains(data, `"key":"k-2"`) {
		t.Errorf("intent's data are %s, want them without what is secret", data)
	}
}
