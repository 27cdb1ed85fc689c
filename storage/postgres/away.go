package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyturn/keyturn"
)

// adviceAway is for whoever meets a database that is away.
const adviceAway = "the database does not answer, or can't be written to: look at the database, and at database_url; work goes on by itself when it answers again"

// pool says of its errors whether they mean that the database is away.
type pool struct{ *pgxpool.Pool }

// Exec implements the generated queries' DBTX.
func (p pool) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := p.Pool.Exec(ctx, sql, args...)
	return tag, away(err)
}

// Query implements the generated queries' DBTX.
func (p pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	found, err := p.Pool.Query(ctx, sql, args...)
	return rows{found}, away(err)
}

// QueryRow implements the generated queries' DBTX.
func (p pool) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return row{p.Pool.QueryRow(ctx, sql, args...)}
}

// rows are a pool's: the connection may be lost while they are read.
type rows struct{ pgx.Rows }

func (r rows) Err() error { return away(r.Rows.Err()) }

type row struct{ pgx.Row }

func (r row) Scan(dest ...any) error { return away(r.Row.Scan(dest...)) }

// away makes an error of the pool a keyturn.UnavailableError if it means that the database can't be reached or written to.
// What only took too long is none: that may be our own doing.
func away(err error) error {
	if err == nil || errors.Is(err, pgx.ErrNoRows) || !meansAway(err) {
		return err
	}
	return &keyturn.UnavailableError{Advice: adviceAway, Err: err}
}

func meansAway(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return codeOfAway(refused.Code)
	}
	if pgconn.Timeout(err) || errors.Is(err, context.Canceled) {
		return false
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, pgconn.ErrConnClosed)
}

// codeOfAway reports whether a SQLSTATE means that the server as a whole is in trouble, not the statement.
func codeOfAway(code string) bool {
	switch code {
	case "57P01", "57P02", "57P03", // it shuts down, has crashed, or starts
		"58030", // an input or output error
		"25006": // it is read-only: no primary
		return true
	}
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") // connections; disk, memory or connections used up
}
