package worker_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
)

func TestKeyThatWasDisabledIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 1)
		defer b.close()
		defer b.start("w1")()
		key := keyturn.KeyRef{Target: "om", KeyID: "key-0"}
		if err := b.store.AskRetirement(t.Context(), key, "token:ann", "tidy"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		told := func() (events []string) {
			b.queue.mu.Lock()
			defer b.queue.mu.Unlock()
			for _, e := range b.queue.events {
				if e.Type == "key.retired" {
					events = append(events, string(e.Data))
				}
			}
			return events
		}
		if events := told(); len(events) != 0 {
			t.Fatalf("told %v before it was disabled", events)
		}
		if _, err := b.store.NoteRetired(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		events := told()
		if len(events) != 1 || !strings.Contains(events[0], `"keyId":"key-0"`) || !strings.Contains(events[0], `"requestedBy":"token:ann"`) ||
			!strings.Contains(events[0], `"type":"keyturn.key.retired"`) {
			t.Errorf("told %v", events)
		}
	})
}
