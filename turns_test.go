package keyturn_test

import (
	"slices"
	"testing"

	"github.com/keyturn/keyturn"
)

func TestTurns(t *testing.T) {
	unit := func(project string, rotatable, alone bool) *keyturn.Unit {
		return &keyturn.Unit{ProjectID: project, Rotatable: rotatable, Alone: alone}
	}
	var turns keyturn.Turns
	next := func(n int, u *keyturn.Unit) (got []int) {
		for range n {
			got = append(got, turns.Next(u))
		}
		return got
	}
	for _, c := range []struct {
		name string
		got  []int
		want []int
	}{
		{"a project's first units come in a row", next(16, unit("a", true, false)), slices.Repeat([]int{1}, 16)},
		{"its next ones wait for other projects'", next(17, unit("a", true, false)), append(slices.Repeat([]int{2}, 16), 3)},
		{"which have turns of their own", next(2, unit("b", true, false)), []int{1, 1}},
		{"what can't be rotated takes no place", next(2, unit("a", false, false)), []int{1, 1}},
		{"units that keep each other waiting come one by one", next(3, unit("c", true, true)), []int{1, 2, 3}},
		{"and others after them", next(1, unit("c", true, false)), []int{4}},
		{"one of them ends a row", append(next(1, unit("b", true, true)), next(1, unit("b", true, false))...), []int{1, 2}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: turns %v, want %v", c.name, c.got, c.want)
		}
	}
}
