package keyturn

import (
	"context"
	"encoding/json"
	"time"
)

// AuditEntry is one change that a person, or the bearer of a token, made. Entries are only ever added.
type AuditEntry struct {
	ID      ID              `json:"id"`
	At      time.Time       `json:"at"`
	Actor   string          `json:"actor"`  // the token's name, or the person's
	Action  string          `json:"action"` // "rotation.cancel", "task.resolve", "policy.pause", "webhook.replay", "resources.apply"
	Subject string          `json:"subject"`
	Remote  string          `json:"remote"` // the address that the request came from; empty: unknown
	Reason  string          `json:"reason"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}

// AuditFilter narrows a listing of audit entries, which is newest first.
type AuditFilter struct {
	Page Page
}

type auditKey struct{}

// WithAudit returns a context in which a change is recorded: whoever makes it durable writes the entry
// in the same transaction, with the database's time, and only if something changed.
func WithAudit(ctx context.Context, entry AuditEntry) context.Context {
	return context.WithValue(ctx, auditKey{}, entry)
}

// AuditOf returns the entry that a change under this context must leave, if any.
func AuditOf(ctx context.Context) (AuditEntry, bool) {
	entry, ok := ctx.Value(auditKey{}).(AuditEntry)
	return entry, ok
}

// WithoutAudit returns a context in which a change leaves no entry: one that follows from another that left one.
func WithoutAudit(ctx context.Context) context.Context {
	return context.WithValue(ctx, auditKey{}, nil)
}
