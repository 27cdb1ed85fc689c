package demo

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
)

// prove lets what is under way end and compares the history with the record
// that the simulated estate keeps of every change.
func (d *demo) prove(ctx context.Context) error {
	d.screen.status("")
	for _, policy := range []string{policyName, cloudPolicy} {
		if _, err := d.client.Pause(ctx, policy, client.Pause{Note: "the demo ends"}); err != nil {
			return fmt.Errorf("pausing the demo's policy: %w", err)
		}
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	history, err := d.client.History(ctx, keyturn.HistoryFilter{})
	if err != nil {
		return fmt.Errorf("reading the history: %w", err)
	}
	open, changes, byAgents := d.truth()
	recorded := 0
	for _, k := range history {
		if k.Origin != keyturn.OriginRotated {
			continue
		}
		recorded++
		target, project, cluster, err := keyturn.SplitUnitID(k.Unit)
		if err != nil {
			return err
		}
		if target == cloudTarget {
			cluster = project + "." + cluster
		}
		after := cmp.Or(byAgents[k.KeyID], k.KeyID)
		if keyturn.IsKeyMarker(after) {
			open[turn{cluster: cluster, after: after}]--
			continue
		}
		open[turn{cluster, k.PreviousKeyID, k.KeyID}]--
	}
	differences := 0
	for _, n := range open {
		differences += max(n, -n)
	}
	d.screen.line("")
	d.screen.line("Proof: the estate carried out %d changes, the history has %d; %d differ.", changes, recorded, differences)
	if differences > 0 {
		return fmt.Errorf("the history differs from the estate in %d changes", differences)
	}
	return nil
}

// turn is one change of a key.
type turn struct{ cluster, before, after string }

// truth returns what the simulated estates have carried out, and how the history calls the keys that agents made.
func (d *demo) truth() (open map[turn]int, changes int, byAgents map[string]string) {
	open, byAgents = map[turn]int{}, map[string]string{}
	for _, r := range d.sim.Truth() {
		changes++
		if r.By == simulator.ByAutomation { // the history knows these by their time, and by their ids later
			byAgents[r.KeyAfter] = keyturn.KeyMarkerPrefix + r.Timestamp
			open[turn{cluster: r.ClusterID, after: byAgents[r.KeyAfter]}]++
			continue
		}
		open[turn{r.ClusterID, r.KeyBefore, r.KeyAfter}]++
	}
	for _, r := range d.cloud.Atlas.Truth() {
		changes++
		open[turn{r.ProjectID + "." + r.Provider, r.KeyBefore, r.KeyAfter}]++
	}
	return open, changes, byAgents
}

// settle waits until nothing is in flight: a change without a record yet is
// then either in the history or was never made.
func (d *demo) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endingWait)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		busy, err := d.inFlight(ctx, policyName)
		if err == nil && !busy {
			busy, err = d.inFlight(ctx, cloudPolicy)
		}
		if err != nil {
			return err
		}
		if !busy {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("a rotation was still under way %s after the end was asked for", endingWait)
		case <-ticker.C:
		}
	}
}

func (d *demo) inFlight(ctx context.Context, policy string) (bool, error) {
	latest, err := d.client.Rotations(ctx, policy, string(keyturn.RotationRunning), 10)
	if err != nil {
		return false, fmt.Errorf("looking at the rotations: %w", err)
	}
	for _, r := range latest {
		tasks, err := d.client.Tasks(ctx, r.ID.String())
		if err != nil {
			return false, fmt.Errorf("looking at the tasks: %w", err)
		}
		for _, t := range tasks {
			if t.State == keyturn.TaskIntended {
				return true, nil
			}
		}
	}
	return false, nil
}
