package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/keyturn/keyturn"
)

// durable undoes a server's or database's synchronous_commit = off: an intent must be on disk before its
// change is sent, or a crash of the database makes a second change of the first. Stronger settings stay.
//
// Nor are statements compiled: each stops after a page, but some look expensive to the planner, and a second of
// compiling is longer than any of them takes.
const durable = `SELECT set_config('jit', 'off', false),
    (SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off')`

// prepare makes a new connection ready: commits are durable, nothing is compiled; ids travel as the 16 bytes they are, and
// the zero id is NULL.
func prepare(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, durable); err != nil {
		return fmt.Errorf("making commits durable: %w", err)
	}
	types := conn.TypeMap()
	id := &pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: idCodec{}}
	types.RegisterType(id)
	types.RegisterType(&pgtype.Type{Name: "_uuid", OID: pgtype.UUIDArrayOID, Codec: &pgtype.ArrayCodec{ElementType: id}})
	return nil
}

// idCodec is pgx's codec for uuid with a short way for keyturn.ID, which would otherwise go through its text form.
type idCodec struct{ pgtype.UUIDCodec }

// PlanEncode says how to write a value.
func (c idCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(keyturn.ID); ok && format == pgtype.BinaryFormatCode {
		return idPlan{}
	}
	return c.UUIDCodec.PlanEncode(m, oid, format, value)
}

// PlanScan says how to read a value.
func (c idCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*keyturn.ID); ok && format == pgtype.BinaryFormatCode {
		return idPlan{}
	}
	return c.UUIDCodec.PlanScan(m, oid, format, target)
}

type idPlan struct{}

// Encode appends the id to buf; nothing, which is NULL, for the zero id.
func (idPlan) Encode(value any, buf []byte) ([]byte, error) {
	id, ok := value.(keyturn.ID)
	if !ok {
		return nil, fmt.Errorf("writing an id: unexpected %T", value)
	}
	if id.IsZero() {
		return nil, nil
	}
	return append(buf, id[:]...), nil
}

// Scan reads an id; NULL is the zero id.
func (idPlan) Scan(src []byte, target any) error {
	id, ok := target.(*keyturn.ID)
	if !ok {
		return fmt.Errorf("reading an id: unexpected %T", target)
	}
	if src == nil {
		*id = keyturn.ID{}
		return nil
	}
	if len(src) != len(id) {
		return fmt.Errorf("reading an id: %d bytes, want %d", len(src), len(id))
	}
	copy(id[:], src)
	return nil
}

// pooledByURL reports whether the URL itself says how large the pool is.
func pooledByURL(s string) bool {
	if u, err := url.Parse(s); err == nil && u.Query().Has("pool_max_conns") {
		return true
	}
	return strings.Contains(s, "pool_max_conns")
}

// connectError says in one line why there is no connection, and what to do.
func connectError(cfg *pgx.ConnConfig, err error) error {
	where := net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))
	switch {
	case hasCode(err, codeInvalidPassword, codeInvalidAuth):
		return fmt.Errorf("the database at %s refused user %q: check the user and password of the database URL", where, cfg.User)
	case hasCode(err, codeUnknownDatabase):
		return fmt.Errorf("the server at %s has no database %q: create it (createdb %s) or correct the database URL", where, cfg.Database, cfg.Database)
	case hasCode(err, codeInsufficientPriv):
		return fmt.Errorf("user %q may not connect to database %q at %s: grant it CONNECT", cfg.User, cfg.Database, where)
	case hasCode(err, codeTooManyConns):
		return fmt.Errorf("the database at %s has no connection left: raise max_connections, or lower pool_max_conns of the database URL", where)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("connecting to the database at %s: %w", where, err)
	}
	if _, ok := errors.AsType[*net.OpError](err); ok || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the database at %s can't be reached: %s: check the database URL, and that Postgres runs there", where, rootCause(err))
	}
	return fmt.Errorf("connecting to the database at %s: %s", where, rootCause(err))
}

// rootCause returns the innermost error's text: pgx's own holds a line for each address it tried.
func rootCause(err error) string {
	for {
		if many, ok := err.(interface{ Unwrap() []error }); ok && len(many.Unwrap()) > 0 {
			err = many.Unwrap()[0]
			continue
		}
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
