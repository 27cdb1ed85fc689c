package sqlite_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite"
)

// TestContextThatEndsAtAnyTimeLeavesNoTransaction cancels calls from before their beginning to behind their end. The driver may answer that
// the context ended for a BEGIN that was carried out: if that transaction stayed open, nobody could write any more, or a
// connection would read for ever what was there then.
func TestContextThatEndsAtAnyTimeLeavesNoTransaction(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(ctx context.Context, s *sqlite.Store) error{
		"write": func(ctx context.Context, s *sqlite.Store) error {
			_, _, err := s.Request(ctx, keyturn.Request{Policy: "quarterly", Trigger: keyturn.TriggerManual, TriggerID: "a"}) // the same again
			return err
		},
		"read by key": func(ctx context.Context, s *sqlite.Store) error {
			_, err := s.KeysToAudit(ctx, "om", "", 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, nil)
			estate(t, s)
			for i := range 3000 {
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					for range i % 50 {
						runtime.Gosched()
					}
					cancel()
				}()
				_ = call(ctx, s)
				if err := call(t.Context(), s); err != nil {
					t.Fatalf("after %d calls that were cancelled: %v", i+1, err)
				}
			}
		})
	}
}

func TestPanicInATransactionLeavesNone(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	slot := keyturn.Slot{Local: "2026-03-01T12:00:00", Timezone: "UTC", At: time.Now().Add(-time.Minute)}
	if err := s.ApplyResources(t.Context(), []keyturn.ResourceChange{
		{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{}`)},
		{Kind: keyturn.KindPolicy, Name: "quarterly", Spec: []byte(`{"target":"om"}`), Next: &slot},
	}); err != nil {
		t.Fatal(err)
	}
	fire := func(before func()) (fired int, err error) {
		defer func() {
			if value := recover(); value != nil {
				err = fmt.Errorf("%v", value)
			}
		}()
		got, err := s.FireDue(t.Context(), 1, func(due keyturn.Due, _ time.Time) (keyturn.Firing, error) {
			before()
			return keyturn.Firing{Start: []keyturn.Start{{Slot: due.Slot}}}, nil
		})
		return len(got), err
	}
	if _, err := fire(func() { panic("for the test") }); err == nil || err.Error() != "for the test" {
		t.Fatalf("error is %v, want the panic", err)
	}
	if fired, err := fire(func() {}); err != nil || fired != 1 {
		t.Errorf("fired %d (%v), want the slot that was rolled back", fired, err)
	}
}
