package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/hook"
)

// alert begins the alert of an event, or ends it.
func (h *hooks) alert(ctx context.Context, found keyturn.Hook, e hook.Event, record *keyturn.HookRequest) error {
	if h.Alerts == nil {
		record.Reason = "this server raises no alerts: it is only written down"
		return nil
	}
	if !e.Over {
		late, err := h.late(ctx, found, e)
		if err != nil {
			return err
		}
		if late != "" {
			record.Verdict, record.Reason = keyturn.HookIgnored, late
			return nil
		}
	}
	err := h.Alerts.RaiseExternal(ctx, keyturn.ExternalAlert{
		Hook: found.Name, Key: e.Alert, Open: !e.Over, Severity: severityOf(e.Labels["severity"]), Message: clip(told(e), 500), At: h.Now(),
	})
	if err != nil {
		return fmt.Errorf("raising an alert for hook %s: %w", found.Name, err)
	}
	return nil
}

// late says why an event begins no alert any more; empty: it does.
func (h *hooks) late(ctx context.Context, found keyturn.Hook, e hook.Event) (string, error) {
	if !e.At.IsZero() && h.Now().Sub(e.At) > keyturn.HookKept-keyturn.Day { // it may have come before, and is not known any more
		return "it is of " + e.At.UTC().Format(time.DateOnly) + ": what is so old begins no alert", nil
	}
	if over, err := h.over(ctx, found, e); err != nil || !over {
		return "", err
	}
	return "its end came before: it is over", nil
}

// over reports whether the end of an event's alert has come.
func (h *hooks) over(ctx context.Context, found keyturn.Hook, e hook.Event) (bool, error) {
	if e.End == "" {
		return false, nil
	}
	_, err := h.Hooks.HookRequestOf(ctx, found.Name, e.End)
	if errors.Is(err, keyturn.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// end ends the alert of an event whose end is written down. Beginning and end may come at the same time, to two
// replicas: whoever is last, in whatever order they look and write, sees both.
func (h *hooks) end(ctx context.Context, found keyturn.Hook, e hook.Event) error {
	if h.Alerts == nil {
		return nil
	}
	if over, err := h.over(ctx, found, e); err != nil || !over {
		return err
	}
	if err := h.Alerts.RaiseExternal(ctx, keyturn.ExternalAlert{Hook: found.Name, Key: e.Alert, At: h.Now()}); err != nil {
		return fmt.Errorf("ending an alert for hook %s: %w", found.Name, err)
	}
	return nil
}

// told is what an event says, for people.
func told(e hook.Event) string {
	text := e.Type
	if e.Message != "" && e.Message != e.Type {
		text += ": " + e.Message
	}
	if e.Cluster != "" {
		text += " (cluster " + e.Cluster + ")"
	}
	return text
}

// severityOf reads what senders write, such as the label severity of Prometheus; empty: it is none that is known.
func severityOf(label string) keyturn.Severity {
	switch strings.ToLower(label) {
	case "critical", "error", "page", "emergency", "fatal":
		return keyturn.SeverityCritical
	case "warning", "warn":
		return keyturn.SeverityWarning
	case "info", "informational", "notice", "none":
		return keyturn.SeverityInfo
	default:
		return ""
	}
}
