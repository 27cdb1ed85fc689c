package api_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
)

// fixedDoctor finds the same each time.
type fixedDoctor struct {
	found keyturn.Diagnosis
	set   []keyturn.Threshold
	asked []string
}

func (d *fixedDoctor) Diagnose(_ context.Context, target string) (keyturn.Diagnosis, error) {
	d.asked = append(d.asked, target)
	if target == "nobody" {
		return keyturn.Diagnosis{}, fmt.Errorf("target nobody: %w", keyturn.ErrNotFound)
	}
	return d.found, nil
}

func (d *fixedDoctor) FixThresholds(_ context.Context, target string) ([]keyturn.Threshold, error) {
	if d.set == nil {
		return nil, keyturn.Conflictf("it has no alerts of its own about old keys")
	}
	return d.set, nil
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	found := keyturn.Diagnosis{
		Healthy: true, Checks: []keyturn.Check{{Name: "database", State: keyturn.CheckOK, Message: "it answers"}},
		Units:      []keyturn.Finding{{Unit: keyturn.Unit{ID: "om.p.c", Name: "rs0", Rotatable: true}, Way: "automation", Policies: []string{"quarterly"}}},
		Thresholds: []keyturn.Threshold{},
	}
	d := &fixedDoctor{found: found}
	f := newFixture(t, func(cfg *api.Config) { cfg.Doctor = d })
	rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/doctor?target=om", "")
	wantStatus(t, rec, http.StatusOK)
	got := decode[struct {
		Healthy bool
		Units   []struct {
			ID, Way   string
			Rotatable bool
		}
	}](t, rec)
	if !got.Healthy || len(got.Units) != 1 || got.Units[0].ID != "om.p.c" || got.Units[0].Way != "automation" || !got.Units[0].Rotatable {
		t.Fatalf("answer is %s, want a unit's fields and its way", rec.Body)
	}
	wantStatus(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/doctor", ""), http.StatusOK)
	if len(d.asked) != 2 || d.asked[0] != "om" || d.asked[1] != "" {
		t.Errorf("asked for %q", d.asked)
	}
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/doctor?target=nobody", ""), http.StatusNotFound)
	wantProblem(t, newFixture(t, nil).call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/doctor", ""), http.StatusNotImplemented)
}

func TestFixThresholds(t *testing.T) {
	t.Parallel()
	d := &fixedDoctor{}
	f := newFixture(t, func(cfg *api.Config) { cfg.Doctor = d })
	const path = "/api/v1/targets/om/thresholds"
	wantProblem(t, f.call(t, keyturn.RoleViewer, http.MethodPost, path, ""), http.StatusForbidden)
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, path, ""), http.StatusConflict)
	d.set = []keyturn.Threshold{{ID: "1", Target: "om", Days: 90}}
	rec := f.call(t, keyturn.RoleOperator, http.MethodPost, path, "")
	wantStatus(t, rec, http.StatusOK)
	if got := decode[api.List[keyturn.Threshold]](t, rec); len(got.Items) != 1 || got.Items[0].Days != 90 {
		t.Errorf("answer is %s", rec.Body)
	}
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/targets/nobody/thresholds", ""), http.StatusNotFound)
	entries, _, err := f.store.Audit(t.Context(), keyturn.AuditFilter{})
	if err != nil || len(entries) != 2 || entries[0].Action != "target.thresholds" || entries[0].Subject != "om" {
		t.Errorf("audit is %+v (%v)", entries, err)
	}
}

// busyDoctor examines until it is released.
type busyDoctor struct {
	fixedDoctor
	running atomic.Int32
	release chan struct{}
}

func (d *busyDoctor) Diagnose(context.Context, string) (keyturn.Diagnosis, error) {
	d.running.Add(1)
	defer d.running.Add(-1)
	<-d.release
	return keyturn.Diagnosis{Checks: []keyturn.Check{}, Units: []keyturn.Finding{}, Thresholds: []keyturn.Threshold{}}, nil
}

func TestDoctorExaminesAFewAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &busyDoctor{release: make(chan struct{})}
		f := newFixture(t, func(cfg *api.Config) { cfg.Doctor = d })
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				wantStatus(t, f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/doctor?target=om", ""), http.StatusOK)
			})
		}
		synctest.Wait()
		if n := d.running.Load(); n != 2 {
			t.Errorf("%d examinations run at once, want 2", n)
		}
		close(d.release)
		wait.Wait()
	})
}
