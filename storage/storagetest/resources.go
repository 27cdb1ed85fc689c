package storagetest

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func resourceTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"RemovalWaitsForRotations":         resourcesWait,
		"CreatesAndListsInOrder":           resourcesCreate,
		"OneKindOrOne":                     resourcesNarrow,
		"UpdateRaisesTheGeneration":        resourcesUpdate,
		"WrongGenerationIsConflict":        resourcesConflict,
		"AllOrNothing":                     resourcesAtomic,
		"RemovesWhatIsUnused":              resourcesRemove,
		"TargetThatAPolicyNamesStays":      resourcesTargetInUse,
		"PolicyNeedsItsTarget":             resourcesPolicyNeedsTarget,
		"PolicyStatusShowsTheNextSlot":     resourcesNextSlot,
		"PauseIsShownAndOutlivesAnUpdate":  resourcesPause,
		"ResumingSetsTheSlotAnew":          resourcesResume,
		"PausingAnUnknownPolicyIsNotFound": resourcesPauseUnknown,
		"RemovedPolicyLosesItsPause":       resourcesRemovedPause,
	}
}

func (f *fixture) resource(kind keyturn.ResourceKind, name string) keyturn.Resource {
	f.t.Helper()
	r, err := f.Resource(f.ctx(), kind, name)
	f.ok(err)
	return r
}

func resourcesNarrow(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.target("cm")
	f.policy("om", "cm", f.slot(time.Hour))
	all, err := f.Resources(f.ctx())
	f.ok(err)
	targets, err := f.ResourcesOf(f.ctx(), keyturn.KindTarget)
	f.ok(err)
	if !reflect.DeepEqual(targets, all[1:]) {
		t.Errorf("targets are %+v, want %+v", targets, all[1:])
	}
	if got := f.resource(keyturn.KindPolicy, "om"); !reflect.DeepEqual(got, all[0]) {
		t.Errorf("policy is %+v, want %+v", got, all[0])
	}
	none, err := f.ResourcesOf(f.ctx(), keyturn.KindWebhook)
	if err != nil || len(none) != 0 {
		t.Errorf("webhooks are %v, %v", none, err)
	}
	_, err = f.Resource(f.ctx(), keyturn.KindPolicy, "cm")
	f.is(err, keyturn.ErrNotFound)
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var va, vb any
	if err := json.Unmarshal(a, &va); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &vb); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(va, vb)
}

func resourcesCreate(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	created := f.clock.Now()
	hook := json.RawMessage(`{"url":"https://hooks.example.com/keyturn","events":["alert.*"],"nested":{"n":1.5}}`)
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindWebhook, Name: "security", Spec: hook},
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: encode(t, keyturn.Policy{Target: "om"})},
		{Kind: keyturn.KindTarget, Name: "om", Spec: encode(t, keyturn.Target{URL: "https://om.example.com"})},
		{Kind: keyturn.KindPolicy, Name: "monthly", Spec: encode(t, keyturn.Policy{Target: "om"})},
	}))
	all, err := f.Resources(f.ctx())
	f.ok(err)
	var names []string
	for _, r := range all {
		names = append(names, string(r.Kind)+"/"+r.Name)
		if r.Generation != 1 || !r.CreatedAt.Equal(created) || !r.UpdatedAt.Equal(created) || r.Status != (keyturn.ResourceStatus{}) {
			t.Errorf("resource is %+v", r)
		}
	}
	// Ordered by kind, then name.
	if want := []string{"Policy/monthly", "Policy/quarterly", "Target/om", "Webhook/security"}; !reflect.DeepEqual(names, want) {
		t.Errorf("resources are %v, want %v", names, want)
	}
	if got := all[3].Spec; !sameJSON(t, got, hook) {
		t.Errorf("spec is %s, want %s", got, hook)
	}
}

func resourcesUpdate(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	created := f.clock.Now()
	f.clock.Advance(time.Hour)
	spec := json.RawMessage(`{"url":"https://new.example.com"}`)
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: "om", Spec: spec, Expect: 1}}))
	got := f.resource(keyturn.KindTarget, "om")
	if got.Generation != 2 || !got.CreatedAt.Equal(created) || !got.UpdatedAt.Equal(f.clock.Now()) || !sameJSON(t, got.Spec, spec) {
		t.Errorf("resource is %+v (%s)", got, got.Spec)
	}
}

func resourcesConflict(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	spec := json.RawMessage(`{}`)
	for name, change := range map[string]keyturn.ResourceChange{
		"create what exists":     {Kind: keyturn.KindTarget, Name: "om", Spec: spec},
		"update an older one":    {Kind: keyturn.KindTarget, Name: "om", Spec: spec, Expect: 2},
		"update what is missing": {Kind: keyturn.KindTarget, Name: "new", Spec: spec, Expect: 1},
		"remove an older one":    {Kind: keyturn.KindTarget, Name: "om", Expect: 2},
		"remove what is missing": {Kind: keyturn.KindTarget, Name: "new", Expect: 1},
	} {
		if err := f.ApplyResources(f.ctx(), []keyturn.ResourceChange{change}); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			f.is(err, keyturn.ErrConflict)
		}
	}
	if got := f.resource(keyturn.KindTarget, "om"); got.Generation != 1 {
		t.Errorf("generation is %d after conflicts", got.Generation)
	}
}

func resourcesAtomic(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	err := f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindTarget, Name: "new", Spec: json.RawMessage(`{}`)},
		{Kind: keyturn.KindTarget, Name: "om", Spec: json.RawMessage(`{}`), Expect: 7},
	})
	f.is(err, keyturn.ErrConflict)
	all, err := f.Resources(f.ctx())
	f.ok(err)
	if len(all) != 1 {
		t.Errorf("a refused apply left %+v", all)
	}
}

func resourcesRemove(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	// A target and the only policy that names it may go together, in any order.
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindTarget, Name: "om", Expect: 1},
		{Kind: keyturn.KindPolicy, Name: "quarterly", Expect: 1},
	}))
	all, err := f.Resources(f.ctx())
	f.ok(err)
	if len(all) != 0 {
		t.Errorf("left %+v", all)
	}
	_, _, err = f.Request(f.ctx(), keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual})
	f.is(err, keyturn.ErrNotFound)
	if _, ok, err := f.NextDue(f.ctx()); err != nil || ok {
		t.Errorf("something is due after the policy went: %v, %v", ok, err)
	}
}

func resourcesTargetInUse(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.is(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: "om", Expect: 1}}), keyturn.ErrConflict)
	f.resource(keyturn.KindTarget, "om")
}

func resourcesPolicyNeedsTarget(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.is(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: encode(t, keyturn.Policy{Target: "nowhere"})},
	}), keyturn.ErrConflict)
}

func resourcesNextSlot(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	next := keyturn.Slot{Local: "2026-04-01T02:00:00", Timezone: "Europe/Berlin", At: f.clock.Now().Add(24 * time.Hour)}
	f.policy("quarterly", "om", &next)
	status := f.resource(keyturn.KindPolicy, "quarterly").Status
	if status.NextSlot != next.Name() || status.NextAt == nil || !status.NextAt.Equal(next.At) || status.Paused {
		t.Errorf("status is %+v", status)
	}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: encode(t, keyturn.Policy{Target: "om"}), Expect: 1},
	}))
	if status := f.resource(keyturn.KindPolicy, "quarterly").Status; status.NextSlot != "" || status.NextAt != nil {
		t.Errorf("status is %+v after an update without a slot", status)
	}
}

func resourcesPause(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ann", "audit", nil))
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: encode(t, keyturn.Policy{Target: "om"}), Expect: 1},
	}))
	status := f.resource(keyturn.KindPolicy, "quarterly").Status
	if !status.Paused || status.PausedBy != "ann" || status.PauseNote != "audit" {
		t.Errorf("status is %+v, want paused by ann", status)
	}
	f.ok(f.SetPaused(f.ctx(), "quarterly", false, "bob", "", nil))
	if status := f.resource(keyturn.KindPolicy, "quarterly").Status; status != (keyturn.ResourceStatus{}) {
		t.Errorf("status is %+v after resuming", status)
	}
}

func resourcesResume(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.target("om")
	f.policy("quarterly", "om", f.slot(time.Hour))
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ann", "", nil))
	f.clock.Advance(3 * time.Hour)
	next := f.slot(time.Hour)
	f.ok(f.SetPaused(f.ctx(), "quarterly", false, "ann", "", next))
	fired, err := f.FireDue(f.ctx(), 10, fires(noMore))
	f.ok(err)
	if len(fired) != 0 {
		t.Errorf("a slot that was missed while paused fired: %+v", fired)
	}
	if status := f.resource(keyturn.KindPolicy, "quarterly").Status; status.NextAt == nil || !status.NextAt.Equal(next.At) {
		t.Errorf("next slot is %v, want %v", status.NextAt, next.At)
	}
}

func resourcesPauseUnknown(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.is(f.SetPaused(f.ctx(), "nobody", true, "ann", "", nil), keyturn.ErrNotFound)
}

func resourcesRemovedPause(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ann", "", nil))
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{{Kind: keyturn.KindPolicy, Name: "quarterly", Expect: 1}}))
	f.policy("quarterly", "om", nil)
	if status := f.resource(keyturn.KindPolicy, "quarterly").Status; status.Paused {
		t.Error("a new policy is paused because an older one of its name was")
	}
}

// resourcesWait: what a rotation needs to end can't be removed before its end.
func resourcesWait(t *testing.T, newStore New) {
	f := newFixture(t, newStore)
	f.estate()
	rotation, tasks := f.running("quarterly", makeUnits("om", "p1", 1)...)
	policies := func() (removals []keyturn.ResourceChange) {
		all, err := f.Resources(f.ctx())
		f.ok(err)
		for _, r := range all {
			removals = append(removals, keyturn.ResourceChange{Kind: r.Kind, Name: r.Name, Expect: r.Generation})
		}
		return removals
	}
	f.is(f.ApplyResources(f.ctx(), policies()), keyturn.ErrConflict)
	f.ok(f.SetPaused(f.ctx(), "quarterly", true, "ops", "freeze", nil))
	for _, removal := range policies() {
		if removal.Name == "quarterly" {
			f.is(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{removal}), keyturn.ErrConflict)
		}
	}
	f.ok(f.SetPaused(f.ctx(), "quarterly", false, "ops", "", nil))
	f.turn(tasks[0].ID, "a", "b")
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	if got := f.rotation(rotation.ID); !got.State.Final() {
		t.Fatalf("rotation is %s", got.State)
	}
	f.ok(f.ApplyResources(f.ctx(), policies()))
}
