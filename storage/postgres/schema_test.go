package postgres_test

import (
	"strings"
	"testing"
	"time"

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
