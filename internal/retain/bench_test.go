package retain_test

import (
	"fmt"
	"testing"

	"github.com/keyturn/keyturn"
)

// BenchmarkAudit audits 100,000 keys of a history in SQLite at a server that answers at once: what is left is
// what Keyturn itself costs.
func BenchmarkAudit(b *testing.B) {
	w := newWorld(b, keyturn.SystemOpsManager)
	const units, group = 50_000, 1000
	w.kmip.keys = nil
	made := w.clock().Add(-day)
	w.kmip.life, w.kmip.made = keyturn.KeyActive, &made
	for n := 0; n < units; n += group {
		var some []keyturn.Unit
		var first, second []keyturn.Observation
		for i := n; i < n+group; i++ {
			id := fmt.Sprintf("om.p%d.c%d", i/100, i)
			some = append(some, keyturn.Unit{
				ID: id, Target: "om", System: keyturn.SystemOpsManager, ProjectID: fmt.Sprint("p", i/100), ClusterID: fmt.Sprint("c", i),
				Component: keyturn.ComponentShard, Rotatable: true,
			})
			first = append(first, keyturn.Observation{Unit: id, KeyID: fmt.Sprint("old-", i)})
			second = append(second, keyturn.Observation{Unit: id, Known: fmt.Sprint("old-", i), KeyID: fmt.Sprint("new-", i)})
		}
		w.ok(w.store.SaveUnits(b.Context(), some))
		for _, seen := range [][]keyturn.Observation{first, second} {
			_, err := w.store.Observe(b.Context(), seen)
			w.ok(err)
		}
	}
	for b.Loop() {
		if a := w.do(keyturn.JobAudit).Audit(); a.Keys != 2*units || a.States[keyturn.KeyActive] != 2*units {
			b.Fatalf("audit is %+v", a)
		}
	}
	b.ReportMetric(float64(2*units*b.N)/b.Elapsed().Seconds(), "keys/s")
}

// BenchmarkKeys lists a page of 500 keys, each with a hundred snapshots.
func BenchmarkKeys(b *testing.B) {
	w := newWorld(b, keyturn.SystemOpsManager)
	for i := range 300 {
		unit := w.unit(i, fmt.Sprint("old-", i), fmt.Sprint("new-", i))
		var many []keyturn.Snapshot
		for n := range 100 {
			many = append(many, w.snapshot(fmt.Sprint("s", n), "", -day, day))
		}
		w.sys.has(unit, many...)
	}
	w.do(keyturn.JobSnapshots)
	for b.Loop() {
		keys, _, err := w.keeper.Keys(b.Context(), keyturn.KeyFilter{})
		if err != nil || len(keys) != 500 {
			b.Fatal(len(keys), err)
		}
	}
}
