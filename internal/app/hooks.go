package app

import (
	"cmp"
	"context"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
)

// raiser makes alerts of what hooks tell, and ends them.
type raiser struct{ store alerts.Raiser }

// RaiseExternal implements api.AlertRaiser.
func (r raiser) RaiseExternal(ctx context.Context, a keyturn.ExternalAlert) error {
	subject := a.Hook + "/" + a.Key
	if !a.Open {
		return r.store.ResolveAlert(ctx, keyturn.AlertExternal, subject)
	}
	return r.store.RaiseAlert(ctx, keyturn.AlertFact{
		Kind: keyturn.AlertExternal, Subject: subject, Severity: cmp.Or(a.Severity, keyturn.SeverityWarning), Message: "hook " + a.Hook + ": " + a.Message,
	})
}
