package atlas_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	simulator "github.com/keyturn/keyturn/internal/simulator/atlas"
)

func TestDiscover_FindsTheProvidersOfProjects(t *testing.T) {
	t.Parallel()
	shared := simulator.Project{ID: "5f1000000000000000000002", Name: "a-shared", Clusters: []simulator.Cluster{{Name: "free", Size: "M0"}, {Name: "small", Size: "M5"}}, Providers: []simulator.Provider{{ID: "aws", Key: awsKey}}}
	serverless := simulator.Project{ID: "5f1000000000000000000003", Name: "b-serverless", Serverless: 2, Providers: []simulator.Provider{{ID: "gcp", Key: gcpKey}}}
	none := simulator.Project{ID: "5f1000000000000000000004", Name: "c-none", Clusters: []simulator.Cluster{{Name: "x"}}}
	off := simulator.Project{ID: "5f1000000000000000000005", Name: "d-off", Providers: []simulator.Provider{{ID: "azure", Key: azureKey, Disabled: true}}}
	empty := simulator.Project{ID: "5f1000000000000000000006", Name: "e-empty", Providers: []simulator.Provider{{ID: "aws", Key: awsKey}}}
	both(t, func(t *testing.T, login func(*setup)) {
		w := newWorld(t, login, func(s *setup) { s.cfg.Projects = append(s.cfg.Projects, shared, serverless, none, off, empty) })
		units, err := w.Discover(t.Context(), keyturn.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range units {
			line := u.ProjectName + " " + u.ClusterID
			if !u.Rotatable {
				line += ": " + u.Reason
			}
			got = append(got, line)
			if want := target + "." + u.ProjectID + "." + u.ClusterID; u.ID != want || u.Component != keyturn.ComponentProject || u.System != keyturn.SystemAtlas {
				t.Errorf("unit %+v", u)
			}
		}
		want := []string{
			"a-shared aws: the project has only M0, M2, M5 or Flex clusters, which can't be encrypted with keys of their owner",
			"b-serverless gcp: the project has only serverless instances, which can't be encrypted with keys of their owner",
			"d-off azure: encryption with keys in Azure Key Vault is off, and Keyturn never turns it on",
			"e-empty aws", "payments aws", "payments azure", "payments gcp",
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestDiscover_AsksOnlyForWhatIsSelected(t *testing.T) {
	t.Parallel()
	other := project()
	other.ID, other.Name = "5f1000000000000000000002", "other"
	w := newWorld(t, func(s *setup) { s.cfg.Projects = append(s.cfg.Projects, other) })
	for _, tc := range []struct {
		sel   keyturn.Selection
		units int
	}{
		{keyturn.Selection{Projects: []string{"pay*"}}, 3},
		{keyturn.Selection{Projects: []string{other.ID}, Clusters: []string{"aws"}}, 1},
		{keyturn.Selection{Units: []string{azureUnit}}, 1},
		{keyturn.Selection{Components: []keyturn.Component{keyturn.ComponentShard}}, 0},
	} {
		before := w.sim.Requests("GET encryptionAtRest")
		units, err := w.Discover(t.Context(), tc.sel)
		asked := w.sim.Requests("GET encryptionAtRest") - before
		if most := 1; err != nil || len(units) != tc.units || asked > most && tc.units > 0 {
			t.Errorf("%+v: %d units, %v, after %d questions", tc.sel, len(units), err, asked)
		}
	}
}

func TestDiscover_ReadsAllPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) {
		for n := range 620 {
			s.cfg.Projects = append(s.cfg.Projects, simulator.Project{ID: fmt.Sprintf("5f2%021x", n), Name: fmt.Sprint("p", n)})
		}
		s.cfg.Projects = append(s.cfg.Projects, simulator.Project{ID: "5f3000000000000000000001", Name: "last", Providers: []simulator.Provider{{ID: "aws", Key: awsKey}}})
	})
	units, err := w.Discover(t.Context(), keyturn.Selection{Projects: []string{"last"}})
	if err != nil || len(units) != 1 || w.sim.Requests("GET groups") != 2 {
		t.Errorf("%d units, %v, %d pages", len(units), err, w.sim.Requests("GET groups"))
	}
}

func TestUnits_ThatAreNotOursAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, unit := range []string{"other." + projectID + ".aws", target + "." + projectID + ".oracle", "aws", target + ".a/b.aws"} {
		if _, err := w.Current(t.Context(), unit); kindOf(t, err).Code != "bad_unit" {
			t.Errorf("%s: %v", unit, err)
		}
	}
	_, err := w.Current(t.Context(), target+".5f1000000000000000000009.aws")
	if e := kindOf(t, err); e.Code != "not_found" || e.Kind != keyturn.KindPermanent {
		t.Errorf("a project that is gone: %+v", e)
	}
}

func TestSnapshots_NameTheKeyOfAWSOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	expires := time.Date(2027, 2, 11, 0, 0, 0, 0, time.UTC)
	for _, s := range []struct {
		cluster string
		snap    simulator.Snapshot
	}{
		{"orders", simulator.Snapshot{ExpiresAt: &expires}},
		{"orders", simulator.Snapshot{Status: "inProgress"}},
		{"stock", simulator.Snapshot{ExpiresAt: &expires}},
		{"plain", simulator.Snapshot{}},
		{"plain", simulator.Snapshot{MasterKey: "00000000-0000-0000-0000-000000000000"}},
	} {
		if err := w.sim.AddSnapshot(projectID, s.cluster, s.snap); err != nil {
			t.Fatal(err)
		}
	}
	list := func(unit string) []keyturn.Snapshot {
		var all []keyturn.Snapshot
		if err := w.Snapshots(t.Context(), unit, func(s keyturn.Snapshot) bool { all = append(all, s); return true }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	aws, azure := list(awsUnit), list(azureUnit)
	if len(aws) != 3 || aws[0].KeyID != awsKey || !aws[0].Complete || !aws[0].ExpiresAt.Equal(expires) || aws[1].Complete || aws[2].ClusterName != "plain" {
		t.Errorf("AWS: %+v", aws)
	}
	// What a cluster that is encrypted otherwise now needs nobody knows: it counts for every provider.
	if len(azure) != 2 || azure[0].ClusterName != "stock" && azure[1].ClusterName != "stock" || azure[0].KeyID != "" || azure[0].Unit != azureUnit {
		t.Errorf("Azure: %+v", azure)
	}
	n := 0
	if err := w.Snapshots(t.Context(), awsUnit, func(keyturn.Snapshot) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%d after the first, %v", n, err)
	}
}

func TestThresholds_AreSetAndNothingElse(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, login func(*setup)) {
		w := newWorld(t, login, func(s *setup) { s.cfg.Projects[0].AlertDays = 365 })
		found, err := w.Thresholds(t.Context(), keyturn.Selection{})
		if err != nil || len(found) != 3 || found[0].Event != "AWS_ENCRYPTION_KEY_NEEDS_ROTATION" || found[0].Days != 365 || !found[0].Enabled || found[0].ProjectName != "payments" {
			t.Fatalf("got %+v, %v", found, err)
		}
		if err := w.SetThreshold(t.Context(), found[1], 90); err != nil {
			t.Fatal(err)
		}
		again, err := w.Thresholds(t.Context(), keyturn.Selection{})
		if err != nil || len(again) != 3 || again[0].Days != 365 || again[1].Days != 90 || again[2].Days != 365 || again[1].ID != found[1].ID {
			t.Errorf("got %+v, %v", again, err)
		}
		if err := w.SetThreshold(t.Context(), keyturn.Threshold{ProjectID: projectID, ID: "../x"}, 90); err == nil {
			t.Error("an id that leads elsewhere was taken")
		}
	})
}

func TestThresholds_ThatWouldLoseASecretAreLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) { s.cfg.Projects[0].SecretNotification = true })
	found, err := w.Thresholds(t.Context(), keyturn.Selection{})
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	err = w.SetThreshold(t.Context(), found[0], 30)
	if e := kindOf(t, err); e.Code != "hidden_secret" || w.sim.Requests("PUT alertConfigs") != 0 || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("got %+v: %v", e, err)
	}
}

func TestExamine_NamesTheWayAndTheFix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) {
		s.target.KMS.AWS.Strategy = keyturn.StrategyInPlace
		s.cfg.Projects[0].Providers[1].Disabled = true
	})
	w.ring.set(gcpKey, "GOOGLE_CLOUD_KMS_KEY_VERSION_DISABLED")
	findings, leftOut, err := w.Examine(t.Context(), keyturn.Selection{})
	if err != nil || len(findings) != 3 || len(leftOut) != 0 {
		t.Fatalf("%+v, %+v, %v", findings, leftOut, err)
	}
	aws, azure, gcp := findings[0], findings[1], findings[2]
	if aws.Way != "aws:in-place" || !aws.Rotatable || aws.Fix != "AWS rotates this key on demand 25 more times" || aws.KeySince == nil || !aws.KeySinceExact {
		t.Errorf("AWS: %+v", aws)
	}
	if azure.Rotatable || azure.Way != "" || !strings.Contains(azure.Fix, "Project Owner can switch it on") || !azure.Never() {
		t.Errorf("Azure: %+v", azure)
	}
	if gcp.Rotatable || !strings.Contains(gcp.Reason, gcpKey) || !strings.Contains(gcp.Fix, "Try Again") {
		t.Errorf("Google: %+v", gcp)
	}
	for _, check := range w.Check(t.Context()) {
		if check.State == keyturn.CheckFailed || check.Message == "" {
			t.Errorf("%+v", check)
		}
	}
}

func TestExamine_SaysWhyProjectsAreLeftOut(t *testing.T) {
	t.Parallel()
	const id = "5f100000000000000000000"
	more := []simulator.Project{
		{ID: id + "2", Name: "a-shared", Clusters: []simulator.Cluster{{Name: "free", Size: "M0"}, {Name: "small", Size: "M2"}}},
		{ID: id + "3", Name: "b-serverless", Serverless: 1},
		{ID: id + "4", Name: "c-none", Clusters: []simulator.Cluster{{Name: "x"}}},
		{ID: id + "5", Name: "d-off", Providers: []simulator.Provider{{ID: "azure", Key: azureKey, Disabled: true}}},
	}
	both(t, func(t *testing.T, login func(*setup)) {
		w := newWorld(t, login, func(s *setup) { s.cfg.Projects = append(s.cfg.Projects, more...) })
		findings, leftOut, err := w.Examine(t.Context(), keyturn.Selection{})
		want := []string{ // d-off has a unit, which says itself what is wrong
			"project a-shared (" + id + "2) is left out: the project has only M0, M2, M5 or Flex clusters, which can't be encrypted with keys of their owner",
			"project b-serverless (" + id + "3) is left out: the project has only serverless instances, which can't be encrypted with keys of their owner",
			"project c-none (" + id + "4) is left out: it uses no key of its owner",
		}
		if err != nil || len(findings) != 4 || len(leftOut) != len(want) {
			t.Fatalf("%d findings, %+v, %v", len(findings), leftOut, err)
		}
		for i, check := range leftOut {
			if check.Name != "project" || check.State != keyturn.CheckOK || check.Message != want[i] {
				t.Errorf("got %+v, want %s", check, want[i])
			}
		}
		// Who narrows the selection is not told of what it leaves out, and a plan asks nothing of projects without units.
		if _, leftOut, err = w.Examine(t.Context(), keyturn.Selection{Clusters: []string{"gcp"}, Projects: []string{"payments"}}); err != nil || len(leftOut) != 0 {
			t.Errorf("%+v, %v", leftOut, err)
		}
		before := w.sim.Requests("GET clusters")
		if _, err := w.Discover(t.Context(), keyturn.Selection{}); err != nil || w.sim.Requests("GET clusters") != before+1 {
			t.Errorf("%v, %d lists of clusters", err, w.sim.Requests("GET clusters")-before)
		}
	})
}

func TestDisableKey_LeavesTheOneInUseAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := awsKey[:len(awsKey)-1] + "0"
	for _, key := range []string{awsKey, awsKey + "#1", "00000000-0000-0000-0000-000000000001", "alias/x y"} {
		if err := w.DisableKey(t.Context(), awsUnit, key); kindOf(t, err).Kind != keyturn.KindPermanent {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := w.DisableKey(t.Context(), awsUnit, old); err != nil || fmt.Sprint(w.ring.off) != "["+old+"]" {
		t.Errorf("disabled %v, %v", w.ring.off, err)
	}
	doubts, err := w.RetireDoubts(t.Context(), awsUnit, old)
	if err != nil || len(doubts) != 1 || !strings.Contains(doubts[0], "cluster asleep is paused") {
		t.Errorf("got %q, %v", doubts, err)
	}
}

func TestKeyMade_IsWhenTheKeyServiceMadeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tc := range []struct{ unit, key string }{{awsUnit, awsKey}, {awsUnit, awsKey + "#1"}, {azureUnit, azureKey}, {gcpUnit, gcpKey}} {
		made, err := w.KeyMade(t.Context(), tc.unit, tc.key)
		if want := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC); err != nil || !made.Equal(want) {
			t.Errorf("%s: %s, %v, want %s", tc.key, made, err, want)
		}
	}
	if _, err := w.KeyMade(t.Context(), awsUnit, awsKey+"5"); kindOf(t, err).Code != "key_not_found" {
		t.Errorf("a key that is gone: %v", err)
	}
}
