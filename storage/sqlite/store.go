// Package sqlite keeps everything that must not be lost in one SQLite file: the
// storage of a Keyturn that runs as a single process.
//
// One connection writes and a few read. Every write transaction is BEGIN
// IMMEDIATE, so that what it reads is what it changes: a decision may be taken
// in Go between the two. WAL with synchronous=FULL makes a commit durable
// (https://sqlite.org/pragma.html#pragma_synchronous).
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	driver "modernc.org/sqlite" // also registers the driver "sqlite"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// The extended result codes of SQLite that mean a duplicate.
const (
	sqliteConstraintPrimaryKey = 1555
	sqliteConstraintUnique     = 2067
)

// readers is how many connections read beside the one that writes.
const readers = 4

// Config says where the database is.
type Config struct {
	// Path is the database's file. It is made when it does not exist; its folder must exist.
	Path string
	// Now is the database's clock; nil means time.Now. It is read to the millisecond.
	Now func() time.Time
	// Logger gets what nobody is told otherwise; nil means none.
	Logger *zap.Logger
}

// Store is the database. Its methods may be called by any number of goroutines.
type Store struct {
	path   string
	write  *sql.DB
	writer *writer
	read   *sql.DB
	q      *db.Queries
	clock  func() time.Time
	log    *zap.Logger
	ids    idSource

	closing sync.Once
	closed  error
}

// Open opens the database, or makes an empty one. Migrate must be called before anything else.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("finding the database %s: %w", cfg.Path, err)
	}
	if err := create(path); err != nil {
		return nil, err
	}
	s := &Store{path: path, q: db.New(), clock: cfg.Now, log: cmp.Or(cfg.Logger, zap.NewNop())}
	if s.clock == nil {
		s.clock = time.Now
	}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database %s: %w", path, err), s.Close())
	}
	return s, nil
}

func (s *Store) connect(ctx context.Context) (err error) {
	if s.write, err = pool(ctx, s.path, 1, forWriting()); err != nil {
		return err
	}
	if s.writer, err = newWriter(ctx, s.write); err != nil {
		return err
	}
	s.read, err = pool(ctx, s.path, readers, url.Values{"_pragma": {"busy_timeout(10000)", "query_only(1)", "cache_size(-512)"}})
	return err
}

func forWriting() url.Values {
	return url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"temp_store(MEMORY)",            // what undoes one statement of many rows, not a file for it
		"recursive_triggers(1)",         // REPLACE must not get around the history's triggers
		"cache_size(-4096)",             // KiB; what is not in it the system has cached
		"journal_size_limit(134217728)", // the log shrinks again after a large plan
		"wal_autocheckpoint(8192)",      // pages, 32 MiB; one that changes often is copied to the database less often
	}}
}

// create makes the file with a mode that keeps others out: SQLite would use 0644, and gives its other files the same.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the path is the administrator's
	if err != nil {
		return fmt.Errorf("opening the database: %w: check that its folder exists and can be written to", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("opening the database %s: %w", path, err)
	}
	return nil
}

func pool(ctx context.Context, path string, conns int, options url.Values) (*sql.DB, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + options.Encode()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close waits for the transaction under way and closes the database. What was committed is durable already.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closed = s.close() })
	return s.closed
}

func (s *Store) close() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	return errors.Join(errs...)
}

// Ping answers when the database can be written to.
func (s *Store) Ping(ctx context.Context) error {
	return s.inTx(ctx, "checking the database", func(context.Context, *tx) error { return nil })
}

// Now is the database's clock.
func (s *Store) Now(context.Context) (time.Time, error) {
	return toTime(s.nowMS()), nil
}

func (s *Store) nowMS() int64 { return s.clock().UnixMilli() }

func toTime(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func toTimePtr(ms sql.NullInt64) *time.Time {
	if !ms.Valid {
		return nil
	}
	t := toTime(ms.Int64)
	return &t
}

func fromTimePtr(t *time.Time) sql.NullInt64 {
	if t == nil {
		return sql.NullInt64{}
	}
	return at(t.UnixMilli())
}

// at is a time in a column that may be NULL.
func at(ms int64) sql.NullInt64 { return sql.NullInt64{Int64: ms, Valid: true} }

// text is a text in a column where NULL stands for the empty one.
func text(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// isDuplicate reports whether a row was refused because there is one with the same key.
// See https://sqlite.org/rescode.html#constraint_unique.
func isDuplicate(err error) bool {
	refused, ok := errors.AsType[*driver.Error](err)
	return ok && (refused.Code() == sqliteConstraintUnique || refused.Code() == sqliteConstraintPrimaryKey)
}

// found turns the driver's word for "no row" into ours.
func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return keyturn.ErrNotFound
	}
	return err
}
