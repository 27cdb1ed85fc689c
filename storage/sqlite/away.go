package sqlite

import (
	"errors"

	driver "modernc.org/sqlite"

	"github.com/keyturn/keyturn"
)

// The result codes of SQLite that mean that the file can't be used, whatever was to be written. See https://sqlite.org/rescode.html.
const (
	sqliteReadOnly = 8
	sqliteIOErr    = 10
	sqliteFull     = 13
	sqliteCantOpen = 14
)

// adviceAway is for whoever meets a database that can't be used.
const adviceAway = "the database's file can't be written to: look whether the disk of data_dir is full, read-only or failing; work goes on by itself when it is not"

// away makes an error of the driver a keyturn.UnavailableError if it means that the file can't be used.
func away(err error) error {
	failed, ok := errors.AsType[*driver.Error](err)
	if !ok {
		return err
	}
	switch failed.Code() & 0xff { // what is above says more of the same
	case sqliteReadOnly, sqliteIOErr, sqliteFull, sqliteCantOpen:
		return &keyturn.UnavailableError{Advice: adviceAway, Err: err}
	default:
		return err
	}
}
