package api_test

import (
	"context"
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

const omTarget = `{"kind":"Target","name":"om","spec":{"system":"ops-manager","url":"https://om.example.com","credentials":{"publicKey":"env:A","privateKey":"env:B"}}}`

func policyJSON(name, target, cron string) string {
	return `{"kind":"Policy","name":"` + name + `","spec":{"target":"` + target + `","schedule":{"cron":"` + cron + `","timezone":"Europe/Berlin"}}}`
}

func applyBody(options string, resources ...string) string {
	return `{` + options + `"resources":[` + strings.Join(resources, ",") + `]}`
}

type applied struct {
	DryRun  bool
	Changes []struct {
		Kind, Name, Action string
		Lines              []string
	}
}

func (a applied) actions() string {
	var all []string
	for _, c := range a.Changes {
		all = append(all, c.Action+" "+c.Name)
	}
	return strings.Join(all, ", ")
}

func (f *fixture) apply(t *testing.T, body string) applied {
	t.Helper()
	rec := f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/apply", body)
	wantStatus(t, rec, http.StatusOK)
	return decode[applied](t, rec)
}

// slotAt makes every schedule's first slot that much later than the time.
func slotAt(later time.Duration) func(keyturn.Schedule, time.Time) (*keyturn.Slot, error) {
	return func(s keyturn.Schedule, now time.Time) (*keyturn.Slot, error) {
		at := now.Add(later)
		return &keyturn.Slot{Local: at.Format("2006-01-02T15:04:05"), Timezone: s.Timezone, At: at}, nil
	}
}

func (f *fixture) policy(t *testing.T, name string) keyturn.Resource {
	t.Helper()
	r, err := f.store.Resource(t.Context(), keyturn.KindPolicy, name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestApplyCreatesUpdatesAndPrunes(t *testing.T) {
	t.Parallel()
	changed := 0
	f := newFixture(t, func(c *api.Config) {
		c.OnChange = func() { changed++ }
		c.FirstSlot = slotAt(time.Hour)
	})
	got := f.apply(t, applyBody("", omTarget, policyJSON("monthly", "om", "0 3 1 * *"))).actions()
	if want := "unchanged om, create monthly"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if next := f.policy(t, "monthly").Status.NextSlot; next != "2026-03-28T13:00:00 Europe/Berlin" {
		t.Errorf("the new policy waits for %q", next)
	}
	got = f.apply(t, applyBody(`"prune":true,`, omTarget, policyJSON("monthly", "om", "0 4 1 * *"))).actions()
	if want := "unchanged om, update monthly, delete quarterly"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got = f.apply(t, applyBody(`"prune":true,`, omTarget, policyJSON("monthly", "om", "0 4 1 * *"))).actions()
	if want := "unchanged om, unchanged monthly"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if changed != 2 {
		t.Errorf("OnChange was called %d times, want 2", changed)
	}
}

func TestApplyDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.OnChange = func() { t.Error("OnChange was called") } })
	f.store.Fail = func(method string) error {
		if method == "ApplyResources" {
			t.Error("the store was changed")
		}
		return nil
	}
	got := f.apply(t, applyBody(`"dryRun":true,`, policyJSON("quarterly", "om", "0 5 1 * *")))
	if !got.DryRun || got.actions() != "update quarterly" || !strings.Contains(strings.Join(got.Changes[0].Lines, "\n"), "+ ") {
		t.Errorf("got %+v", got)
	}
}

func TestApplyKeepsTheSlotOfAScheduleThatStays(t *testing.T) {
	t.Parallel()
	later := time.Hour
	f := newFixture(t, func(c *api.Config) {
		c.FirstSlot = func(s keyturn.Schedule, now time.Time) (*keyturn.Slot, error) { return slotAt(later)(s, now) }
	})
	f.apply(t, applyBody("", policyJSON("monthly", "om", "0 3 1 * *")))
	before := f.policy(t, "monthly").Status.NextSlot
	later = 9 * time.Hour
	change := strings.Replace(policyJSON("monthly", "om", "0 3 1 * *"), `"target"`, `"uncertain":"park","target"`, 1)
	if got := f.apply(t, applyBody("", change)).actions(); got != "update monthly" {
		t.Fatalf("got %s", got)
	}
	if got := f.policy(t, "monthly").Status.NextSlot; got != before {
		t.Errorf("the slot %q became %q, though the schedule is the same", before, got)
	}
	f.apply(t, applyBody("", policyJSON("monthly", "om", "0 6 1 * *")))
	if got := f.policy(t, "monthly").Status.NextSlot; got == before {
		t.Errorf("the slot is still %q, though the schedule changed", got)
	}
}

func TestApplyComparesAnewWhenSomebodyElseApplied(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	var once bool
	f.store.Fail = func(method string) error {
		if method == "ApplyResources" && !once {
			once = true
			f.store.Fail = nil
			err := f.store.ApplyResources(t.Context(), []keyturn.ResourceChange{{
				Kind: keyturn.KindPolicy, Name: "monthly", Spec: json.RawMessage(`{"target":"om"}`),
			}})
			if err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	got := f.apply(t, applyBody("", policyJSON("monthly", "om", "0 3 1 * *"))).actions()
	if got != "update monthly" || f.policy(t, "monthly").Generation != 2 {
		t.Errorf("got %s at generation %d, want an update of what the other one made", got, f.policy(t, "monthly").Generation)
	}
}

func TestApplyGivesUpOnEndlessConflicts(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.store.Fail = func(method string) error {
		if method == "ApplyResources" {
			return keyturn.ErrConflict
		}
		return nil
	}
	wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/apply", applyBody("", policyJSON("x", "om", "0 3 1 * *"))), http.StatusConflict)
}

func TestApplyRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		words      []string
	}{
		{"nothing", `{}`, []string{"nothing to apply"}},
		{"unknown target", applyBody("", policyJSON("x", "omm", "0 3 1 * *")), []string{"resources[0]", "omm", "om"}},
		{"schedule", applyBody("", policyJSON("x", "om", "0 0 30 2 *")), []string{"never fires"}},
		{"pruned target", applyBody(`"prune":true,`, policyJSON("x", "om", "0 3 1 * *")), []string{"pruned"}},
		{"typo", `{"documents":[{"name":"a.yaml","content":"apiVersion: keyturn/v1\nkind: Polcy\nname: x\nspec: {}\n"}]}`, []string{"a.yaml:2", "Polcy"}},
		{"twice", applyBody("", omTarget, omTarget), []string{"twice"}},
		{"unknown field", `{"documnets":[]}`, []string{"documnets"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(c *api.Config) {
				c.CheckSchedule = func(s keyturn.Schedule) error {
					if s.Cron == "0 0 30 2 *" {
						return errors.New("never fires")
					}
					return nil
				}
			})
			p := wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/apply", test.body), http.StatusUnprocessableEntity)
			for _, word := range test.words {
				if !strings.Contains(p.Detail, word) {
					t.Errorf("the detail %q does not say %q", p.Detail, word)
				}
			}
			if all, _ := f.store.Resources(t.Context()); len(all) != 2 {
				t.Errorf("%d resources, want the 2 of before", len(all))
			}
		})
	}
}

func TestApplyNamesEveryMistakeWithItsPlace(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	body := `{"documents":[{"name":"a.yaml","content":"kind: Policy"},{"name":"b.yaml","content":"kind: Target"}]}`
	p := wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/apply", body), http.StatusUnprocessableEntity)
	files := map[string]bool{}
	for _, e := range p.Errors {
		file, _, _ := strings.Cut(e.Location, ":")
		files[file] = true
		if e.Message == "" {
			t.Errorf("an error without a message at %s", e.Location)
		}
	}
	if !files["a.yaml"] || !files["b.yaml"] {
		t.Errorf("errors at %v, want both files", p.Errors)
	}
}

func TestPlanAsksThePlannerOnlyForPoliciesThatExist(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) {
		c.Planner = plannerFunc(func(_ context.Context, policy string, only keyturn.Selection) ([]keyturn.Unit, error) {
			switch {
			case len(only.Projects) == 0:
				return nil, &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "network", Err: errors.New("target om does not answer")}
			default:
				return []keyturn.Unit{{ID: "a", Rotatable: true}, {ID: "b", Reason: "backup is off"}}, nil
			}
		})
	})
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/nosuch/plan", ""), 404)
	p := wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/quarterly/plan", ""), 502)
	if !strings.Contains(p.Detail, "target om does not answer") {
		t.Errorf("the detail is %q", p.Detail)
	}
	rec := f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/quarterly/plan", `{"only":{"projects":["p"]}}`)
	wantStatus(t, rec, 200)
	if plan := decode[api.Plan](t, rec); plan.Counts != (api.PlanCounts{Total: 2, Rotatable: 1, Skipped: 1}) {
		t.Errorf("counts %+v", plan.Counts)
	}
}

type plannerFunc func(ctx context.Context, policy string, only keyturn.Selection) ([]keyturn.Unit, error)

func (f plannerFunc) Plan(ctx context.Context, policy string, only keyturn.Selection) ([]keyturn.Unit, error) {
	return f(ctx, policy, only)
}

func TestPauseAndResumeSayByWhomAndSetTheNextSlotAnew(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.FirstSlot = slotAt(time.Hour) })
	rec := f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/quarterly/pause", `{"note":"freeze"}`)
	wantStatus(t, rec, 200)
	status := decode[keyturn.Resource](t, rec).Status
	if !status.Paused || status.PausedBy != "token:operator" || status.PauseNote != "freeze" {
		t.Errorf("status %+v", status)
	}
	rec = f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/quarterly/resume", "")
	wantStatus(t, rec, 200)
	status = decode[keyturn.Resource](t, rec).Status
	if status.Paused || status.NextAt == nil || !status.NextAt.Equal(apitest.Epoch().Add(time.Hour)) {
		t.Errorf("status %+v", status)
	}
	wantStatus(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/quarterly/pause", ""), 200)
	for _, verb := range []string{"pause", "resume"} {
		wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/policies/nosuch/"+verb, ""), 404)
	}
}

func TestResourcesAreListedTargetsFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.store.AddResource(keyturn.KindWebhook, "a", `{"url":"https://x"}`)
	f.store.AddResource(keyturn.KindTarget, "another", `{}`)
	all := decode[page[keyturn.Resource]](t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/resources", ""))
	var names []string
	for _, r := range all.Items {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "another om quarterly a" {
		t.Errorf("order %s", got)
	}
	one := decode[keyturn.Resource](t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/policies/quarterly", ""))
	if one.Name != "quarterly" || one.Kind != keyturn.KindPolicy {
		t.Errorf("got %+v", one)
	}
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/targets/quarterly", ""), 404)
}
