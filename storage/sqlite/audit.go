package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// writeAudit records the change that the transaction makes, if the context says who makes it.
func (s *Store) writeAudit(ctx context.Context, tx *tx) error {
	e, ok := keyturn.AuditOf(ctx)
	if !ok {
		return nil
	}
	err := s.q.InsertAudit(ctx, tx, db.InsertAuditParams{
		ID: s.ids.next(tx.now).String(), At: tx.now, Actor: e.Actor, Action: e.Action, Subject: e.Subject, Remote: e.Remote, Reason: e.Reason,
		Detail: text(string(e.Detail)),
	})
	if err != nil {
		return fmt.Errorf("recording who did it: %w", err)
	}
	return nil
}

// auditChange records the change of a row, if there was one. A row that was not changed must be there: then all was so already.
func (s *Store) auditChange(ctx context.Context, tx *tx, n int64, err error, exists func() (int64, error)) error {
	if err != nil {
		return err
	}
	if n > 0 {
		return s.writeAudit(ctx, tx)
	}
	found, err := exists()
	if err == nil && found == 0 {
		err = keyturn.ErrNotFound
	}
	return err
}

// WriteAudit implements api.Store.
func (s *Store) WriteAudit(ctx context.Context) error {
	return s.inTx(ctx, "writing to the audit", s.writeAudit)
}

// Audit implements api.AuditReader.
func (s *Store) Audit(ctx context.Context, f keyturn.AuditFilter) ([]keyturn.AuditEntry, string, error) {
	if err := checkCursor(f.Page.After); err != nil {
		return nil, "", err
	}
	rows, err := s.q.Audit(ctx, s.read, db.AuditParams{BeforeID: f.Page.After, MaxRows: limit(f.Page) + 1})
	if err != nil {
		return nil, "", fmt.Errorf("listing the audit: %w", err)
	}
	rows, next := cut(rows, f.Page, func(row db.Audit) string { return row.ID })
	out := make([]keyturn.AuditEntry, len(rows))
	for i, r := range rows {
		out[i] = keyturn.AuditEntry{At: toTime(r.At), Actor: r.Actor, Action: r.Action, Subject: r.Subject, Remote: r.Remote, Reason: r.Reason}
		if r.Detail.Valid {
			out[i].Detail = json.RawMessage(r.Detail.String)
		}
		if err := out[i].ID.Scan(r.ID); err != nil {
			return nil, "", fmt.Errorf("listing the audit: %w", err)
		}
	}
	return out, next, nil
}
