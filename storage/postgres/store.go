// Package postgres keeps Keyturn's state in Postgres.
//
// The database's clock is the only one: every statement takes the time from it
// (or from the one that a test injects). What a batch writes is one statement
// and one commit. The contract is storage/storagetest.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

const (
	defaultMaxConns = 16
	connectTimeout  = 10 * time.Second
	// triesOfATransaction bounds how often one that Postgres aborted for the sake of another is run.
	triesOfATransaction = 5
)

// Config says which database to use, and how.
type Config struct {
	URL      string      // postgres://user:password@host:5432/database, or a libpq connection string
	MaxConns int32       // 0: pool_max_conns of the URL, or 16
	Logger   *zap.Logger // nil: silent
	// Now replaces the database's clock, for tests. Nil in production.
	Now func() time.Time
}

// Store implements the store interfaces of worker, scheduler and internal/api. It is safe for
// concurrent use, by any number of processes.
type Store struct {
	pool pool
	q    *db.Queries
	log  *zap.Logger
	now  func() time.Time
	due  duePlacesList

	timetables timetables
	sharing    sharing
}

// Open connects to the database, and does not migrate it. Errors say in one line, without the
// password, what is wrong.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, errors.New("the database URL can't be read: write postgres://user:password@host:5432/database")
	}
	switch {
	case cfg.MaxConns > 0:
		pc.MaxConns = cfg.MaxConns
	case pc.MaxConns < defaultMaxConns && !pooledByURL(cfg.URL):
		pc.MaxConns = defaultMaxConns
	}
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = connectTimeout
	}
	pc.AfterConnect = prepare
	conns, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	if err := conns.Ping(ctx); err != nil {
		conns.Close()
		return nil, connectError(pc.ConnConfig, err)
	}
	log := cfg.Logger
	if log == nil {
		log = zap.NewNop()
	}
	return &Store{pool: pool{conns}, q: db.New(), log: log, now: cfg.Now, due: duePlacesList{turn: make(chan struct{}, 1)}}, nil
}

// Close closes all connections, and waits for those in use.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// clock returns what statements take as their time: nil means the database's own clock.
func (s *Store) clock() *time.Time {
	if s.now == nil {
		return nil
	}
	now := s.now()
	return &now
}

// newID returns a fresh id. It sorts by this process's clock, which is close enough for an id.
func (s *Store) newID() keyturn.ID {
	if s.now != nil {
		return keyturn.NewID(s.now())
	}
	return keyturn.NewID(time.Now())
}

// Now returns the database's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	now, err := s.q.Clock(ctx, s.pool, s.clock())
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the database's clock: %w", err)
	}
	return now.UTC(), nil
}

// Ping answers when the database can be written to.
func (s *Store) Ping(ctx context.Context) error {
	readOnly, err := s.q.ReadOnly(ctx, s.pool)
	if err != nil {
		return fmt.Errorf("asking the database: %w", err)
	}
	if readOnly {
		return errors.New("the database is read-only: connect to the primary")
	}
	return nil
}

// retry runs do again when Postgres aborted it for the sake of another transaction (deadlock or
// serialization failure). do must be one transaction.
func retry[T any](ctx context.Context, do func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		got, err := do()
		if err == nil || try == triesOfATransaction || ctx.Err() != nil || !hasCode(err, codeDeadlock, codeSerialization) {
			return got, err
		}
	}
}

// inTx runs do in a transaction, and again when Postgres aborted it for the sake of another.
func (s *Store) inTx(ctx context.Context, do func(tx pgx.Tx) error) error {
	_, err := retry(ctx, func() (struct{}, error) {
		return struct{}{}, away(pgx.BeginFunc(ctx, s.pool, do))
	})
	return err
}

// SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	codeSerialization    = "40001"
	codeDeadlock         = "40P01"
	codeUniqueViolation  = "23505"
	codeInvalidPassword  = "28P01"
	codeInvalidAuth      = "28000"
	codeUnknownDatabase  = "3D000"
	codeTooManyConns     = "53300"
	codeInsufficientPriv = "42501"
)

func hasCode(err error, codes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if pgErr.Code == code {
			return true
		}
	}
	return false
}

// notFound turns "no rows" into keyturn.ErrNotFound.
func notFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return keyturn.ErrNotFound
	}
	return err
}

// micros is the form in which durations go to the database: whole microseconds, the resolution of its clock.
func micros(d time.Duration) int64 { return d.Microseconds() }
