package worker

import (
	"cmp"
	"slices"

	"github.com/keyturn/keyturn"
)

// place is where a unit comes in the order of a plan. There are fewer units than an int32 counts: those fit into memory.
type place struct{ part, turn, project, unit int32 }

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.turn, b.turn), cmp.Compare(a.project, b.project), cmp.Compare(a.unit, b.unit))
}

// inTurn orders units, in their place, as their tasks are going to be handed out: every project's first ones, then every
// project's next ones. Tasks that are worked on together then lie together in the database.
func inTurn(units []keyturn.Unit) []keyturn.Unit {
	move(units, placesOf(units))
	return units
}

// inParts orders units, in their place, by their turns, and cuts them into parts of some size. A cluster is in one part as a whole: of
// a plan whose rest is never saved, none is left half turned without a task that says so.
func inParts(units []keyturn.Unit, size int) [][]keyturn.Unit {
	type cluster struct{ project, name string }
	places, parts := placesOf(units), map[cluster]int32{}
	sizes, last := []int{0}, 0
	for i := range places {
		u := &units[places[i].unit]
		part, begun := parts[cluster{u.ProjectID, u.ClusterName}]
		if !begun {
			if sizes[last] >= size {
				sizes, last = append(sizes, 0), last+1
			}
			part = int32(last)
			if u.ClusterName != "" {
				parts[cluster{u.ProjectID, u.ClusterName}] = part
			}
		}
		places[i].part = part
		sizes[part]++
	}
	slices.SortFunc(places, place.compare)
	move(units, places)
	out := make([][]keyturn.Unit, len(sizes))
	for i, n := range sizes {
		out[i], units = units[:n:n], units[n:]
	}
	return out
}

// placesOf finds the units' places, in their order.
func placesOf(units []keyturn.Unit) []place {
	places := make([]place, len(units))
	projects, turns := map[string]int32{}, keyturn.Turns{} // projects in the order in which they come
	for i := range units {
		project, ok := projects[units[i].ProjectID]
		if !ok {
			project = int32(len(projects)) //nolint:gosec // see place
			projects[units[i].ProjectID] = project
		}
		places[i] = place{turn: int32(turns.Next(&units[i])), project: project, unit: int32(i)} //nolint:gosec // see place
	}
	slices.SortFunc(places, place.compare)
	return places
}

// move brings each unit to its place by way of one that is free: a copy of a large plan would take as much memory again. It uses
// the places up.
func move(units []keyturn.Unit, places []place) {
	const done = -1
	for i := range places {
		if places[i].unit == done {
			continue
		}
		first, to := units[i], i
		for from := int(places[to].unit); from != i; from = int(places[to].unit) {
			units[to], places[to].unit, to = units[from], done, from
		}
		units[to], places[to].unit = first, done
	}
}
