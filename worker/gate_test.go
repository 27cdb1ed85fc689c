package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestGate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
	network := &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "network", Err: errors.New("reset")}
	limited := &keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "rate_limited", RetryAfter: 10 * time.Second, Err: errors.New("429")}
	unit := &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "http_500", Err: errors.New("500")}

	t.Run("SingleLostConnectionsHoldNothing", func(t *testing.T) {
		t.Parallel()
		g := &gate{}
		for range 100 {
			if d := g.failure(network, now); d != 0 {
				t.Fatalf("held for %s", d)
			}
			g.success()
		}
	})

	t.Run("OutageHoldsLongerAndLonger", func(t *testing.T) {
		t.Parallel()
		g, at, last := &gate{}, now, time.Duration(0)
		for range 20 {
			at = at.Add(last) // asked again when the hold is over
			if d := g.failure(network, at); d > 0 {
				if d < last || d > gateLongest {
					t.Fatalf("held for %s after %s", d, last)
				}
				last = d
			}
		}
		if last != gateLongest {
			t.Errorf("the last hold is %s, want %s", last, gateLongest)
		}
	})

	t.Run("RateLimitHoldsAtOnceAndOnce", func(t *testing.T) {
		t.Parallel()
		g := &gate{}
		if d := g.failure(limited, now); d != 10*time.Second {
			t.Errorf("held for %s, want what was asked for", d)
		}
		if d := g.failure(limited, now.Add(time.Second)); d != 0 {
			t.Errorf("held again for %s by a call that was under way", d)
		}
		if d := g.held(now.Add(4 * time.Second)); d != 6*time.Second {
			t.Errorf("held for %s more, want 6s", d)
		}
		if d := g.held(now.Add(11 * time.Second)); d > 0 {
			t.Errorf("still held for %s", d)
		}
	})

	t.Run("TroubleOfOneUnitHoldsNothing", func(t *testing.T) {
		t.Parallel()
		g := &gate{}
		for range 100 {
			if d := g.failure(unit, now); d != 0 {
				t.Fatalf("held for %s", d)
			}
		}
	})
}
