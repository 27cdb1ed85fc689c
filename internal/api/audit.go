package api

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"

	"github.com/keyturn/keyturn"
)

// caller is the name of the token that the request came with, or "person:" with the name of a person. No token is called so.
func caller(ctx context.Context) string { return strings.TrimPrefix(requestedBy(ctx), tokenCaller) }

// audited returns a context under which the store records who changes what. Detail must not hold secrets.
func audited(ctx context.Context, action, subject, reason string, detail any) context.Context {
	person, _ := ctx.Value(callerKey{}).(keyturn.Caller)
	remote := person.Remote
	if host, _, err := net.SplitHostPort(remote); err == nil {
		remote = host
	}
	entry := keyturn.AuditEntry{Actor: caller(ctx), Action: action, Subject: subject, Remote: remote, Reason: reason}
	if detail != nil {
		entry.Detail, _ = json.Marshal(detail) // of maps of strings, which always succeeds
	}
	return keyturn.WithAudit(ctx, entry)
}

type listAuditInput struct {
	Paging
}

func (s *server) registerAudit() {
	handle(s, operation{
		id: "list-audit", method: http.MethodGet, path: "/audit", role: keyturn.RoleOperator, tag: "audit",
		summary: "Who changed what, newest first",
	}, s.listAudit)
	handle(s, operation{
		id: "export-audit", method: http.MethodGet, path: "/audit/export", role: keyturn.RoleOperator, tag: "audit",
		summary: "All of it as a file: CSV, or JSON lines",
	}, s.exportAudit)
}

func (s *server) listAudit(ctx context.Context, in *listAuditInput) (*listOutput[keyturn.AuditEntry], error) {
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	return listed(s.Store.Audit(ctx, keyturn.AuditFilter{Page: page}))
}
