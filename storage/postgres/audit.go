package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// writeAudit records the change that the transaction makes, if the context says who makes it.
func (s *Store) writeAudit(ctx context.Context, tx pgx.Tx) error {
	e, ok := keyturn.AuditOf(ctx)
	if !ok {
		return nil
	}
	err := s.q.InsertAudit(ctx, tx, db.InsertAuditParams{
		ID: s.newID(), Now: s.clock(), Actor: clean(e.Actor), Action: clean(e.Action), Subject: clean(e.Subject),
		Remote: clean(e.Remote), Reason: clean(e.Reason), Detail: e.Detail,
	})
	if err != nil {
		return fmt.Errorf("recording who did it: %w", err)
	}
	return nil
}

// audited runs do, and records the change if do reports one. Without an entry to record, do needs no
// transaction: it is one statement.
func (s *Store) audited(ctx context.Context, do func(on db.DBTX) (changed bool, err error)) error {
	if _, ok := keyturn.AuditOf(ctx); !ok {
		_, err := do(s.pool)
		return err
	}
	return s.inTx(ctx, func(tx pgx.Tx) error {
		changed, err := do(tx)
		if err != nil || !changed {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
}

// changedRow reports whether a statement changed its row. One that did not must be there: then all was so already.
func changedRow(n int64, err error, exists func() (bool, error)) (bool, error) {
	if err != nil || n > 0 {
		return err == nil, err
	}
	found, err := exists()
	if err == nil && !found {
		err = keyturn.ErrNotFound
	}
	return false, err
}

// WriteAudit records what the context says, and nothing else.
func (s *Store) WriteAudit(ctx context.Context) error {
	return s.inTx(ctx, func(tx pgx.Tx) error { return s.writeAudit(ctx, tx) })
}

// Audit lists audit entries, newest first.
func (s *Store) Audit(ctx context.Context, f keyturn.AuditFilter) ([]keyturn.AuditEntry, string, error) {
	after, err := cursor(f.Page)
	if err != nil {
		return nil, "", err
	}
	limit := limitOf(f.Page)
	rows, err := s.q.Audit(ctx, s.pool, db.AuditParams{After: after, Max: int32Of(limit + 1)})
	if err != nil {
		return nil, "", fmt.Errorf("listing the audit: %w", err)
	}
	out := make([]keyturn.AuditEntry, len(rows))
	for i, r := range rows {
		out[i] = keyturn.AuditEntry{
			ID: r.ID, At: r.At.UTC(), Actor: r.Actor, Action: r.Action, Subject: r.Subject, Remote: r.Remote, Reason: r.Reason, Detail: r.Detail,
		}
	}
	out, next := cut(out, limit, func(e keyturn.AuditEntry) string { return e.ID.String() })
	return out, next, nil
}
