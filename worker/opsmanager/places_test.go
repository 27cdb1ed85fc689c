package opsmanager

import "testing"

// What is asked ahead gets what the surveyors leave, and nobody gets more than there is.
func TestPlaces_AreAsManyAsTheTargetAllows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ concurrency, wanted, taken, spare int }{
		{1, 0, 0, 1}, {1, 5, 1, 0}, {0, 5, 1, 0}, {4, 5, 4, 0}, {5, 5, 5, 0}, {8, 5, 5, 3},
	} {
		p, taken := newPlaces(tt.concurrency, tt.wanted)
		spare := 0
		for p.spare() {
			spare++
		}
		if taken != tt.taken || spare != tt.spare {
			t.Errorf("%+v: %d are taken, %d to spare", tt, taken, spare)
		}
		p.leave()
		if !p.spare() || p.spare() {
			t.Errorf("%+v: one was left, and not one is to spare", tt)
		}
	}
}
