package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

var errAlertsOnly = errors.New("this format takes alerts only")

// alias is the name under which receivers know a notice's group: what opened under it closes under it.
func (e event) alias(most int) string {
	if len(e.notice.Group) <= most {
		return e.notice.Group
	}
	sum := sha256.Sum256([]byte(e.notice.Group))
	return e.notice.Group[:most-17] + "#" + hex.EncodeToString(sum[:8])
}

// details are what a notice says beyond its message.
func (e event) details() map[string]any {
	n := e.notice
	subjects := make([]string, 0, len(n.Alerts))
	for _, a := range n.Alerts {
		subjects = append(subjects, a.Subject+": "+a.Message)
	}
	return map[string]any{
		"group": n.Group, "kind": n.Kind, "policy": n.Policy, "target": n.Target, "severity": n.Severity,
		"since": n.Since.UTC(), "count": n.Count, "alerts": subjects,
	}
}

// pagerDuty is https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
func pagerDuty(known secrets, e event) (call, error) {
	if e.notice == nil {
		return call{}, errAlertsOnly
	}
	n := e.notice
	actions := map[keyturn.AlertState]string{keyturn.AlertFiring: "trigger", keyturn.AlertAcknowledged: "acknowledge", keyturn.AlertResolved: "resolve"}
	body := map[string]any{"routing_key": known.key, "event_action": actions[n.State], "dedup_key": e.alias(255)}
	if n.State == keyturn.AlertFiring {
		body["client"] = "Keyturn"
		body["payload"] = map[string]any{
			"summary": cut(n.Message, 1024), "source": source(n), "severity": string(n.Severity), "timestamp": n.At.UTC().Format(time.RFC3339),
			"component": n.Policy, "group": n.Target, "class": string(n.Kind), "custom_details": e.details(),
		}
	}
	return call{body: encode(body)}, nil
}

func source(n *keyturn.Notice) string {
	if n.Target != "" {
		return n.Target
	}
	return "keyturn"
}

// opsgenie is https://docs.opsgenie.com/docs/alert-api; the webhook's URL is that of the API, such as
// https://api.opsgenie.com.
func opsgenie(known secrets, e event) (call, error) {
	if e.notice == nil {
		return call{}, errAlertsOnly
	}
	n := e.notice
	alias := strings.ReplaceAll(e.alias(512), "/", ":") // it is a part of paths
	headers := map[string]string{"Authorization": "GenieKey " + known.key}
	if n.State != keyturn.AlertFiring {
		action := map[keyturn.AlertState]string{keyturn.AlertAcknowledged: "acknowledge", keyturn.AlertResolved: "close"}[n.State]
		return call{
			path: "v2/alerts/" + url.PathEscape(alias) + "/" + action, query: "identifierType=alias", headers: headers,
			body: encode(map[string]any{"source": "keyturn", "note": cut(n.Message, 25000)}),
		}, nil
	}
	details := map[string]string{}
	for name, value := range e.details() {
		if name != "alerts" {
			details[name] = fmt.Sprint(value)
		}
	}
	m := e.message()
	priorities := map[keyturn.Severity]string{keyturn.SeverityCritical: "P1", keyturn.SeverityWarning: "P3", keyturn.SeverityInfo: "P5"}
	return call{path: "v2/alerts", headers: headers, body: encode(map[string]any{
		"message": cut(n.Message, 130), "alias": alias, "description": cut(n.Message+"\n"+strings.Join(m.lines, "\n"), 15000),
		"priority": priorities[n.Severity], "source": "keyturn", "entity": source(n), "tags": []string{"keyturn", string(n.Kind)}, "details": details,
	})}, nil
}

// staysFor is how long Alertmanager takes an alert for open that it is not told about again. It is told of
// the end; this is for a Keyturn that is no more.
const staysFor = 30 * 24 * time.Hour

// alertmanager is POST /api/v2/alerts of https://github.com/prometheus/alertmanager: the webhook's URL is
// Alertmanager's. The severity is a label, so that routes can look at it; as labels are what names an
// alert there, one that changed its severity is ended under the ones that it does not have.
func alertmanager(e event, now time.Time) (call, error) {
	if e.notice == nil {
		return call{}, errAlertsOnly
	}
	n := e.notice
	begin := n.Since.UTC()
	if begin.IsZero() || begin.After(now) {
		begin = now.UTC()
	}
	alerts := make([]map[string]any, 0, 3)
	for _, severity := range []keyturn.Severity{keyturn.SeverityInfo, keyturn.SeverityWarning, keyturn.SeverityCritical} {
		labels := map[string]string{
			"alertname": "Keyturn" + camel(string(n.Kind)), "kind": string(n.Kind), "policy": n.Policy, "target": n.Target,
			"group": n.Group, "severity": string(severity), "job": "keyturn",
		}
		for name, value := range labels {
			if value == "" {
				delete(labels, name)
			}
		}
		ends := now.UTC()
		if severity == n.Severity && n.State != keyturn.AlertResolved {
			ends = now.UTC().Add(staysFor)
		}
		alerts = append(alerts, map[string]any{
			"labels": labels, "startsAt": begin, "endsAt": ends,
			"annotations": map[string]string{
				"summary": n.Message, "description": cut(strings.Join(e.message().lines, "\n"), 4000), "state": string(n.State),
			},
		})
	}
	return call{path: "api/v2/alerts", body: encode(alerts)}, nil
}

// camel makes KeyDueSoon of key.due_soon.
func camel(kind string) string {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(kind, func(r rune) bool { return r == '.' || r == '_' }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
