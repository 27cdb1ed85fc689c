package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/storage/storagetest"
)

// hold makes everybody who writes to tasks wait until the returned release.
func (s testStore) hold(t *testing.T) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE tasks IN EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close(context.Background()) }
}

func TestSharedTransactions(t *testing.T) {
	t.Parallel()
	const refuse = `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room for it'; END $$;`
	storagetest.RunShared(t, func(t *testing.T) (storagetest.Store, func() func()) {
		s := newStore(t, nil)
		return s, func() func() { return s.hold(t) }
	}, map[string]string{
		"AtOnce": refuse + `CREATE TRIGGER refuse BEFORE UPDATE ON tasks FOR EACH ROW WHEN (new.key_before = 'bad') EXECUTE FUNCTION refuse()`,
		"AtTheCommit": refuse + `CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON tasks DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW WHEN (new.key_before = 'bad') EXECUTE FUNCTION refuse()`,
	})
}
