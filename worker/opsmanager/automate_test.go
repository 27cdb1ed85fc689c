package opsmanager_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/simulator"
	"github.com/keyturn/keyturn/worker"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

var _ worker.Confirmer = (*opsmanager.Client)(nil)

// modernEstate is a project of both kinds: a sharded cluster of two shards and two replica sets at FCV 4.2 and
// newer, beside what is at 4.0 and what can't be turned.
func modernEstate() *simulator.Estate {
	return simulator.NewEstate(simulator.EstateConfig{
		Seed: 5, Projects: 1, ClustersPerProject: 1, ReplicaSetsPerProject: 1, ModernClustersPerProject: 1, ModernReplicaSetsPerProject: 2,
		LeftOut: simulator.LeftOut{FCV42: 1, FCVUnknown: 1, KeyIdentifier: 1, ManualMode: 1, Disabled: 1},
	})
}

func modernUnits(e *simulator.Estate) []simulator.Unit {
	return slices.DeleteFunc(e.Units(), func(u simulator.Unit) bool { return !u.Automation || u.LeaveOut != "" })
}

func idOf(u simulator.Unit) string { return "om." + u.ProjectID + "." + u.ClusterID }

// another makes one more client of the same server: another replica, or the same after a crash.
func another(t *testing.T, sim *simulator.Server, change ...func(*opsmanager.Config)) *opsmanager.Client {
	t.Helper()
	cfg := opsmanager.Config{
		Target:    keyturn.Target{Name: "om", System: keyturn.SystemOpsManager, URL: sim.URL},
		PublicKey: sim.PublicKey, PrivateKey: sim.PrivateKey,
	}
	for _, c := range change {
		c(&cfg)
	}
	c, err := opsmanager.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// confirmed asks until the change is done.
func confirmed(t *testing.T, c *opsmanager.Client, unit string, intent keyturn.Intent) keyturn.Sight {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		sight, err := c.Confirm(ctx, unit, intent)
		if err != nil {
			t.Fatalf("Confirm: %v", err)
		}
		if sight.Progress == keyturn.ProgressDone {
			return sight
		}
	}
}

// rotate takes a unit through the whole way.
func rotate(t *testing.T, c *opsmanager.Client, unit string) keyturn.Sight {
	t.Helper()
	intent := prepared(t, c, unit)
	if err := c.Apply(t.Context(), unit, intent); err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return confirmed(t, c, unit, intent)
}

func prepared(t *testing.T, c *opsmanager.Client, unit string) keyturn.Intent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		intent, err := c.Prepare(ctx, unit, keyturn.ID{})
		if err == nil {
			return intent
		}
		if e, ok := errors.AsType[*keyturn.SystemError](err); !ok || !e.Waits {
			t.Fatalf("Prepare: %v", err)
		}
	}
}

// clean fails the test if anything but the times of rotations changed in the config.
func cleanConfig(t *testing.T, e *simulator.Estate) simulator.AutomationStats {
	t.Helper()
	stats, _, err := e.Automation(e.Units()[0].ProjectID)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Reformatted+stats.Damaged > 0 {
		t.Errorf("the config was changed beside the times of rotations: %+v", stats)
	}
	return stats
}

func TestAutomation_TurnsOneReplicaSetAfterTheOther(t *testing.T) {
	t.Parallel()
	for _, noSecrets := range []bool{true, false} {
		e := modernEstate()
		sim, c := startSimulator(t, simulator.Config{Estate: e, Faults: simulator.Faults{Agents: simulator.Agents{
			Takes: keyturn.Duration(20 * time.Millisecond), GoalLag: keyturn.Duration(5 * time.Millisecond), NoSecretsMissing: !noSecrets,
		}}})
		units := modernUnits(e)
		if len(units) != 5 {
			t.Fatalf("%d modern units", len(units))
		}
		for _, u := range units {
			before := u.Key
			intent := prepared(t, c, idOf(u))
			if !strings.HasPrefix(intent.Before, "kmip-rotated-at:") || intent.Exclusive != "automation/om/"+u.ProjectID || !json.Valid(intent.Data) {
				t.Errorf("intent %+v", intent)
			}
			if err := c.Apply(t.Context(), idOf(u), intent); err != nil {
				t.Fatal(err)
			}
			if sight := confirmed(t, c, idOf(u), intent); sight.Key != intent.Want {
				t.Errorf("key %s, want %s", sight.Key, intent.Want)
			}
			if key, err := c.Current(t.Context(), idOf(u)); err != nil || key != intent.Want {
				t.Errorf("Current = %s, %v", key, err)
			}
			truth := e.Truth()
			last := truth[len(truth)-1]
			if last.ClusterID != u.ClusterID || last.KeyBefore != before || last.Members != 3 || "kmip-rotated-at:"+last.Timestamp != intent.Want {
				t.Errorf("turned %+v", last)
			}
		}
		if n := len(e.Truth()); n != len(units) {
			t.Errorf("%d keys were turned, want %d", n, len(units))
		}
		if stats := cleanConfig(t, e); stats.Published != int64(len(units)) {
			t.Errorf("%+v", stats)
		}
		plain := sim.Stats().Endpoints["PUT /groups/{id}/automationConfig"]
		if (plain > 0) == noSecrets {
			t.Errorf("%d PUTs of the config with secrets", plain)
		}
	}
}

// Whoever goes on after a crash does not turn the key again, wherever the crash was.
func TestAutomation_ACrashAnywhereTurnsTheKeyOnce(t *testing.T) {
	t.Parallel()
	takes := simulator.Agents{Takes: keyturn.Duration(20 * time.Millisecond)}
	tests := map[string]func(t *testing.T, sim *simulator.Server, c *opsmanager.Client, unit string, intent keyturn.Intent){
		"before the PUT": func(*testing.T, *simulator.Server, *opsmanager.Client, string, keyturn.Intent) {},
		"after the PUT": func(t *testing.T, _ *simulator.Server, c *opsmanager.Client, unit string, intent keyturn.Intent) {
			if err := c.Apply(t.Context(), unit, intent); err != nil {
				t.Fatal(err)
			}
		},
		"answer lost": func(t *testing.T, sim *simulator.Server, c *opsmanager.Client, unit string, intent keyturn.Intent) {
			faults(t, sim, simulator.Faults{Agents: takes, PUT: simulator.Rates{ResetAfter: 1}})
			if err := c.Apply(t.Context(), unit, intent); kindOf(err) != ambiguous {
				t.Errorf("Apply: %v", err)
			}
		},
		"request lost": func(t *testing.T, sim *simulator.Server, c *opsmanager.Client, unit string, intent keyturn.Intent) {
			faults(t, sim, simulator.Faults{Agents: takes, PUT: simulator.Rates{ResetBefore: 1}})
			if err := c.Apply(t.Context(), unit, intent); kindOf(err) != ambiguous {
				t.Errorf("Apply: %v", err)
			}
		},
		"executed late": func(t *testing.T, sim *simulator.Server, c *opsmanager.Client, unit string, intent keyturn.Intent) {
			faults(t, sim, simulator.Faults{Agents: takes, PUT: simulator.Rates{Late: 1}, LateAfter: keyturn.Duration(50 * time.Millisecond)})
			if err := c.Apply(t.Context(), unit, intent); kindOf(err) != ambiguous {
				t.Errorf("Apply: %v", err)
			}
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for sim.Stats().LatePending > 0 { // until it has settled
				<-tick.C
			}
		},
		"while the agents are at it": func(t *testing.T, sim *simulator.Server, c *opsmanager.Client, unit string, intent keyturn.Intent) {
			faults(t, sim, simulator.Faults{Agents: simulator.Agents{Takes: keyturn.Duration(4 * time.Second)}})
			if err := c.Apply(t.Context(), unit, intent); err != nil {
				t.Fatal(err)
			}
			if sight, err := c.Confirm(t.Context(), unit, intent); err != nil || sight.Progress != keyturn.ProgressUnder || sight.Note == "" || sight.Key != intent.Before {
				t.Errorf("Confirm = %+v, %v", sight, err)
			}
		},
		"taken back by somebody, after the agents began": func(t *testing.T, sim *simulator.Server, c *opsmanager.Client, unit string, intent keyturn.Intent) {
			if err := c.Apply(t.Context(), unit, intent); err != nil {
				t.Fatal(err)
			}
			confirmed(t, c, unit, intent)
			if err := sim.Estate().EditAutomation(project(unit), true); err != nil {
				t.Fatal(err)
			}
		},
		"taken back by somebody, before the agents began": func(t *testing.T, sim *simulator.Server, c *opsmanager.Client, unit string, intent keyturn.Intent) {
			faults(t, sim, simulator.Faults{Agents: simulator.Agents{Takes: keyturn.Duration(time.Hour)}})
			if err := c.Apply(t.Context(), unit, intent); err != nil {
				t.Fatal(err)
			}
			if err := sim.Estate().EditAutomation(project(unit), true); err != nil {
				t.Fatal(err)
			}
		},
		"somebody edited something else": func(t *testing.T, sim *simulator.Server, c *opsmanager.Client, unit string, intent keyturn.Intent) {
			if err := c.Apply(t.Context(), unit, intent); err != nil {
				t.Fatal(err)
			}
			if err := sim.Estate().EditAutomation(project(unit), false); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, crash := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := modernEstate()
			sim, c := startSimulator(t, simulator.Config{Estate: e, Faults: simulator.Faults{Agents: takes}})
			unit := idOf(modernUnits(e)[0])
			intent := prepared(t, c, unit)
			crash(t, sim, c, unit, intent)
			faults(t, sim, simulator.Faults{Agents: takes})
			next := another(t, sim)
			resume(t, next, unit, intent)
			if truth := e.Truth(); len(truth) != 1 || truth[0].Members != 3 {
				t.Errorf("turned %+v", truth)
			}
			if key, err := another(t, sim).Current(t.Context(), unit); err != nil || key != intent.Want {
				t.Errorf("Current = %s, %v, want %s", key, err, intent.Want)
			}
			cleanConfig(t, e)
		})
	}
}

// resume goes on with an intent as the protocol does: it looks, and applies again only if nothing shows.
func resume(t *testing.T, c *opsmanager.Client, unit string, intent keyturn.Intent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		sight, err := c.Confirm(ctx, unit, intent)
		switch {
		case err != nil:
			t.Fatalf("Confirm: %v", err)
		case sight.Progress == keyturn.ProgressDone:
			return
		case sight.Progress == keyturn.ProgressNone:
			if err := c.Apply(ctx, unit, intent); err != nil && kindOf(err) != ambiguous {
				t.Fatalf("an intent that may have been sent: %v", err)
			}
		}
	}
	t.Error("it is not done after 30s")
}

func faults(t *testing.T, sim *simulator.Server, f simulator.Faults) {
	t.Helper()
	if err := sim.SetFaults(f); err != nil {
		t.Fatal(err)
	}
}

func project(unit string) string {
	_, id, _, _ := keyturn.SplitUnitID(unit)
	return id
}

func TestAutomation_RespectsLocksAlsoThoseThatAppearMidway(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"EXTERNALLY_MANAGED_LOCK", "DISABLE_SET_MONGOD_CONFIG"} {
		e := modernEstate()
		sim, c := startSimulator(t, simulator.Config{Estate: e})
		unit := idOf(modernUnits(e)[0])
		intent := prepared(t, c, unit)
		if err := e.Lock(project(unit), policy, "mongodb-kubernetes-operator"); err != nil {
			t.Fatal(err)
		}
		const words = "mongodb-kubernetes-operator 1.27.0 manages the project and holds the lock "
		want{permanent, false, "locked", 0, words + policy}.check(t, "Apply", c.Apply(t.Context(), unit, intent))
		// Whoever goes on with the intent can't know that it was never sent.
		want{ambiguous, false, "locked", 0, "may have been sent before"}.check(t, "Apply of another", another(t, sim).Apply(t.Context(), unit, intent))
		_, err := another(t, sim).Prepare(t.Context(), unit, keyturn.ID{})
		want{permanent, false, "locked", 0, words + policy}.check(t, "Prepare", err)
		units, err := another(t, sim).Discover(t.Context(), keyturn.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range units {
			if u.ID == unit && (u.Rotatable || !strings.Contains(u.Reason, words)) {
				t.Errorf("unit %+v", u)
			}
		}
		if stats := cleanConfig(t, e); stats.Published+stats.Locked > 0 || len(e.Truth()) > 0 {
			t.Errorf("something was sent against the lock: %+v", stats)
		}
		if err := e.Lock(project(unit), "", ""); err != nil {
			t.Fatal(err)
		}
		resume(t, another(t, sim), unit, intent)
		if len(e.Truth()) != 1 {
			t.Errorf("turned %+v", e.Truth())
		}
	}
}

func TestAutomation_WaitsForAgentsThatAreBusy(t *testing.T) {
	t.Parallel()
	e := modernEstate()
	_, c := startSimulator(t, simulator.Config{Estate: e, Faults: simulator.Faults{Agents: simulator.Agents{Takes: keyturn.Duration(time.Hour)}}})
	units := modernUnits(e)
	intent := prepared(t, c, idOf(units[0]))
	if err := c.Apply(t.Context(), idOf(units[0]), intent); err != nil {
		t.Fatal(err)
	}
	_, err := c.Prepare(t.Context(), idOf(units[1]), keyturn.ID{})
	want{transient, false, "agents_busy", time.Second, "0 of 3 processes have reached version 2"}.check(t, "Prepare", err)
	if e, _ := errors.AsType[*keyturn.SystemError](err); e == nil || !e.Waits {
		t.Errorf("%v counts as a failed try", err)
	}
}

func TestAutomation_GivesUpOnAgentsThatNeverMove(t *testing.T) {
	t.Parallel()
	e := modernEstate()
	sim, first := startSimulator(t, simulator.Config{Estate: e, Faults: simulator.Faults{Agents: simulator.Agents{Takes: keyturn.Duration(1000 * time.Hour)}}})
	var passed atomic.Int64
	c := another(t, sim, func(cfg *opsmanager.Config) {
		cfg.Target.Timeouts.Complete = keyturn.Duration(2 * time.Hour)
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	})
	units := modernUnits(e)
	if err := first.Apply(t.Context(), idOf(units[0]), prepared(t, first, idOf(units[0]))); err != nil {
		t.Fatal(err)
	}
	unit, task, other := idOf(units[1]), keyturn.ID{1}, keyturn.ID{2}
	waits := want{transient, false, "agents_busy", time.Second, "0 of 3 processes have reached version 2"}
	for _, step := range []struct {
		task keyturn.ID
		wait time.Duration
		want want
	}{
		{task, 0, waits},
		{task, 119 * time.Minute, waits},
		{other, 0, waits}, // of another rotation, which begins to wait now
		{task, time.Minute, want{permanent, false, "agents_stand_still", 0, "has stood at version 1 of the automation config for timeouts.complete (2h0m0s): see whether its automation agent runs"}},
		{task, 0, waits}, // again: someone may have started the agent
		{other, 118 * time.Minute, waits},
		{other, time.Minute, want{permanent, false, "agents_stand_still", 0, "nothing was changed"}},
	} {
		var err error
		for left := step.wait; left >= 0; left -= 20 * time.Minute { // it looks all the time
			passed.Add(int64(min(left, 20*time.Minute)))
			_, err = c.Prepare(t.Context(), unit, step.task)
		}
		step.want.check(t, "Prepare", err)
	}
	// While the target was away, or the rotation was held, nobody saw whether the agent moves.
	for _, wait := range []time.Duration{0, 20 * time.Minute, 100 * time.Minute, 20 * time.Minute} {
		passed.Add(int64(wait))
		_, err := c.Prepare(t.Context(), unit, keyturn.ID{3})
		waits.check(t, "Prepare after a while", err)
	}
	if stats := cleanConfig(t, e); stats.Published != 1 || len(e.Truth()) != 0 {
		t.Errorf("changed %+v, %+v", stats, e.Truth())
	}
}

func TestAutomation_SaysWhatAnAgentReports(t *testing.T) {
	t.Parallel()
	e := modernEstate()
	sim, c := startSimulator(t, simulator.Config{Estate: e, Faults: simulator.Faults{Agents: simulator.Agents{Fail: 1}}})
	unit := idOf(modernUnits(e)[0])
	intent := prepared(t, c, unit)
	if err := c.Apply(t.Context(), unit, intent); err != nil {
		t.Fatal(err)
	}
	_, err := c.Confirm(t.Context(), unit, intent)
	want{permanent, false, "agent_failed", 0, "reports error 100: The KMIP server refused to make a key"}.check(t, "Confirm", err)
	if strings.Contains(err.Error(), "processes") || strings.Contains(err.Error(), "simulated-") {
		t.Errorf("it tells the configuration: %v", err)
	}
	_, err = another(t, sim).Prepare(t.Context(), unit, keyturn.ID{})
	want{transient, false, "agent_error", 15 * time.Second, "mend it first"}.check(t, "Prepare", err)
	if len(e.Truth()) > 0 {
		t.Errorf("turned %+v", e.Truth())
	}
	faults(t, sim, simulator.Faults{}) // mended
	resume(t, another(t, sim), unit, intent)
	if len(e.Truth()) != 1 {
		t.Errorf("turned %+v", e.Truth())
	}
}

func TestAutomation_EditsOfOthersAtTheSameTime(t *testing.T) {
	t.Parallel()
	e := modernEstate()
	sim, c := startSimulator(t, simulator.Config{Estate: e, Faults: simulator.Faults{Agents: simulator.Agents{Conflict: 1}}})
	unit := idOf(modernUnits(e)[0])
	intent := prepared(t, c, unit)
	err := c.Apply(t.Context(), unit, intent)
	want{transient, false, "concurrent_modification", time.Second, "409 AUTOMATION_CONFIG_CONCURRENT_MODIFICATION"}.check(t, "Apply", err)
	want{ambiguous, false, "concurrent_modification", time.Second, "may have been sent before"}.check(t, "Apply again", c.Apply(t.Context(), unit, intent))
	if e, ok := errors.AsType[*keyturn.SystemError](c.Apply(t.Context(), unit, intent)); !ok || !e.Earlier {
		t.Errorf("%+v does not say that this call changed nothing", e)
	}
	if len(e.Truth()) > 0 {
		t.Errorf("turned %+v", e.Truth())
	}
	// Somebody edits all the time, on a server that lets the last one win.
	faults(t, sim, simulator.Faults{Agents: simulator.Agents{LastWins: true, Takes: keyturn.Duration(10 * time.Millisecond)}})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(7 * time.Millisecond)
		defer tick.Stop()
		for i := range 100 {
			if err := e.EditAutomation(project(unit), i%3 == 0); err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	resume(t, another(t, sim), unit, intent)
	close(stop)
	wg.Wait()
	if truth := e.Truth(); len(truth) != 1 || "kmip-rotated-at:"+truth[0].Timestamp != intent.Want {
		t.Errorf("turned %+v", truth)
	}
	if stats := cleanConfig(t, e); stats.Edits == 0 {
		t.Errorf("%+v", stats)
	}
}

func TestAutomation_NothingIsSentLate(t *testing.T) {
	t.Parallel()
	e := modernEstate()
	_, c := startSimulator(t, simulator.Config{Estate: e})
	unit := idOf(modernUnits(e)[0])
	intent := prepared(t, c, unit)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if err := c.Apply(ctx, unit, intent); kindOf(err) != transient {
		t.Errorf("Apply: %v", err)
	}
	if stats := cleanConfig(t, e); stats.Published > 0 {
		t.Errorf("%+v", stats)
	}
}

func TestAutomation_TasksOfAProjectAskOnceForAll(t *testing.T) {
	t.Parallel()
	e := simulator.NewEstate(simulator.EstateConfig{Seed: 1, Projects: 1, ModernReplicaSetsPerProject: 200})
	sim, c := startSimulator(t, simulator.Config{Estate: e})
	var wg sync.WaitGroup
	for _, u := range e.Units() {
		wg.Go(func() {
			if _, err := c.Prepare(t.Context(), idOf(u), keyturn.ID{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := sim.Stats().Requests; n > 30 {
		t.Errorf("%d requests for 200 units", n)
	}
}

func TestAutomation_TheTimeIsLaterThanAllBefore(t *testing.T) {
	t.Parallel()
	e := modernEstate()
	sim, c := startSimulator(t, simulator.Config{Estate: e})
	unit := idOf(modernUnits(e)[0])
	last := ""
	for range 3 { // within one second
		intent := prepared(t, c, unit)
		if intent.Want <= last || last != "" && intent.Before != last {
			t.Errorf("%s after %s", intent.Want, last)
		}
		last = intent.Want
		if err := c.Apply(t.Context(), unit, intent); err != nil {
			t.Fatal(err)
		}
		confirmed(t, c, unit, intent)
	}
	// Also a clock that is far off changes nothing: the server's counts.
	off := another(t, sim, func(cfg *opsmanager.Config) { cfg.Now = func() time.Time { return time.Now().Add(-48 * time.Hour) } })
	if intent := prepared(t, off, unit); intent.Want <= last {
		t.Errorf("%s after %s", intent.Want, last)
	}
	ahead := another(t, sim, func(cfg *opsmanager.Config) { cfg.Now = func() time.Time { return time.Now().Add(48 * time.Hour) } })
	if at, ok := keyturn.KeyMarkerTime(prepared(t, ahead, unit).Want); !ok || time.Until(at) > time.Hour {
		t.Errorf("a time in the future: %s", at)
	}
}

func TestAutomation_RotationsOfOthersAreSeen(t *testing.T) {
	t.Parallel()
	e := modernEstate()
	sim, c := startSimulator(t, simulator.Config{Estate: e})
	u := modernUnits(e)[0]
	_, doc, err := e.Automation(u.ProjectID)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Current(t.Context(), idOf(u))
	if err != nil {
		t.Fatal(err)
	}
	intent := prepared(t, c, idOf(u))
	other := another(t, sim)
	theirs := rotate(t, other, idOf(u)) // as somebody at the web pages does
	if key, err := another(t, sim).Current(t.Context(), idOf(u)); err != nil || key != theirs.Key || key == first {
		t.Errorf("Current = %s, %v", key, err)
	}
	// Ours, from before, is at most as new: the key was turned since, nothing is sent.
	if theirs.Key >= intent.Want {
		if sight, err := another(t, sim).Confirm(t.Context(), idOf(u), intent); err != nil || sight.Progress != keyturn.ProgressDone || sight.Key != theirs.Key {
			t.Errorf("Confirm = %+v, %v", sight, err)
		}
	}
	if bytes.Contains(doc, []byte("kmip-rotated-at")) {
		t.Error("the marker got into the config")
	}
}

func TestAutomation_IntentsThatAreNotUnderstood(t *testing.T) {
	t.Parallel()
	e := modernEstate()
	_, c := startSimulator(t, simulator.Config{Estate: e})
	unit := idOf(modernUnits(e)[0])
	for _, data := range []string{`{`, `{}`, `{"way":"telepathy","timestamp":"2026-01-01T00:00:00Z","replicaSet":"x","members":["a"]}`} {
		intent := keyturn.Intent{Before: "a", Want: "b", Data: []byte(data)}
		if err := c.Apply(t.Context(), unit, intent); err == nil || !strings.Contains(err.Error(), "intent") {
			t.Errorf("Apply(%s): %v", data, err)
		}
		if _, err := c.Confirm(t.Context(), unit, intent); kindOf(err) != permanent {
			t.Errorf("Confirm(%s): %v", data, err)
		}
	}
}

func TestCloudManager_TurnsThroughAutomationOnly(t *testing.T) {
	t.Parallel()
	e := modernEstate()
	sim, err := simulator.Start(t.Context(), simulator.Config{Estate: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	c := another(t, sim, func(cfg *opsmanager.Config) { cfg.Target.System = keyturn.SystemCloudManager })
	units, err := c.Discover(t.Context(), keyturn.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	automated := map[string]bool{}
	for _, u := range modernUnits(e) {
		automated[idOf(u)] = true
	}
	for _, u := range units {
		if u.Rotatable != automated[u.ID] || u.System != keyturn.SystemCloudManager {
			t.Errorf("unit %+v", u)
		}
		if u.FCV == "4.0" && !strings.Contains(u.Reason, "Cloud Manager is not known to") {
			t.Errorf("unit %s: %q", u.ID, u.Reason)
		}
		if !u.Rotatable {
			if _, err := c.Prepare(t.Context(), u.ID, keyturn.ID{}); kindOf(err) != permanent {
				t.Errorf("Prepare of a unit that can't be turned: %v", err)
			}
		}
	}
	rotate(t, c, idOf(modernUnits(e)[0]))
	if n := sim.Stats().Endpoints["GET /groups/{id}/backupConfigs"]; n > 0 {
		t.Errorf("backups were asked for %d times", n)
	}
	if _, err := opsmanager.New(opsmanager.Config{Target: keyturn.Target{Name: "cm", System: keyturn.SystemCloudManager}, PublicKey: "a", PrivateKey: "b"}); err != nil {
		t.Errorf("without a URL: %v", err)
	}
}
