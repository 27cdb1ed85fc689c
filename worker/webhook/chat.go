package webhook

import (
	"strings"

	"github.com/keyturn/keyturn"
)

// slack is an incoming webhook: https://api.slack.com/messaging/webhooks
func slack(e event) (call, error) {
	m := e.message()
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
	text := escape(m.text)
	if len(m.lines) > 0 {
		text += "\n• " + escape(strings.Join(m.lines, "\n• "))
	}
	fields := make([]map[string]any, 0, len(m.facts))
	for _, f := range m.facts {
		fields = append(fields, map[string]any{"title": f.name, "value": escape(cut(f.value, 500)), "short": len(f.value) < 40})
	}
	title := cut(m.title, 250)
	return call{body: encode(map[string]any{
		"text": escape(title),
		"attachments": []any{map[string]any{
			"color": m.colour(), "text": cut(text, 3000), "fields": fields, "fallback": cut(escape(m.title+": "+m.text), 500),
			"ts": e.Time.Unix(), "footer": "Keyturn",
		}},
	})}, nil
}

func (m message) colour() string {
	switch {
	case m.over:
		return "#2e7d32"
	case m.severity == keyturn.SeverityCritical:
		return "#c62828"
	case m.severity == keyturn.SeverityWarning:
		return "#f9a825"
	default:
		return "#1565c0"
	}
}

// teams is a workflow "when a webhook request is received", which posts an adaptive card:
// https://learn.microsoft.com/en-us/connectors/teams/#microsoft-teams-webhook
func teams(e event) (call, error) {
	m := e.message()
	colours := map[string]string{"#2e7d32": "good", "#c62828": "attention", "#f9a825": "warning", "#1565c0": "accent"}
	body := []any{map[string]any{
		"type": "TextBlock", "size": "medium", "weight": "bolder", "wrap": true, "color": colours[m.colour()], "text": cut(m.title, 250),
	}}
	if m.text != "" {
		body = append(body, map[string]any{"type": "TextBlock", "wrap": true, "text": cut(m.text, 2000)})
	}
	facts := make([]map[string]string, 0, len(m.facts))
	for _, f := range m.facts {
		facts = append(facts, map[string]string{"title": f.name, "value": cut(f.value, 500)})
	}
	if len(facts) > 0 {
		body = append(body, map[string]any{"type": "FactSet", "facts": facts})
	}
	for _, line := range m.lines {
		body = append(body, map[string]any{"type": "TextBlock", "wrap": true, "spacing": "none", "text": cut("- "+line, 500)})
	}
	return call{body: encode(map[string]any{
		"type": "message",
		"attachments": []any{map[string]any{
			"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil,
			"content": map[string]any{
				"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body,
			},
		}},
	})}, nil
}
