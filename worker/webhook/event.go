package webhook

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// event is a delivery's CloudEvent, read.
type event struct {
	delivery keyturn.ID
	raw      []byte
	kind     string // "alert.firing"

	ID      string          `json:"id"`
	Source  string          `json:"source"`
	Subject string          `json:"subject"`
	Time    time.Time       `json:"time"`
	Data    json.RawMessage `json:"data"`

	notice *keyturn.Notice // of alert.*
}

func readEvent(d keyturn.Delivery) (event, error) {
	e := event{delivery: d.ID, raw: d.Body, kind: d.Event}
	if err := json.Unmarshal(d.Body, &e); err != nil {
		return e, fmt.Errorf("the event can't be read: %w", err)
	}
	if !strings.HasPrefix(e.kind, "alert.") {
		return e, nil
	}
	e.notice = &keyturn.Notice{}
	if err := json.Unmarshal(e.Data, e.notice); err != nil {
		return e, fmt.Errorf("the alert can't be read: %w", err)
	}
	if e.notice.Group == "" {
		e.notice.Group = e.ID
	}
	return e, nil
}

// message is an event for people.
type message struct {
	title    string
	text     string
	severity keyturn.Severity // empty: nothing is wrong
	over     bool             // what was wrong is over
	facts    []fact
	lines    []string // the alerts of a notice, the worst first
}

type fact struct{ name, value string }

func (m *message) fact(name, value string) {
	if value != "" {
		m.facts = append(m.facts, fact{name, value})
	}
}

// linesMost is how many alerts a message for people lists.
const linesMost = 10

func (e event) message() message {
	switch {
	case e.notice != nil:
		return e.alert()
	case strings.HasPrefix(e.kind, "rotation."):
		return e.rotation()
	case strings.HasPrefix(e.kind, "task."):
		return e.task()
	case strings.HasPrefix(e.kind, "key."):
		return e.key()
	default:
		var data struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(e.Data, &data) // without one the type says enough
		return message{title: "Keyturn: " + e.kind, text: data.Message}
	}
}

func (e event) alert() message {
	n := e.notice
	m := message{text: n.Message, severity: n.Severity, over: n.State == keyturn.AlertResolved}
	switch n.State {
	case keyturn.AlertResolved:
		m.title = "Resolved: " + string(n.Kind)
	case keyturn.AlertAcknowledged:
		m.title = "Acknowledged: " + string(n.Kind)
	default:
		m.title = strings.ToUpper(string(n.Severity)) + ": " + string(n.Kind)
	}
	m.fact("Policy", n.Policy)
	m.fact("Target", n.Target)
	m.fact("Since", stamp(n.Since))
	if n.Count > 0 {
		m.fact("Open alerts", strconv.Itoa(n.Count))
	}
	for i, a := range n.Alerts {
		if i == linesMost {
			m.lines = append(m.lines, fmt.Sprintf("… and %d more", max(n.Count, len(n.Alerts))-linesMost))
			break
		}
		m.lines = append(m.lines, a.Subject+": "+a.Message)
	}
	return m
}

func (e event) rotation() message {
	var r keyturn.Rotation
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return message{title: "Keyturn: " + e.kind}
	}
	m := message{title: fmt.Sprintf("Rotation of %s %s", r.Policy, strings.TrimPrefix(e.kind, "rotation."))}
	if r.State.Final() {
		m.title = fmt.Sprintf("Rotation of %s: %s", r.Policy, r.State)
		m.text = fmt.Sprintf("%d of %d units turned, %d skipped, %d failed, %d parked.",
			r.Counts.Succeeded, r.Counts.Total, r.Counts.Skipped, r.Counts.Failed, r.Counts.Parked)
		switch r.State {
		case keyturn.RotationFailed:
			m.severity = keyturn.SeverityCritical
		case keyturn.RotationPartial, keyturn.RotationCancelled:
			m.severity = keyturn.SeverityWarning
		default:
			m.over = true
		}
	}
	m.fact("Target", r.Target)
	m.fact("Trigger", string(r.Trigger))
	m.fact("Slot", r.Slot)
	m.fact("Requested by", r.RequestedBy)
	m.fact("Reason", r.Reason)
	m.fact("Rotation", r.ID.String())
	return m
}

func (e event) task() message {
	var t keyturn.Task
	if err := json.Unmarshal(e.Data, &t); err != nil {
		return message{title: "Keyturn: " + e.kind}
	}
	m := message{title: fmt.Sprintf("Unit %s: %s", t.Unit, t.State), text: t.Reason}
	switch t.State {
	case keyturn.TaskFailed:
		m.severity = keyturn.SeverityWarning
	case keyturn.TaskParked:
		m.severity = keyturn.SeverityCritical
	default:
	}
	m.fact("Key before", t.KeyBefore)
	m.fact("Key now", t.KeyAfter)
	m.fact("Rotation", t.Rotation.String())
	return m
}

func (e event) key() message {
	var k keyturn.KeyRecord
	if err := json.Unmarshal(e.Data, &k); err != nil {
		return message{title: "Keyturn: " + e.kind}
	}
	m := message{title: fmt.Sprintf("Unit %s uses a new key", k.Unit)}
	if k.Origin == keyturn.OriginObserved {
		m.title = fmt.Sprintf("Unit %s was seen to use a key", k.Unit)
	}
	m.fact("Key", k.KeyID)
	m.fact("Key before", k.PreviousKeyID)
	m.fact("Since", stamp(k.From))
	return m
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// cut shortens a text to so many characters.
func cut(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most-1]) + "…"
}

// encode writes a body. What receivers are sent is made of maps, texts and times only, which can always be written.
func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("writing a body: %v", err)) // a mistake in this package
	}
	return body
}
