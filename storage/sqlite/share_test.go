package sqlite_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/storage/storagetest"
)

// hold makes everybody who writes wait until the returned release.
func (c contract) hold(t *testing.T) (release func()) {
	t.Helper()
	other, err := sql.Open("sqlite", "file:"+c.path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(tx.Rollback(), other.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestSharedTransactions(t *testing.T) {
	t.Parallel()
	storagetest.RunShared(t, func(t *testing.T) (storagetest.Store, func() func()) {
		path := filepath.Join(t.TempDir(), "keyturn.db")
		s := contract{Store: openAt(t, path, nil), path: path}
		return s, func() func() { return s.hold(t) }
	}, map[string]string{
		"AtOnce": `CREATE TRIGGER refuse BEFORE UPDATE ON tasks WHEN new.key_before = 'bad' BEGIN SELECT RAISE(ABORT, 'no room for it'); END`,
	})
}
