package worker

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/keyturn/keyturn"
)

// TestInTurn compares with the plain way: a list for each project, of which the first ones are taken, then the next.
func TestInTurn(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var units []keyturn.Unit
		for i := range r.IntN(200) {
			units = append(units, keyturn.Unit{ID: fmt.Sprint(i), ProjectID: fmt.Sprint(r.IntN(1 + r.IntN(12)))})
		}
		byProject, projects := map[string][]string{}, []string{}
		for _, u := range units {
			if byProject[u.ProjectID] == nil {
				projects = append(projects, u.ProjectID)
			}
			byProject[u.ProjectID] = append(byProject[u.ProjectID], u.ID)
		}
		var want, got []string
		for turn := range units {
			for _, p := range projects {
				of := byProject[p]
				want = append(want, of[min(16*turn, len(of)):min(16*turn+16, len(of))]...)
			}
		}
		for _, u := range inTurn(units) {
			got = append(got, u.ID)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestInParts(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var units []keyturn.Unit
		for p := range 1 + r.IntN(6) {
			for c := range r.IntN(12) {
				for range 1 + r.IntN(7) {
					u := keyturn.Unit{ID: fmt.Sprint(len(units)), ProjectID: fmt.Sprint(p), ClusterName: fmt.Sprint(c), Rotatable: true, Alone: r.IntN(3) == 0}
					if r.IntN(10) == 0 {
						u.ClusterName = "" // of none
					}
					units = append(units, u)
				}
			}
		}
		checkParts(t, units, 1+r.IntN(30))
	}
}

// checkParts wants the units in the order of their turns, in parts of some size that no cluster is divided between.
func checkParts(t *testing.T, units []keyturn.Unit, size int) {
	t.Helper()
	turn := map[string]int{}
	for i, u := range inTurn(slices.Clone(units)) {
		turn[u.ID] = i
	}
	parts, left, seen := inParts(units, size), len(units), map[string]int{}
	for i, part := range parts {
		left -= len(part)
		if len(part) < size && i+1 < len(parts) || len(part) == 0 && len(parts) > 1 {
			t.Fatalf("part %d of %d has %d units, want %d or more", i+1, len(parts), len(part), size)
		}
		for n, u := range part {
			if n > 0 && turn[u.ID] < turn[part[n-1].ID] {
				t.Fatalf("part %d: unit %s comes after %s, whose turn is later", i+1, u.ID, part[n-1].ID)
			}
			cluster := u.ProjectID + "/" + cmp.Or(u.ClusterName, "unit "+u.ID)
			if in, ok := seen[cluster]; ok && in != i {
				t.Fatalf("cluster %s is in parts %d and %d", cluster, in+1, i+1)
			}
			if _, ok := seen[cluster]; !ok && i > 0 && turn[u.ID] < turn[parts[i-1][0].ID] {
				t.Fatalf("unit %s waits for part %d without need", u.ID, i+1)
			}
			seen[cluster] = i
		}
	}
	if left != 0 {
		t.Fatalf("%d units are in no part", left)
	}
}
