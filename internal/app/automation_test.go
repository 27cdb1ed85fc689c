package app_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
)

// modern starts an estate of three projects, each with units at FCV 4.0 and at 4.2 and newer.
func modern(t *testing.T, faults simulator.Faults) *simulator.Server {
	t.Helper()
	sim, err := simulator.Start(t.Context(), simulator.Config{Faults: faults, Estate: simulator.NewEstate(simulator.EstateConfig{
		Seed: 3, Projects: 3, ReplicaSetsPerProject: 2, ModernClustersPerProject: 1, ModernReplicaSetsPerProject: 2,
		LeftOut: simulator.LeftOut{FCV42: 1, KeyIdentifier: 1, ManualMode: 1},
	})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return sim
}

// wantTurned checks that each unit was turned that often, all of its members together, that what a rotation must
// leave out was left out, and that nothing else in an automation config changed.
func wantTurned(t *testing.T, sim *simulator.Server, each int) {
	t.Helper()
	turned := map[string]int{}
	for _, r := range sim.Truth() {
		turned[r.ClusterID]++
		if r.By == simulator.ByAutomation && r.Members != 3 {
			t.Errorf("%d members of %s were turned at %s", r.Members, r.ClusterID, r.Timestamp)
		}
	}
	projects := map[string]bool{}
	for _, u := range sim.Estate().Units() {
		want := each
		if u.LeaveOut != "" {
			want = 0
		}
		if turned[u.ClusterID] != want {
			t.Errorf("unit %s (%s, automation %t) was turned %d times, want %d", u.Name, u.LeaveOut, u.Automation, turned[u.ClusterID], want)
		}
		projects[u.ProjectID] = true
	}
	for id := range projects {
		stats, _, err := sim.Estate().Automation(id)
		if err != nil || stats.Damaged+stats.Reformatted > 0 {
			t.Errorf("project %s: %+v, %v", id, stats, err)
		}
	}
	if n := sim.Stats().Refused; n > 0 {
		t.Errorf("%d PUTs of keys that can't be turned so", n)
	}
}

// wantHistory waits until the history tells of each turn the key that the truth tells.
func (r *running) wantHistory(t *testing.T, sim *simulator.Server) {
	t.Helper()
	var truth []string
	for _, change := range sim.Truth() {
		truth = append(truth, change.ClusterID+" "+change.KeyAfter)
	}
	slices.Sort(truth)
	var got []string
	until(t, "the ids of all keys", func() bool {
		if _, err := r.client.Observe(t.Context(), "om"); err != nil {
			t.Fatal(err)
		}
		history, err := r.client.History(t.Context(), keyturn.HistoryFilter{})
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, k := range history {
			if k.Origin == keyturn.OriginRotated {
				_, _, cluster, _ := keyturn.SplitUnitID(k.Unit)
				got = append(got, cluster+" "+k.KeyID)
			}
		}
		slices.Sort(got)
		return slices.Equal(got, truth)
	})
}

// turnsModern turns a mixed estate: each unit once, in the way that applies to it, and the ids of the keys follow.
func (w *world) turnsModern(t *testing.T, kind string) {
	t.Parallel()
	sim := modern(t, simulator.Faults{Agents: simulator.Agents{
		Takes: keyturn.Duration(30 * time.Millisecond), SnapshotEvery: keyturn.Duration(2 * time.Second),
	}})
	r := start(t, w.settings(t, kind))
	r.apply(t, sim, "")
	rotation, err := r.client.Rotate(t.Context(), client.RotationRequest{Policy: "all"})
	if err != nil {
		t.Fatal(err)
	}
	rotation = r.await(t, rotation.ID)
	if c := rotation.Counts; rotation.State != keyturn.RotationSucceeded || c.Succeeded != 3*(2+3+2) || c.Skipped != 3*3 {
		t.Errorf("%s %+v", rotation.State, c)
	}
	wantTurned(t, sim, 1)
	r.wantHistory(t, sim)
	tasks, err := r.client.Tasks(t.Context(), rotation.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if task.State == keyturn.TaskSucceeded && keyturn.IsKeyMarker(task.KeyAfter) {
			t.Errorf("task %+v does not tell its key", task)
		}
	}
}

// takenBack is how often somebody takes the last edit of each project back.
const takenBack = 2

// survivesOthers turns a mixed estate while answers get lost, agents take their time, somebody else edits the
// automation configs, also from old versions, and the server is started again in the middle.
//
// Nothing may be parked: of the five attempts of a task at most two get lost before their change is carried out (the faults of a project's
// PUTs follow from the seed, and those of this one are that far apart), and at most takenBack changes are taken back. What
// was refused, or not sent for an edit or a GET that failed, is no attempt.
func (w *world) survivesOthers(t *testing.T, kind string) {
	t.Parallel()
	sim := modern(t, simulator.Faults{
		Seed: 6406, LateAfter: keyturn.Duration(300 * time.Millisecond),
		PUT:    simulator.Rates{ErrorBefore: .1, ErrorAfter: .1, ResetBefore: .1, ResetAfter: .1, Late: .05},
		GET:    simulator.Rates{ErrorBefore: .01, ResetBefore: .01},
		Agents: simulator.Agents{Takes: keyturn.Duration(80 * time.Millisecond), GoalLag: keyturn.Duration(10 * time.Millisecond), Conflict: .1},
	})
	set := w.settings(t, kind)
	r := start(t, set)
	r.apply(t, sim, "")
	rotation, err := r.client.Rotate(t.Context(), client.RotationRequest{Policy: "all"})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { editAsOthers(t, sim, stop) })
	defer others.Wait()
	defer close(stop)
	until(t, "some keys to be turned", func() bool { return len(sim.Truth()) > 8 })
	r.stop()
	r = start(t, set)
	rotation = r.await(t, rotation.ID)
	if rotation.State != keyturn.RotationSucceeded {
		tasks, _ := r.client.Tasks(t.Context(), rotation.ID.String())
		for _, task := range tasks {
			if task.State != keyturn.TaskSucceeded && task.State != keyturn.TaskSkipped {
				t.Errorf("task %+v", task)
			}
		}
		t.Errorf("%s %+v", rotation.State, rotation.Counts)
	}
	wantTurned(t, sim, 1)
	wantTrouble(t, sim)
}

// editAsOthers edits the config of one project after the other, and takes the last edit of each back right after a key of the
// project was turned, which is mostly the rotation.
func editAsOthers(t *testing.T, sim *simulator.Server, stop chan struct{}) {
	look, edit := time.NewTicker(20*time.Millisecond), time.NewTicker(700*time.Millisecond)
	defer look.Stop()
	defer edit.Stop()
	var projects []string
	for _, u := range sim.Estate().Units() {
		if !slices.Contains(projects, u.ProjectID) {
			projects = append(projects, u.ProjectID)
		}
	}
	back, seen := map[string]int{}, 0
	for i := 0; ; {
		select {
		case <-stop:
			return
		case <-edit.C:
			if err := sim.Estate().EditAutomation(projects[i%len(projects)], false); err != nil {
				t.Error(err)
			}
			i++
		case <-look.C:
			truth := sim.Truth()
			for _, turned := range truth[seen:] {
				if turned.By == simulator.ByAutomation && back[turned.ProjectID] < takenBack {
					back[turned.ProjectID]++
					if err := sim.Estate().EditAutomation(turned.ProjectID, true); err != nil {
						t.Error(err)
					}
				}
			}
			seen = len(truth)
		}
	}
}

// wantTrouble checks that each kind of trouble has come up.
func wantTrouble(t *testing.T, sim *simulator.Server) {
	t.Helper()
	stats := sim.Stats()
	for _, kind := range []string{"errorBefore", "errorAfter", "resetBefore", "resetAfter", "late"} {
		if stats.Faults[kind] == 0 {
			t.Errorf("no request met the fault %s: nothing is tested; %v", kind, stats.Faults)
		}
	}
	var conflicts, edits int64
	projects := map[string]bool{}
	for _, u := range sim.Estate().Units() {
		if projects[u.ProjectID] {
			continue
		}
		projects[u.ProjectID] = true
		each, _, err := sim.Estate().Automation(u.ProjectID)
		if err != nil {
			t.Error(err)
		}
		conflicts, edits = conflicts+each.Conflicts, edits+each.Edits
	}
	if conflicts == 0 || edits <= int64(takenBack*len(projects)) {
		t.Errorf("%d PUTs met the edit of somebody else, of %d", conflicts, edits)
	}
}
