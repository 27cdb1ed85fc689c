package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// BenchmarkRetained works on 50,000 units with two keys and 20 snapshots each.
func BenchmarkRetained(b *testing.B) {
	const units = 50_000
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
	exec(`INSERT INTO unit_keys (unit_id, key_id, key_since) SELECT id, 'new-' || cluster_id, now() - interval '10 days' FROM units`)
	for i, key := range []string{"old-", "new-"} {
		exec(fmt.Sprintf(`INSERT INTO key_records (id, unit_id, key_id, previous_key_id, used_from, origin)
			SELECT gen_random_uuid(), id, '%s' || cluster_id, '', now() - interval '%d days', 'observed' FROM units`, key, 100-90*i))
	}
	exec(`INSERT INTO snapshots SELECT id, 's' || n, 'om', cluster_name, CASE WHEN n % 2 = 0 THEN 'old-' || cluster_id ELSE '' END,
		now() - n * interval '1 day', now() + n * interval '1 day', true, false, 1 FROM units, generate_series(1, 20) n`)
	exec(`ANALYZE`)
	b.Run("PageOf500", func(b *testing.B) {
		after := ""
		for b.Loop() {
			names, next, err := store.RetainedPage(b.Context(), keyturn.KeyFilter{Old: true, Page: keyturn.Page{After: after}})
			if err != nil || len(names) != 500 {
				b.Fatal(len(names), err)
			}
			after = next
			uses, err := store.KeyUses(b.Context(), names)
			if err != nil || len(uses) != 500 {
				b.Fatal(len(uses), err)
			}
			var windows []keyturn.NeedWindow
			for i, u := range uses {
				from, to := u.Window()
				windows = append(windows, keyturn.NeedWindow{Key: i, Unit: u.Unit.ID, From: from, To: to})
			}
			needs, err := store.KeyNeeds(b.Context(), names, windows)
			if err != nil || needs[0].Named != 10 {
				b.Fatalf("%+v, %v", needs[0], err)
			}
		}
	})
	b.Run("AuditOf100000", func(b *testing.B) {
		made := now.Add(-20 * keyturn.Day)
		for b.Loop() {
			n := 0
			for after := ""; ; {
				ids, err := store.KeysToAudit(b.Context(), "om", after, 1000)
				if err != nil {
					b.Fatal(err)
				}
				if len(ids) == 0 {
					break
				}
				states := make([]keyturn.KeyState, len(ids))
				for i, id := range ids {
					states[i] = keyturn.KeyState{KeyID: id, State: keyturn.KeyActive, InitialAt: &made}
				}
				if err := store.SaveKeyStates(b.Context(), "om", 1, states); err != nil {
					b.Fatal(err)
				}
				n, after = n+len(ids), ids[len(ids)-1]
			}
			if n != 2*units {
				b.Fatal(n)
			}
		}
		b.ReportMetric(float64(2*units*b.N)/b.Elapsed().Seconds(), "keys/s")
	})
}
