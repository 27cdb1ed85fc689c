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

// survivesOthers turns a mixed estate while answers get lost, agents take their time, somebody else edits the
// automation configs, also from old versions, and the server is started again in the middle.
func (w *world) survivesOthers(t *testing.T, kind string) {
	t.Parallel()
	sim := modern(t, simulator.Faults{
		Seed: 11, LateAfter: keyturn.Duration(300 * time.Millisecond),
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
	others.Go(func() {
		ticker := time.NewTicker(700 * time.Millisecond)
		defer ticker.Stop()
		units := sim.Estate().Units()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			if err := sim.Estate().EditAutomation(units[i*7%len(units)].ProjectID, i%4 == 0); err != nil {
				t.Error(err)
			}
		}
	})
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
}
