package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/doctor"
	"github.com/keyturn/keyturn/worker"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// estate is a server with targets, policies, and systems behind them.
type estate struct {
	targets  []keyturn.Target
	policies map[string]string // specs by name
	systems  map[string]worker.System
	broken   map[string]error // targets that can't be called
	clock    time.Time
	away     error // the database is
	probes   []doctor.Probe
	kmip     func(context.Context, keyturn.Target) (string, error)
}

func (e *estate) Targets(context.Context) ([]keyturn.Target, error) {
	return slices.Clone(e.targets), e.away
}

func (e *estate) System(_ context.Context, name string, _ int64) (worker.System, keyturn.Target, error) {
	for _, t := range e.targets {
		if t.Name == name {
			return e.systems[name], t, e.broken[name]
		}
	}
	return nil, keyturn.Target{}, keyturn.ErrNotFound
}

func (e *estate) ResourcesOf(_ context.Context, kind keyturn.ResourceKind) ([]keyturn.Resource, error) {
	var all []keyturn.Resource
	for name, spec := range e.policies {
		all = append(all, keyturn.Resource{Kind: kind, Name: name, Spec: json.RawMessage(spec)})
	}
	slices.SortFunc(all, func(a, b keyturn.Resource) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (e *estate) Now(context.Context) (time.Time, error) { return e.clock, nil }

func (e *estate) doctor() *doctor.Doctor {
	return doctor.New(doctor.Config{
		Systems: e, Targets: e, Store: e, Probes: e.probes, KeyServer: e.kmip, Now: func() time.Time { return now },
	})
}

func (e *estate) diagnose(t *testing.T, target string) keyturn.Diagnosis {
	t.Helper()
	d, err := e.doctor().Diagnose(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newEstate(sys worker.System, policies map[string]string) *estate {
	return &estate{
		targets: []keyturn.Target{{Name: "om", System: keyturn.SystemOpsManager}}, policies: policies,
		systems: map[string]worker.System{"om": sys}, clock: now,
	}
}

// find returns the check of a name and subject.
func find(t *testing.T, d keyturn.Diagnosis, name, subject string) keyturn.Check {
	t.Helper()
	for _, c := range d.Checks {
		if c.Name == name && c.Subject == subject {
			return c
		}
	}
	t.Fatalf("no check %s of %q in %+v", name, subject, d.Checks)
	return keyturn.Check{}
}

func wantCheck(t *testing.T, d keyturn.Diagnosis, name, subject string, state keyturn.CheckState, words string) {
	t.Helper()
	if c := find(t, d, name, subject); c.State != state || !strings.Contains(c.Message+" "+c.Fix, words) {
		t.Errorf("check is %+v, want %s with %q", c, state, words)
	}
}

// plainSystem tells its units only.
type plainSystem struct {
	worker.System
	units []keyturn.Unit
	err   error
}

func (s *plainSystem) Discover(_ context.Context, sel keyturn.Selection) ([]keyturn.Unit, error) {
	if slices.Contains(sel.Clusters, "parent") { // a word that no unit carries
		return s.units[:1], s.err
	}
	return slices.Clone(s.units), s.err
}

func unit(cluster, reason string) keyturn.Unit {
	return keyturn.Unit{
		ID: "om.p." + cluster, Target: "om", System: keyturn.SystemOpsManager, ProjectID: "p", ProjectName: "project",
		ClusterID: cluster, ClusterName: cluster, Component: keyturn.ComponentReplicaSet, Name: cluster, Rotatable: reason == "", Reason: reason,
	}
}

// fullSystem tells all that a system can tell.
type fullSystem struct {
	plainSystem
	checks     []keyturn.Check
	findings   []keyturn.Finding
	leftOut    []keyturn.Check
	thresholds []keyturn.Threshold
	set        map[string]int
	fails      error
	refuses    string // the id of a threshold
}

func (s *fullSystem) Check(context.Context) []keyturn.Check { return s.checks }

func (s *fullSystem) Examine(context.Context, keyturn.Selection) ([]keyturn.Finding, []keyturn.Check, error) {
	return slices.Clone(s.findings), s.leftOut, s.err
}

func (s *fullSystem) Thresholds(context.Context, keyturn.Selection) ([]keyturn.Threshold, error) {
	return slices.Clone(s.thresholds), s.fails
}

func (s *fullSystem) SetThreshold(_ context.Context, t keyturn.Threshold, days int) error {
	if s.refuses == t.ID {
		return errors.New("a notification holds a secret")
	}
	s.set[t.ID] = days
	return nil
}

// wrapped hides what a system can do, as decorators do.
type wrapped struct{ worker.System }

func (w wrapped) Unwrap() worker.System { return w.System }

func TestDiagnose_Policies(t *testing.T) {
	t.Parallel()
	units := []keyturn.Unit{unit("a", ""), unit("b", ""), unit("c", "backup is off"), unit("d", "")}
	for name, tt := range map[string]struct {
		spec    string
		state   keyturn.CheckState
		words   string
		healthy bool
	}{
		"all can be turned":            {`{"target":"om","select":{"clusters":["a","b","d"]}}`, keyturn.CheckOK, "all 3 units", true},
		"one can never be turned":      {`{"target":"om"}`, keyturn.CheckFailed, "of 4 units that it selects 1 can't be turned as they are: project/c", false},
		"nothing":                      {`{"target":"om","select":{"clusters":["x"],"units":["y"]}}`, keyturn.CheckFailed, "selects no unit", false},
		"a word that no unit carries":  {`{"target":"om","select":{"clusters":["parent"]}}`, keyturn.CheckOK, "all 1 units", true},
		"keys of others narrow no one": {`{"target":"om","select":{"clusters":["a"],"keys":{"om.p.c":"k"}}}`, keyturn.CheckOK, "all 1 units", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sys := &plainSystem{units: units}
			if strings.Contains(tt.words, "no unit") {
				sys = &plainSystem{units: units[:0]}
			}
			e := newEstate(sys, map[string]string{"quarterly": tt.spec})
			d := e.diagnose(t, "")
			wantCheck(t, d, "policy", "policy/quarterly", tt.state, tt.words)
			if d.Healthy != tt.healthy {
				t.Errorf("healthy is %v", d.Healthy)
			}
		})
	}
}

func TestDiagnose_Units(t *testing.T) {
	t.Parallel()
	sys := &fullSystem{findings: []keyturn.Finding{
		{Unit: unit("b", "the FCV is being changed"), Way: "automation", Fix: "wait", Passing: true},
		{Unit: unit("a", ""), Way: "backup-endpoint"},
		{Unit: unit("c", ""), Way: "backup-endpoint"},
	}, leftOut: []keyturn.Check{{Name: "project", State: keyturn.CheckOK, Message: "project sandbox is left out: it has only M0 clusters"}}}
	e := newEstate(wrapped{sys}, map[string]string{"one": `{"target":"om","select":{"clusters":["a","b"]}}`, "two": `{"target":"om","select":{"units":["a"]}}`})
	d := e.diagnose(t, "om")
	if len(d.Units) != 3 || d.Units[0].Name != "a" || !slices.Equal(d.Units[0].Policies, []string{"one", "two"}) ||
		!slices.Equal(d.Units[1].Policies, []string{"one"}) || d.Units[2].Policies == nil || len(d.Units[2].Policies) != 0 {
		t.Errorf("units are %+v", d.Units)
	}
	if d.Units[0].Way != "backup-endpoint" || d.Units[1].Way != "automation" || d.Units[1].Never() {
		t.Errorf("units are %+v", d.Units)
	}
	wantCheck(t, d, "policy", "policy/one", keyturn.CheckWarning, "right now")
	wantCheck(t, d, "policy", "target/om", keyturn.CheckWarning, "no policy selects project/c")
	wantCheck(t, d, "project", "target/om", keyturn.CheckOK, "sandbox is left out")
	if !d.Healthy {
		t.Error("what passes by itself makes no server ill")
	}
}

func TestDiagnose_Targets(t *testing.T) {
	t.Parallel()
	e := newEstate(&plainSystem{units: []keyturn.Unit{unit("a", "")}}, nil)
	e.targets = append(e.targets,
		keyturn.Target{Name: "away", System: keyturn.SystemOpsManager}, keyturn.Target{Name: "keyless"},
		keyturn.Target{Name: "kept", KMIP: &keyturn.KMIP{Address: "kmip:5696"}})
	refused := keyturn.Check{Name: "credentials", State: keyturn.CheckFailed, Message: "401"}
	e.systems["away"] = &fullSystem{checks: []keyturn.Check{refused}, plainSystem: plainSystem{err: errors.New("401")}}
	e.systems["kept"] = &plainSystem{}
	e.broken = map[string]error{"keyless": errors.New("credentials.privateKey: env:X is not set")}
	e.kmip = func(_ context.Context, target keyturn.Target) (string, error) {
		if target.Name != "kept" {
			t.Errorf("asked for the KMIP server of %s", target.Name)
		}
		return "", errors.New("kmip:5696: connection refused")
	}
	d := e.diagnose(t, "")
	wantCheck(t, d, "credentials", "target/om", keyturn.CheckOK, "accepted")
	wantCheck(t, d, "policy", "target/om", keyturn.CheckWarning, "no policy")
	wantCheck(t, d, "credentials", "target/away", keyturn.CheckFailed, "401")
	wantCheck(t, d, "target", "target/keyless", keyturn.CheckFailed, "env:X is not set")
	wantCheck(t, d, "kmip", "target/kept", keyturn.CheckFailed, "connection refused")
	if d.Healthy {
		t.Error("healthy, with a target that refuses")
	}
	if _, err := e.doctor().Diagnose(t.Context(), "nobody"); !errors.Is(err, keyturn.ErrNotFound) {
		t.Errorf("error is %v, want not found", err)
	}
	if d := e.diagnose(t, "om"); len(d.Units) != 1 || !d.Healthy {
		t.Errorf("one target is %+v", d)
	}
}

func TestDiagnose_Server(t *testing.T) {
	t.Parallel()
	e := &estate{clock: now.Add(-time.Minute), probes: []doctor.Probe{
		{Name: "database", Run: func(context.Context) error { return nil }},
		{Name: "nats", Run: func(context.Context) error { return errors.New("no servers") }, Advice: "look at nats_url"},
	}}
	d := e.diagnose(t, "")
	wantCheck(t, d, "database", "", keyturn.CheckOK, "answers")
	wantCheck(t, d, "nats", "", keyturn.CheckFailed, "look at nats_url")
	wantCheck(t, d, "clock", "", keyturn.CheckWarning, "1m0s behind")
	wantCheck(t, d, "target", "", keyturn.CheckWarning, "no target")
	if d.Healthy || d.Units == nil || d.Checks == nil {
		t.Errorf("diagnosis is %+v", d)
	}
}

func TestDiagnose_DatabaseThatIsAwayIsAFinding(t *testing.T) {
	t.Parallel()
	e := newEstate(&plainSystem{}, nil)
	e.away = errors.New("connection refused")
	e.probes = []doctor.Probe{{Name: "database", Run: func(context.Context) error { return e.away }}}
	d := e.diagnose(t, "")
	wantCheck(t, d, "database", "", keyturn.CheckFailed, "connection refused")
	wantCheck(t, d, "target", "", keyturn.CheckFailed, "connection refused")
	if d.Healthy {
		t.Error("healthy, without a database")
	}
}

func TestThresholds(t *testing.T) {
	t.Parallel()
	sys := &fullSystem{set: map[string]int{}}
	sys.findings = []keyturn.Finding{{Unit: unit("a", "")}, {Unit: unit("b", "")}}
	other := unit("c", "")
	other.ProjectID, other.ProjectName = "q", "other"
	alone := unit("d", "")
	alone.ProjectID = "r"
	sys.findings = append(sys.findings, keyturn.Finding{Unit: other}, keyturn.Finding{Unit: alone})
	sys.thresholds = []keyturn.Threshold{
		{ID: "1", ProjectID: "p", ProjectName: "project", Event: "AWS_ENCRYPTION_KEY_NEEDS_ROTATION", Enabled: true, Days: 90},
		{ID: "2", ProjectID: "q", Event: "AZURE_ENCRYPTION_KEY_NEEDS_ROTATION", Enabled: true, Days: 365},
		{ID: "3", ProjectID: "r", Enabled: true, Days: 90},
		{ProjectID: "q", Event: "GCP_ENCRYPTION_KEY_NEEDS_ROTATION"},
	}
	e := newEstate(sys, map[string]string{
		"yearly":  `{"target":"om","select":{"projects":["p","q"]},"alerts":{"warnAfter":"365d"}}`,
		"monthly": `{"target":"om","select":{"clusters":["b"]},"alerts":{"warnAfter":"721h"}}`,
	})
	d := e.diagnose(t, "om")
	var got []string
	for _, c := range d.Checks {
		if c.Name == "threshold" {
			got = append(got, string(c.State)+" "+c.Message)
		}
	}
	want := []string{
		"warning project project: its alert AWS_ENCRYPTION_KEY_NEEDS_ROTATION fires after 90 days, policy monthly warns after 31",
		"ok project q: its alert AZURE_ENCRYPTION_KEY_NEEDS_ROTATION fires after 365 days, as policy yearly warns",
		"warning project q has no alert GCP_ENCRYPTION_KEY_NEEDS_ROTATION: only Keyturn tells of old keys",
	}
	if !slices.Equal(got, want) {
		t.Errorf("checks are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(d.Thresholds) != 4 || d.Thresholds[0].Target != "om" || !d.Healthy {
		t.Errorf("thresholds are %+v", d.Thresholds)
	}

	set, err := e.doctor().FixThresholds(t.Context(), "om")
	if err != nil || len(set) != 1 || set[0].ID != "1" || set[0].Days != 31 || len(sys.set) != 1 || sys.set["1"] != 31 {
		t.Errorf("set %+v (%v), %v", set, sys.set, err)
	}
	sys.set, sys.refuses, sys.thresholds[1].Days = map[string]int{}, "1", 30
	set, err = e.doctor().FixThresholds(t.Context(), "om")
	if err == nil || !strings.Contains(err.Error(), "1 of 2 thresholds were not set: a notification holds a secret") || len(set) != 1 || sys.set["2"] != 365 {
		t.Errorf("set %+v (%v), %v: want the other one to be set", set, sys.set, err)
	}
	e.systems["om"] = &plainSystem{}
	if _, err := e.doctor().FixThresholds(t.Context(), "om"); !errors.Is(err, keyturn.ErrConflict) {
		t.Errorf("error is %v, want a conflict: it has no thresholds", err)
	}
	sys.fails = errors.New("403")
	e.systems["om"] = sys
	wantCheck(t, e.diagnose(t, "om"), "threshold", "target/om", keyturn.CheckUnknown, "403")
}
