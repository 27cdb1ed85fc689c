package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/storage/storagetest"
)

// BenchmarkAlertSweep measures one look at the ages of a million keys, of which some are past 90 days:
// when their alerts begin, and when they are all known.
func BenchmarkAlertSweep(b *testing.B) {
	const units = 1_000_000
	for _, old := range []int{0, units / 100, units} {
		b.Run(fmt.Sprintf("old=%d", old), func(b *testing.B) {
			now := time.Now()
			store := newStore(b, func() time.Time { return now })
			exec := func(statement string) {
				b.Helper()
				if err := store.Exec(b.Context(), statement); err != nil {
					b.Fatal(err)
				}
			}
			apply(b, store)
			exec(fmt.Sprintf(`INSERT INTO units SELECT 'om.p' || i / 100 || '.c' || i, 'om', 'ops-manager', 'p' || i / 100, 'project ' || i / 100,
				'c' || i, 'cluster ' || i / 3, 'shard', 'rs' || i, '4.0', true, '' FROM generate_series(1, %d) i`, units))
			exec(fmt.Sprintf(`INSERT INTO unit_keys (unit_id, key_id, key_since, key_exact) SELECT id, 'k',
				now() - CASE WHEN substr(cluster_id, 2)::int <= %d THEN interval '100 days' ELSE interval '10 days' END
				- random() * interval '5 days', true FROM units`, old))
			exec(`ANALYZE`)
			evaluate := func() time.Duration {
				b.Helper()
				now = now.Add(2 * time.Minute)
				begin := time.Now()
				if err := alerts.New(alerts.Config{Owner: "bench", Store: store}).Pass(b.Context()); err != nil {
					b.Fatal(err)
				}
				return time.Since(begin)
			}
			first := evaluate()
			exec(`ANALYZE alerts`)
			for b.Loop() {
				evaluate()
			}
			b.ReportMetric(first.Seconds(), "s/first")
		})
	}
}

func apply(b *testing.B, store storagetest.Store) {
	b.Helper()
	err := store.ApplyResources(b.Context(), []keyturn.ResourceChange{
		{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{"system":"ops-manager","url":"https://om.example.com"}`)},
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: []byte(`{"target":"om"}`)},
		{Kind: keyturn.KindPolicy, Name: "some", Spec: []byte(`{"target":"om","select":{"projects":["p1*"],"components":["shard"]},"alerts":{"warnAfter":"80d"}}`)},
	})
	if err != nil {
		b.Fatal(err)
	}
}
