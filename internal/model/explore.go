package model

import (
	"fmt"
	"slices"
)

// Found is what Explore found.
type Found struct {
	States int
	// Broken is a promise that does not hold; empty: all hold in every state.
	Broken string
	// Trace is the shortest way there.
	Trace []string
}

// Explore visits every state that a number of tasks (1 or 2) on one unit can be in, and looks whether the
// promises hold. It gives up with an error when there are more states than limit.
func (r Rules) Explore(tasks, limit int, promises ...string) (Found, error) {
	first := start(tasks)
	x := exploration{rules: r, index: map[state]int32{first: 0}, from: []origin{{parent: -1}}, states: []state{first}}
	for i := 0; i < len(x.states); i++ { // grows as it goes
		if broken := check(x.states[i], promises); broken != "" {
			return Found{States: len(x.states), Broken: broken, Trace: x.trace(i)}, nil
		}
		x.expand(i)
		if len(x.states) > limit {
			return Found{}, fmt.Errorf("more than %d states", limit)
		}
	}
	found := Found{States: len(x.states)}
	if slices.Contains(promises, Ending) {
		if i := x.forgotten(); i >= 0 {
			found.Broken, found.Trace = Ending, x.trace(i)
		}
	}
	return found, nil
}

type exploration struct {
	rules  Rules
	index  map[state]int32
	states []state
	from   []origin
	edges  [][2]int32
}

// origin is how a state was reached first: by which of its parent's moves.
type origin struct {
	parent int32
	move   int32
}

func (x *exploration) expand(i int) {
	for n, m := range x.rules.moves(x.states[i]) {
		to, known := x.index[m.next]
		if !known {
			to = int32(len(x.states)) //nolint:gosec // bounded by Explore's limit
			x.index[m.next] = to
			x.states = append(x.states, m.next)
			x.from = append(x.from, origin{parent: int32(i), move: int32(n)}) //nolint:gosec // the same
		}
		x.edges = append(x.edges, [2]int32{int32(i), to}) //nolint:gosec // the same
	}
}

func (x *exploration) trace(i int) []string {
	var names []string
	for at := x.from[i]; at.parent >= 0; at = x.from[at.parent] {
		names = append(names, x.rules.moves(x.states[at.parent])[at.move].String())
	}
	slices.Reverse(names)
	return names
}

// forgotten returns the first state from which no way leads to one where all tasks have ended, or -1.
func (x *exploration) forgotten() int {
	slices.SortFunc(x.edges, func(a, b [2]int32) int { return int(a[1] - b[1]) })
	reaches := make([]bool, len(x.states))
	var todo []int32
	for i, s := range x.states {
		if !slices.ContainsFunc(s.rows[:], func(r row) bool { return !r.phase.final() }) {
			reaches[i] = true
			todo = append(todo, int32(i))
		}
	}
	for len(todo) > 0 {
		to := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		at, _ := slices.BinarySearchFunc(x.edges, to, func(e [2]int32, to int32) int { return int(e[1] - to) })
		for ; at < len(x.edges) && x.edges[at][1] == to; at++ {
			if from := x.edges[at][0]; !reaches[from] {
				reaches[from] = true
				todo = append(todo, from)
			}
		}
	}
	return slices.Index(reaches, false)
}

// The promises.
const (
	Once      = "once"      // a task changes its unit at most once
	True      = "true"      // what is recorded as turned was turned
	Untouched = "untouched" // a task that counts as not begun has nothing under way
	Explained = "explained" // a person is asked only when the system does not show the change
	Ending    = "ending"    // every task can still end
	OneKey    = "one key"   // at most one key is made for a task
)

// check names the promise that a state breaks, or answers "".
func check(s state, promises []string) string {
	for t, row := range s.rows {
		broken := [...]struct {
			promise string
			is      bool
		}{
			{Once, s.made[t] > 1},
			{True, row.phase == succeeded && s.made[t] != 1},
			{OneKey, s.keys[t] > 1},
			{Untouched, row.phase == pending && (s.made[t] > 0 || s.underWay(t))},
			{Explained, row.phase == parked && s.made[t] > 0 && s.key == s.shown},
		}
		for _, b := range broken {
			if b.is && slices.Contains(promises, b.promise) {
				return b.promise
			}
		}
	}
	return ""
}

func (s state) underWay(t int) bool {
	return slices.ContainsFunc(s.puts[:], func(p put) bool { return p.there && int(p.task) == t })
}
