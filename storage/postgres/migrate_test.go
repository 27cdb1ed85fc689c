package postgres_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/storage/postgres"
)

func open(t *testing.T, url string) testStore {
	t.Helper()
	store, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return testStore{Store: store, url: url}
}

func TestMigrate_BringsAnEmptyDatabaseUp(t *testing.T) {
	t.Parallel()
	store := open(t, server.Empty(t))
	have, want, err := store.Version(t.Context())
	if err != nil || have != 0 || want < 1 {
		t.Fatalf("empty database is at %d of %d: %v", have, want, err)
	}
	for range 2 { // a second time changes nothing
		if err := store.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if have, _, err = store.Version(t.Context()); err != nil || have != want {
			t.Errorf("migrated database is at %d of %d: %v", have, want, err)
		}
	}
	if _, err := store.Resources(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMigrate_OfSeveralReplicasAtOnceIsOne(t *testing.T) {
	t.Parallel()
	url := server.Empty(t)
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		store := open(t, url)
		wg.Go(func() { errs[i] = store.Migrate(t.Context()) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestMigrate_RefusesANewerDatabase(t *testing.T) {
	t.Parallel()
	store := newStore(t, nil)
	if err := store.Exec(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`); err != nil {
		t.Fatal(err)
	}
	err := store.Migrate(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "database is at version 9999, this keyturn knows ") ||
		!strings.HasSuffix(err.Error(), ": run a newer keyturn") {
		t.Errorf("error is %v", err)
	}
}
