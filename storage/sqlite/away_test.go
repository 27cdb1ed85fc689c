package sqlite_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestFileThatCanNotBeWrittenToIsSaid(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	estate(t, s)
	if err := s.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := s.PauseUntil(t.Context(), "quarterly", "ann", strings.Repeat("full", 1<<16), time.Now().Add(time.Hour))
	if away, ok := errors.AsType[*keyturn.UnavailableError](err); !ok || !strings.Contains(away.Advice, "disk") {
		t.Errorf("error is %v, want that the file can't be written to, and what to look at", err)
	}
	err = s.PauseUntil(t.Context(), "none", "ann", "", time.Now().Add(time.Hour))
	if _, ok := errors.AsType[*keyturn.UnavailableError](err); ok || !errors.Is(err, keyturn.ErrNotFound) {
		t.Errorf("error is %v, want only that there is no such policy", err)
	}
}
