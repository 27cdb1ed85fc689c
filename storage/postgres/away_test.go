package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/pgtest"
	"github.com/keyturn/keyturn/storage/postgres"
)

// ways are calls that go to the database in each of the ways there are.
func ways(t *testing.T) map[string]func(*postgres.Store) error {
	t.Helper()
	id, ctx := keyturn.NewID(time.Now()), t.Context()
	audited := keyturn.WithAudit(ctx, keyturn.AuditEntry{Actor: "ann", Action: "token.revoke"})
	return map[string]func(*postgres.Store) error{
		"OneRow":      func(s *postgres.Store) error { _, err := s.Now(ctx); return err },
		"Rows":        func(s *postgres.Store) error { _, err := s.Tokens(ctx); return err },
		"Statement":   func(s *postgres.Store) error { return s.EndSession(ctx, [32]byte{}) },
		"Transaction": func(s *postgres.Store) error { return s.RevokeToken(audited, id) },
		"Batch":       func(s *postgres.Store) error { _, err := s.Feed(ctx, "om", 1); return err },
		"Shared": func(s *postgres.Store) error {
			_, err := s.Intend(ctx, []keyturn.IntentWrite{{Task: id, Owner: "one", Intent: keyturn.Intent{Before: "a"}, ApplyFor: time.Second, Lease: time.Minute}})
			return err
		},
	}
}

func TestServerThatIsGoneIsSaid(t *testing.T) {
	t.Parallel()
	own, err := pgtest.Start(t.Context(), migrate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	if !own.Private() {
		return // a server that was given is not ours to take down
	}
	url, stores := own.Database(t), map[string]*postgres.Store{}
	for name, ask := range ways(t) {
		store, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		if err := ask(store); err != nil && !errors.Is(err, keyturn.ErrNotFound) {
			t.Errorf("%s: %v while the server runs", name, err)
		}
		stores[name] = store
	}
	if err := own.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Up(context.WithoutCancel(t.Context())); err != nil { // what was made is dropped
			t.Error(err)
		}
	})
	for name, ask := range ways(t) {
		for _, on := range []string{"a connection that is lost", "a new connection"} {
			err := ask(stores[name])
			if away, ok := errors.AsType[*keyturn.UnavailableError](err); !ok || !strings.Contains(away.Advice, "database_url") {
				t.Errorf("%s, on %s: error is %v, want that the database is away, and what to look at", name, on, err)
			}
		}
	}
}

func TestStatementThatIsRefusedDoesNotMeanThatTheServerIsGone(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	if err := s.Exec(t.Context(), `DROP TABLE tokens CASCADE`); err != nil {
		t.Fatal(err)
	}
	_, err := s.Tokens(t.Context())
	if _, ok := errors.AsType[*keyturn.UnavailableError](err); ok || err == nil {
		t.Errorf("error is %v, want one that does not say that the database is away", err)
	}
}
