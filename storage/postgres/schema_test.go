package postgres_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
)

func TestKeyRecords_CanNotBeTruncated(t *testing.T) {
	t.Parallel()
	err := newStore(t, nil).Exec(t.Context(), `TRUNCATE key_records`)
	if err == nil || !strings.Contains(err.Error(), "append-only") {
		t.Errorf("error is %v, want that the table is append-only", err)
	}
}

// The schema asks an intent for the key before it. A write without one must not take its batch down.
func TestIntend_HoldsWhatHasNoKeyBefore(t *testing.T) {
	t.Parallel()
	out, err := newStore(t, nil).Intend(t.Context(), []keyturn.IntentWrite{{Task: keyturn.NewID(time.Now()), Owner: "w"}})
	if err != nil || out[0].Verdict != keyturn.VerdictHeld {
		t.Errorf("answer is %v, %v; want held", out, err)
	}
}

// An intent and a result find room in the task's own page only as long as they change nothing that an index has, not even in
// its condition. What is put back or handed out by itself, and what ends without a new key, may touch one.
func TestTasks_IndexesKnowNothingThatAResultChanges(t *testing.T) {
	t.Parallel()
	store := newStore(t, nil)
	conn, err := pgx.Connect(t.Context(), store.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), `SELECT DISTINCT a.attname::text FROM pg_index i
		JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
		WHERE i.indrelid = 'tasks'::regclass AND d.refobjsubid > 0
		UNION SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
		WHERE i.indrelid = 'tasks'::regclass ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"back", "due", "handed_at", "id", "parked", "rotation_id", "target", "turn", "unit_id", "unturned"}
	if !slices.Equal(got, want) {
		t.Errorf("indexes of tasks know %v, want %v", got, want)
	}
}
