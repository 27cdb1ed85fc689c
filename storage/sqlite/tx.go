package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// writer is the one connection that writes, with its prepared statements: preparing one anew for
// each transaction costs as much as running it for ten rows.
type writer struct {
	turn  chan struct{} // held by whoever writes
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	execs map[string]driver.StmtExecContext // the same, for what has no rows
	args  []driver.NamedValue               // of the statement under way

	mu      sync.Mutex
	waiting []*share // for the next transaction that is shared
	sharing bool     // somebody carries those out
}

func newWriter(ctx context.Context, pool *sql.DB) (*writer, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &writer{turn: make(chan struct{}, 1), conn: conn, stmts: map[string]*sql.Stmt{}, execs: map[string]driver.StmtExecContext{}}, nil
}

func (w *writer) close() error {
	w.turn <- struct{}{} // lets the last transaction end
	defer func() { <-w.turn }()
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	clear(w.stmts)
	errs = append(errs, w.conn.Raw(func(any) error {
		var errs []error
		for _, stmt := range w.execs {
			errs = append(errs, stmt.(driver.Stmt).Close()) //nolint:errcheck,forcetypeassert // prepare makes no others
		}
		return errors.Join(errs...)
	}))
	clear(w.execs)
	return errors.Join(append(errs, w.conn.Close())...)
}

func (w *writer) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := w.stmts[query]; ok {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	w.stmts[query] = stmt
	return stmt, nil
}

// exec carries a statement out on the driver itself: database/sql would make a list of its arguments anew each time, which was
// a thirtieth of all that a rotation allocates.
func (w *writer) exec(ctx context.Context, query string, args ...any) (done sql.Result, err error) {
	err = w.conn.Raw(func(conn any) error {
		stmt, err := w.prepared(ctx, conn, query)
		if err != nil {
			return err
		}
		clear(w.args)
		w.args = w.args[:0]
		for i, arg := range args {
			value, err := driver.DefaultParameterConverter.ConvertValue(arg)
			if err != nil {
				return fmt.Errorf("argument %d: %w", i+1, err)
			}
			w.args = append(w.args, driver.NamedValue{Ordinal: i + 1, Value: value})
		}
		done, err = stmt.ExecContext(ctx, w.args)
		return err
	})
	return done, err
}

// prepared returns the statement, which it prepares once.
func (w *writer) prepared(ctx context.Context, conn any, query string) (driver.StmtExecContext, error) {
	if stmt, ok := w.execs[query]; ok {
		return stmt, nil
	}
	with, ok := conn.(driver.ConnPrepareContext)
	if !ok {
		return nil, errors.New("the driver of SQLite can't prepare statements")
	}
	stmt, err := with.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	exec, ok := stmt.(driver.StmtExecContext)
	if !ok {
		return nil, errors.Join(errors.New("the driver of SQLite can't carry out statements"), stmt.Close())
	}
	w.execs[query] = exec
	return exec, nil
}

// tx is a write transaction as the generated queries want it. It has one time for everything
// that it does: the database's clock when it got the write lock.
type tx struct {
	w   *writer
	now int64
}

// inTx runs fn in a write transaction, and commits unless fn fails or ctx ends. Once it has
// begun, only one thing is written at a time, by anybody.
func (s *Store) inTx(ctx context.Context, doing string, fn func(context.Context, *tx) error) error {
	select {
	case s.writer.turn <- struct{}{}:
		defer func() { <-s.writer.turn }()
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	return s.transact(ctx, doing, fn)
}

// transact runs fn in a transaction of whoever has the writer's turn. However it ends, also by a panic, none is left open: nobody
// could write any more.
func (s *Store) transact(ctx context.Context, doing string, fn func(context.Context, *tx) error) error {
	// Statements that can be interrupted cost a goroutine each, and none of them takes long.
	whole := context.WithoutCancel(ctx)
	committed := false
	defer func() {
		if !committed {
			// A transaction that failed for want of space, say, is rolled back already: then this one
			// fails, and the error that led here says more.
			_, _ = s.writer.exec(whole, "ROLLBACK")
		}
	}()
	// If ctx ends meanwhile, the driver says so, also when the transaction has begun.
	_, err := s.writer.exec(ctx, "BEGIN IMMEDIATE")
	if err == nil {
		err = fn(whole, &tx{w: s.writer, now: s.nowMS()})
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		_, err = s.writer.exec(whole, "COMMIT")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, away(err))
	}
	committed = true
	return nil
}

// ExecContext implements the generated queries' DBTX.
func (t *tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.w.exec(ctx, query, args...)
}

// QueryContext implements the generated queries' DBTX.
func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := t.w.stmt(ctx, query) //nolint:sqlclosecheck // the writer keeps it, and closes it in close
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// QueryRowContext implements the generated queries' DBTX.
func (t *tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	stmt, err := t.w.stmt(ctx, query) //nolint:sqlclosecheck // the writer keeps it, and closes it in close
	if err != nil {
		return t.w.conn.QueryRowContext(ctx, query, args...) // answers with the same error
	}
	return stmt.QueryRowContext(ctx, args...)
}

// PrepareContext implements the generated queries' DBTX. They do not call it.
func (t *tx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return t.w.conn.PrepareContext(ctx, query)
}

// in is a time that is d from now on, in a column that may be NULL.
func (t *tx) in(d time.Duration) sql.NullInt64 { return at(t.now + d.Milliseconds()) }

// idSource makes ids of which each is greater than the one before, also within
// a millisecond, so that the order of ids is the order of events (RFC 9562 §6.2,
// method 2).
type idSource struct {
	mu   sync.Mutex
	ms   int64 // the latest millisecond; a clock that was set back counts on from it
	last keyturn.ID
}

func (s *idSource) next(now int64) keyturn.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now > s.ms {
		s.ms, s.last = now, keyturn.NewID(time.UnixMilli(now))
		return s.last
	}
	for i := len(s.last) - 1; i >= 0; i-- {
		s.last[i]++
		if s.last[i] != 0 {
			break
		}
	}
	return s.last
}
