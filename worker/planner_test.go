package worker

import (
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
