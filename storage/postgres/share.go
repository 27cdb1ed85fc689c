package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

const (
	// shareYields is how often others may run before a shared transaction is sent: who is about to write writes in it, too.
	// The groups of intents and of results, which end together, then come together again.
	shareYields = 16
	// shareRows is up to how many rows a statement shares a transaction. For more than that a commit of their own is cheap, and
	// two connections carry out two such statements at the same time.
	shareRows = 64
	// shareMost bounds a shared transaction, as a group commit is. It is nobody's, so it does not end with the context of anybody.
	shareMost = 30 * time.Second
)

// sharing is what waits for the next transaction that several share.
type sharing struct {
	mu      sync.Mutex
	waiting []*share
	running bool // somebody sends them
}

// share is one statement of a shared transaction, and what reads its rows.
type share struct {
	sql  string
	args []any
	read func(pgx.Rows) error
	done chan struct{} // closed when err says what became of it
	err  error
}

// inShared carries out the one query that ask makes, for so many rows, in a transaction that it shares with all others that wait
// for one: they have one round trip and one commit. ask is called twice, first to learn what it asks and then to read the answer;
// for that, it may be called again: if the database refuses one statement, each gets a transaction of its own. What was lost on the
// way, and may have been committed, is not repeated here. If ctx ends while it waits, it may still be carried out.
func inShared[T any](ctx context.Context, s *Store, rows int, ask func(db.DBTX) (T, error)) (T, error) {
	if rows > shareRows {
		return ask(s.pool)
	}
	var none, got T
	var asked question
	if _, err := ask(&asked); !errors.Is(err, errAsked) {
		return none, errors.Join(errors.New("only one query can share a transaction"), err)
	}
	mine := &share{sql: asked.sql, args: asked.args, done: make(chan struct{})}
	mine.read = func(rows pgx.Rows) (err error) {
		got, err = ask(&question{rows: rows})
		return err
	}
	s.sharing.mu.Lock()
	s.sharing.waiting = append(s.sharing.waiting, mine)
	begin := !s.sharing.running
	s.sharing.running = true
	s.sharing.mu.Unlock()
	if begin {
		go s.share(context.WithoutCancel(ctx)) // it is not only this caller's
	}
	select {
	case <-mine.done:
		if mine.err != nil {
			return none, mine.err
		}
		return got, nil
	case <-ctx.Done():
		return none, fmt.Errorf("waiting for a shared transaction: %w", ctx.Err())
	}
}

// share sends shared transactions until nobody waits for one.
func (s *Store) share(ctx context.Context) {
	for {
		for range shareYields {
			runtime.Gosched()
		}
		s.sharing.mu.Lock()
		group := s.sharing.waiting
		s.sharing.waiting, s.sharing.running = nil, len(group) > 0
		s.sharing.mu.Unlock()
		if len(group) == 0 {
			return
		}
		err := s.send(ctx, group...)
		_, refused := errors.AsType[*pgconn.PgError](err)
		for _, one := range group {
			if one.err = err; refused && len(group) > 1 {
				one.err = s.send(ctx, one)
			}
			close(one.done)
		}
	}
}

// send carries the statements out, all or none.
func (s *Store) send(ctx context.Context, group ...*share) error {
	ctx, cancel := context.WithTimeout(ctx, shareMost)
	defer cancel()
	var batch pgx.Batch
	for _, one := range group {
		batch.Queue(one.sql, one.args...).Query(one.read)
	}
	return away(s.pool.SendBatch(ctx, &batch).Close()) // it has committed then
}

// errAsked is what a question answers that has no rows yet.
var errAsked = errors.New("the statement is to be sent")

// question stands for the database: without rows it learns a query, with rows it answers it.
type question struct {
	sql  string
	args []any
	rows pgx.Rows
}

// Query implements the generated queries' DBTX.
func (q *question) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	if q.rows != nil {
		return q.rows, nil
	}
	q.sql, q.args = sql, args
	return nil, errAsked
}

// Exec implements the generated queries' DBTX. What is shared asks for rows.
func (q *question) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errors.New("a statement without rows can't be shared")
}

// QueryRow implements the generated queries' DBTX. What is shared asks for rows, as many as there are.
func (q *question) QueryRow(context.Context, string, ...any) pgx.Row { return oneRow{} }

type oneRow struct{}

func (oneRow) Scan(...any) error { return errors.New("a statement of one row can't be shared") }
