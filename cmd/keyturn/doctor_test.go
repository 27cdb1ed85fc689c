package main

import (
	"context"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

// fixedDoctor finds the same each time.
type fixedDoctor struct {
	found keyturn.Diagnosis
	fixed []string
}

func (d *fixedDoctor) Diagnose(_ context.Context, target string) (keyturn.Diagnosis, error) {
	if target != "" && target != "om-prod" {
		return keyturn.Diagnosis{}, keyturn.ErrNotFound
	}
	return d.found, nil
}

func (d *fixedDoctor) FixThresholds(_ context.Context, target string) ([]keyturn.Threshold, error) {
	d.fixed = append(d.fixed, target)
	return []keyturn.Threshold{{ID: "1", ProjectName: "orders", Event: "AWS_ENCRYPTION_KEY_NEEDS_ROTATION", Days: 90}}, nil
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	ready := keyturn.Finding{
		Unit: keyturn.Unit{ID: "om-prod.p1.c1", Name: "rs0", ProjectName: "orders", ClusterName: "rs0", Component: keyturn.ComponentReplicaSet, FCV: "6.0", Rotatable: true},
		Way:  "automation", Policies: []string{"quarterly"},
	}
	off := ready
	off.Name, off.Rotatable, off.Reason, off.Fix, off.Way = "rs1", false, "backup is off", "start its backup", "backup-endpoint"
	d := &fixedDoctor{found: keyturn.Diagnosis{
		Healthy: true, Units: []keyturn.Finding{ready},
		Checks: []keyturn.Check{{Name: "database", State: keyturn.CheckOK, Message: "it answers"}},
	}}
	c := newCLI(t)
	c.api = api.New(api.Config{Store: c.store, Version: "v9.9.9", Now: apitest.Epoch, Doctor: d})

	c.run(t, "doctor").want(t, exitDone).says(t, "UNIT", "rs0", "automation", "quarterly", "database", "it answers")
	got := fromJSON[keyturn.Diagnosis](t, c.run(t, "doctor", "om-prod", "-o", "json").want(t, exitDone))
	if !got.Healthy || len(got.Units) != 1 || got.Units[0].ID != "om-prod.p1.c1" || got.Units[0].Way != "automation" {
		t.Errorf("json is %+v", got)
	}
	c.run(t, "doctor", "-o", "yaml").want(t, exitDone).says(t, "healthy", "automation")
	c.run(t, "doctor", "nobody").want(t, exitNotFound)
	c.run(t, "doctor", "a", "b").want(t, exitUsage)

	d.found.Healthy = false
	d.found.Units = []keyturn.Finding{ready, off}
	d.found.Checks = append(d.found.Checks, keyturn.Check{Name: "policy", Subject: "policy/quarterly", State: keyturn.CheckFailed, Message: "of 2 units …"})
	ill := c.run(t, "doctor").want(t, exitFailed)
	ill.says(t, "backup-endpoint (not yet)", "backup is off", "start its backup", "1 check failed")
	if strings.Index(ill.stdout, "policy/quarterly") < strings.Index(ill.stdout, "it answers") {
		t.Errorf("what failed must be at the end:\n%s", ill.stdout)
	}
	c.run(t, "doctor", "-o", "json").want(t, exitFailed)

	c.run(t, "doctor", "--fix-thresholds").want(t, exitUsage)
	d.found.Healthy = true
	c.run(t, "doctor", "om-prod", "--fix-thresholds").want(t, exitDone).says(t, "project orders: from now on AWS_ENCRYPTION_KEY_NEEDS_ROTATION fires at 90d")
	if len(d.fixed) != 1 || d.fixed[0] != "om-prod" {
		t.Errorf("fixed %q", d.fixed)
	}
	c.vars["KEYTURN_TOKEN"] = apitest.Secret(keyturn.RoleViewer)
	c.run(t, "doctor", "om-prod").want(t, exitDone)
	c.run(t, "doctor", "om-prod", "--fix-thresholds").want(t, exitUnauthorized)
}
