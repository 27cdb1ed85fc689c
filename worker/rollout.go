package worker

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// inWaves puts units into the waves of a rollout. A batch is one wave, or two where the order splits
// it: then no component of the second kind begins before those of the first kind, of its cluster, have ended.
func inWaves(r keyturn.Rollout, units []keyturn.Unit) (keyturn.RolloutPlan, error) {
	plan := keyturn.RolloutPlan{MaxFailures: r.MaxFailures}
	var rotatable []keyturn.Unit
	for _, u := range units {
		if u.Rotatable {
			rotatable = append(rotatable, u)
		} else {
			plan.Skipped = append(plan.Skipped, u)
		}
	}
	size, err := r.Batch.Size(len(rotatable))
	if err != nil {
		return plan, fmt.Errorf("batch: %w", err)
	}
	clusters := byCluster(r.Order, rotatable)
	add := func(batch []keyturn.Unit) {
		pause := r.PauseBetween
		if len(plan.Waves) == 0 {
			pause = 0
		}
		for _, stage := range stages(r.Order, batch) {
			plan.Waves = append(plan.Waves, keyturn.PlannedWave{Units: inTurn(stage), Pause: pause})
			pause = 0
		}
	}
	if canary, left := takeCanary(r, clusters); len(canary) > 0 {
		clusters = left
		add(canary)
		plan.Canary = len(plan.Waves)
	}
	for _, batch := range batches(clusters, size) {
		add(batch)
	}
	return plan, nil
}

// numbered returns the units of a plan in its order, each with the number of its wave.
func numbered(plan keyturn.RolloutPlan) []keyturn.Unit {
	var units []keyturn.Unit
	for i, wave := range plan.Waves {
		for _, u := range wave.Units {
			u.Wave = i + 1
			units = append(units, u)
		}
	}
	return append(units, plan.Skipped...)
}

// second reports whether the unit must wait for others of its cluster.
func second(order keyturn.Order, u keyturn.Unit) bool {
	switch order {
	case keyturn.OrderConfigFirst:
		return u.Component == keyturn.ComponentShard
	case keyturn.OrderShardsFirst:
		return u.Component == keyturn.ComponentConfig
	default:
		return false
	}
}

type clusterKey struct{ target, project, cluster string }

func clusterOf(u keyturn.Unit) clusterKey {
	if u.ClusterName == "" { // nothing says that it belongs to others
		return clusterKey{u.Target, u.ProjectID, "\x00" + u.ClusterID}
	}
	return clusterKey{u.Target, u.ProjectID, u.ClusterName}
}

// byCluster groups units by cluster: every project's first cluster, then every project's second. Within a
// cluster the units are in the order in which they must be turned.
func byCluster(order keyturn.Order, units []keyturn.Unit) [][]keyturn.Unit {
	at := map[clusterKey]int{}
	var clusters [][]keyturn.Unit
	for _, u := range units {
		i, ok := at[clusterOf(u)]
		if !ok {
			i = len(clusters)
			at[clusterOf(u)] = i
			clusters = append(clusters, nil)
		}
		clusters[i] = append(clusters[i], u)
	}
	turns := map[string]int{} // of clusters within their project
	turn := make(map[clusterKey]int, len(clusters))
	for _, c := range clusters {
		slices.SortStableFunc(c, func(a, b keyturn.Unit) int { return cmp.Compare(number(second(order, a)), number(second(order, b))) })
		turns[c[0].ProjectID]++
		turn[clusterOf(c[0])] = turns[c[0].ProjectID]
	}
	slices.SortStableFunc(clusters, func(a, b []keyturn.Unit) int { return cmp.Compare(turn[clusterOf(a[0])], turn[clusterOf(b[0])]) })
	return clusters
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// takeCanary takes the canary's units from as few clusters as possible: units that need not wait for others
// first, then, if there are not enough of those, the ones after them.
func takeCanary(r keyturn.Rollout, clusters [][]keyturn.Unit) (canary []keyturn.Unit, left [][]keyturn.Unit) {
	rest := slices.Clone(clusters)
	for _, others := range []bool{false, true} {
		for i, c := range rest {
			n := 0
			for n < len(c) && len(canary)+n < r.Canary && (others || !second(r.Order, c[n]) || second(r.Order, clusters[i][0])) {
				n++
			}
			canary, rest[i] = append(canary, c[:n]...), c[n:]
		}
	}
	return canary, slices.DeleteFunc(rest, func(c []keyturn.Unit) bool { return len(c) == 0 })
}

// batches fills batches of at most size units with whole clusters, each in the first batch that has room. A
// cluster that is larger than a batch is split over new ones, in its order.
func batches(clusters [][]keyturn.Unit, size int) [][]keyturn.Unit {
	var all [][]keyturn.Unit
	var open []int // batches with room
	for _, c := range clusters {
		fit := -1
		if len(c) <= size {
			fit = slices.IndexFunc(open, func(i int) bool { return len(all[i])+len(c) <= size })
		}
		for len(c) > size {
			all = append(all, c[:size:size])
			c = c[size:]
		}
		if fit < 0 {
			fit, all = len(open), append(all, nil)
			open = append(open, len(all)-1)
		}
		i := open[fit]
		all[i] = append(all[i], c...)
		if len(all[i]) == size {
			open = slices.Delete(open, fit, fit+1)
		}
	}
	return all
}

// stages splits a batch in two where units of it must wait for others of it.
func stages(order keyturn.Order, batch []keyturn.Unit) [][]keyturn.Unit {
	awaited := map[clusterKey]bool{}
	for _, u := range batch {
		if !second(order, u) {
			awaited[clusterOf(u)] = true
		}
	}
	var now, later []keyturn.Unit
	for _, u := range batch {
		if second(order, u) && awaited[clusterOf(u)] {
			later = append(later, u)
		} else {
			now = append(now, u)
		}
	}
	if len(later) == 0 {
		return [][]keyturn.Unit{now}
	}
	return [][]keyturn.Unit{now, later}
}

// rollOut opens waves and halts rollouts.
func (s *sweeper) rollOut(ctx context.Context) error {
	moved, halted, err := s.store.AdvanceRollouts(ctx)
	for _, r := range halted {
		s.metrics.halted.WithLabelValues(r.Policy).Inc()
		s.log.Warn("rollout halted", zap.Stringer("rotation", r.ID), zap.String("policy", r.Policy), zap.String("reason", r.Trouble))
	}
	for _, r := range moved {
		if r.Wave == nil || r.Wave.NextAt != nil {
			continue // its pause has begun
		}
		s.metrics.waves.WithLabelValues(r.Policy).Inc()
		s.log.Info("wave begins", zap.Stringer("rotation", r.ID), zap.String("policy", r.Policy),
			zap.Int("wave", r.Wave.Current), zap.Int("of", r.Wave.Total))
		s.feed(r.Target)
	}
	return err
}
