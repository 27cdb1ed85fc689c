package web

import (
	"context"
	"net/url"
	"strings"

	"github.com/keyturn/keyturn"
)

// auditRow is a change that somebody made.
type auditRow struct {
	keyturn.AuditEntry
	Link   string // to what was changed
	Pretty string // what else is recorded
}

type auditView struct {
	Rows  []auditRow
	Older string
}

func (s *Site) auditPage(ctx context.Context, v *visit) (*view, error) {
	q := url.Values{"limit": {"100"}}
	for name, values := range v.URL.Query() {
		if values[0] != "" {
			q.Set(name, values[0])
		}
	}
	found, err := list[keyturn.AuditEntry](ctx, v, "/audit?"+q.Encode())
	if err != nil {
		return nil, err
	}
	var page auditView
	for _, e := range found.Items {
		row := auditRow{AuditEntry: e, Link: auditLink(e)}
		if len(e.Detail) > 0 {
			row.Pretty = string(e.Detail)
		}
		page.Rows = append(page.Rows, row)
	}
	if found.Next != "" {
		page.Older = "/audit" + with(v.URL.Query(), "after", found.Next)
	}
	return &view{Title: "Audit", Nav: "audit", Template: "audit", Fragment: "audit-list", Data: page, Wide: true}, nil
}

// auditLink leads to what a change was made to, where there is a page for it.
func auditLink(e keyturn.AuditEntry) string {
	subject := url.PathEscape(e.Subject)
	what, verb, _ := strings.Cut(e.Action, ".")
	switch {
	case what == "rotation" && verb == "request":
		return "/policies/" + subject
	case what == "rotation":
		return "/rotations/" + subject
	case what == "policy":
		return "/policies/" + subject
	case what == "key":
		target, key, _ := strings.Cut(e.Subject, "/") // as keyturn.KeyRef has it: no target's name has a slash
		return keyPath(target, key)
	case what == "alert":
		return "/alerts/" + subject
	case what == "webhook":
		return "/webhooks/" + subject
	case what == "delivery":
		return "/deliveries/" + subject
	case what == "target":
		return "/targets/" + subject
	default:
		return ""
	}
}
