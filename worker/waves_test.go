package worker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/keyturn/keyturn"
)

// wavesOf makes clusters of one config server replica set and so many shards each.
func wavesOf(projects, clusters, shards int) []keyturn.Unit {
	var units []keyturn.Unit
	for p := range projects {
		for c := range clusters {
			for n := range shards + 1 {
				u := keyturn.Unit{
					ID: fmt.Sprintf("om.p%d.%d-%d", p, c, n), Target: "om", ProjectID: fmt.Sprintf("p%d", p), ClusterID: fmt.Sprintf("%d-%d", c, n),
					ClusterName: fmt.Sprintf("c%d", c), Component: keyturn.ComponentShard, Rotatable: true,
				}
				if n == 0 {
					u.Component = keyturn.ComponentConfig
				}
				units = append(units, u)
			}
		}
	}
	return units
}

func TestInWaves(t *testing.T) {
	t.Parallel()
	three := 3
	tests := []struct {
		name    string
		rollout keyturn.Rollout
		units   []keyturn.Unit
		sizes   []int
		canary  int // waves
	}{
		{"only failures are bounded", keyturn.Rollout{MaxFailures: &three}, wavesOf(2, 2, 1), []int{8}, 0},
		{"a canary", keyturn.Rollout{Canary: 1}, wavesOf(2, 2, 1), []int{1, 7}, 1},
		{"all are canaries", keyturn.Rollout{Canary: 10}, wavesOf(2, 2, 1), []int{8}, 1},
		{"quarters", keyturn.Rollout{Batch: "25%"}, wavesOf(2, 5, 0), []int{3, 3, 3, 1}, 0},
		{"a number", keyturn.Rollout{Batch: "4"}, wavesOf(1, 10, 0), []int{4, 4, 2}, 0},
		{"canary and halves", keyturn.Rollout{Canary: 1, Batch: "50%"}, wavesOf(1, 10, 0), []int{1, 5, 4}, 1},
		{"more than there are", keyturn.Rollout{Batch: "500"}, wavesOf(1, 10, 0), []int{10}, 0},
		{"clusters stay together", keyturn.Rollout{Batch: "5"}, wavesOf(1, 3, 2), []int{3, 3, 3}, 0},
		{"gaps are filled", keyturn.Rollout{Batch: "3"}, append(wavesOf(1, 2, 1), wavesOf(2, 2, 0)[2:]...), []int{3, 3}, 0},
		{"a large cluster is split", keyturn.Rollout{Batch: "4"}, wavesOf(1, 1, 9), []int{4, 4, 2}, 0},
		{"an order makes stages", keyturn.Rollout{Order: keyturn.OrderConfigFirst}, wavesOf(2, 2, 2), []int{4, 8}, 0},
		{"an order of nothing", keyturn.Rollout{Order: keyturn.OrderConfigFirst}, shardsOnly(wavesOf(2, 2, 2)), []int{8}, 0},
		{"a canary of the first kind", keyturn.Rollout{Order: keyturn.OrderShardsFirst, Canary: 1}, wavesOf(1, 1, 2), []int{1, 1, 1}, 1},
		{"a canary of both kinds", keyturn.Rollout{Order: keyturn.OrderConfigFirst, Canary: 2}, wavesOf(1, 1, 2), []int{1, 1, 1}, 2},
		{"canaries that need not wait", keyturn.Rollout{Order: keyturn.OrderConfigFirst, Canary: 2}, wavesOf(1, 2, 1), []int{2, 2}, 1},
		{"nothing", keyturn.Rollout{Canary: 1, Batch: "25%"}, nil, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.rollout.PauseBetween = 5
			plan, err := inWaves(tt.rollout, tt.units)
			if err != nil {
				t.Fatal(err)
			}
			var sizes []int
			for _, wave := range plan.Waves {
				sizes = append(sizes, len(wave.Units))
			}
			if !slices.Equal(sizes, tt.sizes) || plan.Canary != tt.canary {
				t.Errorf("waves of %v, %d of them canaries; want %v and %d", sizes, plan.Canary, tt.sizes, tt.canary)
			}
			checkWaves(t, tt.rollout, tt.units, plan)
		})
	}
}

func shardsOnly(units []keyturn.Unit) []keyturn.Unit {
	return slices.DeleteFunc(units, func(u keyturn.Unit) bool { return u.Component != keyturn.ComponentShard })
}

// checkWaves holds what every plan must: each unit once, no batch too large, the order within clusters, no pause
// within a batch.
func checkWaves(t *testing.T, r keyturn.Rollout, units []keyturn.Unit, plan keyturn.RolloutPlan) {
	t.Helper()
	size, err := r.Batch.Size(len(units))
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]int{}
	batch := 0
	for i, wave := range plan.Waves {
		if wave.Pause > 0 || i == plan.Canary {
			batch = 0
		}
		if batch += len(wave.Units); batch > max(size, r.Canary) {
			t.Errorf("wave %d makes a batch of %d, larger than %d", i+1, batch, size)
		}
		for _, u := range wave.Units {
			if numbers[u.ID] != 0 {
				t.Errorf("unit %s comes twice", u.ID)
			}
			numbers[u.ID] = i + 1
		}
	}
	if len(plan.Waves) > 0 && plan.Waves[0].Pause != 0 {
		t.Error("the first wave waits")
	}
	if len(numbers) != len(units) {
		t.Errorf("%d units in the waves, want %d", len(numbers), len(units))
	}
	for _, u := range units {
		for _, v := range units {
			if clusterOf(u) == clusterOf(v) && second(r.Order, v) && !second(r.Order, u) && numbers[v.ID] <= numbers[u.ID] {
				t.Errorf("%s in wave %d must wait for %s in wave %d", v.ID, numbers[v.ID], u.ID, numbers[u.ID])
			}
		}
	}
}

// All mixes of small rollouts over estates of many shapes keep the rules.
func TestInWaves_KeepsItsRules(t *testing.T) {
	t.Parallel()
	for _, order := range []keyturn.Order{"", keyturn.OrderAny, keyturn.OrderConfigFirst, keyturn.OrderShardsFirst} {
		for canary := range 6 {
			for _, batch := range []keyturn.Batch{"", "1", "2", "3", "7", "10%", "34%", "100%"} {
				for _, units := range [][]keyturn.Unit{
					wavesOf(1, 1, 0), wavesOf(1, 1, 5), wavesOf(3, 2, 2), wavesOf(2, 7, 1), append(wavesOf(1, 2, 4), wavesOf(3, 3, 0)[3:]...),
				} {
					r := keyturn.Rollout{Canary: canary, Batch: batch, Order: order, PauseBetween: 1}
					plan, err := inWaves(r, units)
					if err != nil {
						t.Fatal(err)
					}
					checkWaves(t, r, units, plan)
				}
			}
		}
	}
}

func TestNumbered_ShowsTheWaveOfEachUnit(t *testing.T) {
	t.Parallel()
	units := wavesOf(1, 3, 0)
	units[1].Rotatable, units[1].Reason = false, "backup is off"
	plan, err := inWaves(keyturn.Rollout{Canary: 1}, units)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range numbered(plan) {
		got = append(got, fmt.Sprint(u.ID, " ", u.Wave))
	}
	if want := []string{"om.p0.0-0 1", "om.p0.2-0 2", "om.p0.1-0 0"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
