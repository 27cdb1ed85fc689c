package webtest_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// poses are projects of an estate as it is after a year: most are turned every quarter, some were forgotten.
var poses = []struct {
	name             string
	sharded, shards  int // clusters, and shards of each
	sets             int // replica sets
	youngest, oldest int // days
}{
	{"archive", 2, 4, 9, 330, 420},
	{"billing", 3, 6, 14, 3, 31},
	{"catalogue", 4, 8, 10, 12, 60},
	{"customers", 3, 8, 18, 40, 88},
	{"fraud", 2, 5, 8, 1, 9},
	{"identity", 2, 6, 22, 22, 44},
	{"ledger", 4, 10, 6, 61, 130},
	{"logistics", 3, 5, 16, 95, 240},
	{"messaging", 2, 7, 12, 4, 50},
	{"orders", 5, 9, 12, 30, 78},
	{"payments", 5, 8, 16, 1, 24},
	{"pricing", 2, 4, 11, 48, 97},
	{"reporting", 3, 6, 20, 150, 370},
	{"search", 2, 9, 9, 15, 86},
	{"telemetry", 4, 12, 8, 70, 112},
}

// pose puts an estate into the database as people have one, for the pictures.
func (w *things) pose(t *testing.T) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.data, "keyturn.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	// The same picture each time.
	dice := rand.New(rand.NewPCG(4, 2))
	n := 0
	unit := func(project, cluster, component, name string, days int) {
		n++
		id, rotatable, reason := fmt.Sprintf("om-emea.%024x.%024x", n, n), 1, ""
		key, since := fmt.Sprintf("key-%d", n), any(time.Now().Add(-time.Duration(days)*24*time.Hour-time.Duration(dice.IntN(86400))*time.Second).UnixMilli())
		switch dice.IntN(60) {
		case 0:
			rotatable, reason = 0, "its backup is switched off"
		case 1:
			key, since = "", nil
		}
		for _, q := range []struct {
			text string
			args []any
		}{
			{`INSERT INTO units (id, target, system, project_id, project_name, cluster_id, cluster_name, component, name, fcv, rotatable, reason)
				VALUES (?, 'om-emea', 'ops-manager', ?, ?, ?, ?, ?, ?, '4.0', ?, ?)`, []any{id, project, project, cluster, cluster, component, name, rotatable, reason}},
			{`INSERT INTO unit_keys (unit_id, key_id, key_since, key_exact) VALUES (?, ?, ?, ?)`, []any{id, key, since, min(1, len(key))}},
		} {
			if _, err := tx.ExecContext(t.Context(), q.text, q.args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range poses {
		for c := range p.sharded + p.sets {
			// A cluster is turned in one go; now and then one of its shards was left behind.
			days := p.youngest + dice.IntN(p.oldest-p.youngest+1)
			if c >= p.sharded {
				name := fmt.Sprintf("%s-rs%02d", p.name, c-p.sharded)
				unit(p.name, name, "replica-set", name, days)
				continue
			}
			cluster := fmt.Sprintf("%s-%02d", p.name, c)
			unit(p.name, cluster, "config", "config servers", days)
			for shard := range p.shards {
				late := days
				if dice.IntN(25) == 0 {
					late = min(420, days+90)
				}
				unit(p.name, cluster, "shard", fmt.Sprintf("shard%d", shard), late)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}
