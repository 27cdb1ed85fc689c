package keyturn_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestSpreadStaysPutAndSpreads(t *testing.T) {
	t.Parallel()
	const units, parts = 10_000, 10
	var counts [parts]int
	for i := range units {
		unit := fmt.Sprintf("om.p.c%05d", i)
		at := keyturn.Spread("quarterly", unit, time.Hour)
		if at < 0 || at >= time.Hour || at != keyturn.Spread("quarterly", unit, time.Hour) {
			t.Fatalf("unit %s is delayed by %s", unit, at)
		}
		counts[at*parts/time.Hour]++
	}
	for part, n := range counts {
		if n < units/parts*8/10 || n > units/parts*12/10 {
			t.Errorf("%d units in part %d of %d, want about %d", n, part, parts, units/parts)
		}
	}
	if keyturn.Spread("quarterly", "om.p.c1", 0) != 0 || keyturn.Spread("quarterly", "om.p.c1", -1) != 0 {
		t.Error("a delay without jitter")
	}
	if keyturn.Spread("quarterly", "om.p.c1", time.Hour) == keyturn.Spread("yearly", "om.p.c1", time.Hour) {
		t.Error("two policies delay a unit alike")
	}
}
