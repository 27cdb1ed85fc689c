package keyturn

import (
	"cmp"
	"time"
)

// HookSource is who calls a hook, and so how a call is verified and read.
type HookSource string

// The sources.
const (
	SourceAtlas        HookSource = "atlas"         // MongoDB alert webhooks
	SourceCloudManager HookSource = "cloud-manager" // the same
	SourceOpsManager   HookSource = "ops-manager"   // the same
	SourceEventGrid    HookSource = "eventgrid"     // Azure Event Grid
	SourceEventBridge  HookSource = "eventbridge"   // an API destination of AWS EventBridge
	SourceAlertmanager HookSource = "alertmanager"  // Prometheus Alertmanager
	SourceStandard     HookSource = "standard"      // Standard Webhooks
)

// HookKept is for how long it is known what came in: for so long the same event is told from a new one. It is
// more than a year, so that what comes once a year can be looked at.
const HookKept = 400 * Day

// MongoDB reports whether alerts of the source name a project and a cluster.
func (s HookSource) MongoDB() bool {
	return s == SourceAtlas || s == SourceCloudManager || s == SourceOpsManager
}

// Hook says which calls of others start rotations. The JSON form is the spec of `kind: Hook`.
type Hook struct {
	Name       string `json:"-"`
	Generation int64  `json:"-"`

	Source         HookSource `json:"source"`
	Secret         string     `json:"secret"`                  // a reference
	PreviousSecret string     `json:"previousSecret,omitzero"` // a reference: accepted while the secret is changed
	Rules          []HookRule `json:"rules,omitempty"`         // the first that matches counts
	MaxBody        int        `json:"maxBody,omitzero"`        // bytes; default 65536
}

// HookRule says what becomes of an event: a rotation of Policy, or an alert only.
type HookRule struct {
	Match     HookMatch `json:"match,omitzero"`
	Policy    string    `json:"policy,omitzero"`
	AlertOnly bool      `json:"alertOnly,omitzero"`
	// Narrow restricts the rotation to the project and cluster that the event names; an event that names
	// no project is then not carried out. Nil: true for MongoDB's alerts, false for others.
	Narrow *bool `json:"narrow,omitempty"`
}

// HookMatch selects events; empty fields select all, but for Status: then only what is open.
type HookMatch struct {
	EventTypes []string          `json:"eventTypes,omitempty"` // globs
	Status     []string          `json:"status,omitempty"`     // OPEN, CLOSED, firing, …, whatever the case; "*": any
	Labels     map[string]string `json:"labels,omitempty"`     // globs
}

// DefaultHookBody is how long a call's body may be, in bytes, unless the hook says otherwise.
const DefaultHookBody = 64 << 10

// WithDefaults returns a copy in which what was left out has its default.
func (h Hook) WithDefaults() Hook {
	h.MaxBody = cmp.Or(h.MaxBody, DefaultHookBody)
	return h
}

// HookVerdict says what became of an event that came in.
type HookVerdict string

// The verdicts.
const (
	HookRotated  HookVerdict = "rotated"  // it asked for a rotation
	HookRepeated HookVerdict = "repeated" // it was known: nothing new was asked for
	HookAlerted  HookVerdict = "alerted"  // a rule makes it an alert only
	HookIgnored  HookVerdict = "ignored"  // no rule matches
)

// HookRequest is one verified event that came in. It is written down before the caller gets its answer.
type HookRequest struct {
	ID         ID          `json:"id"`
	Hook       string      `json:"hook"`
	ReceivedAt time.Time   `json:"receivedAt"`
	EventID    string      `json:"eventId"` // names the event and its state: the same again is a repeat
	Event      string      `json:"event"`   // its type
	Status     string      `json:"status"`
	Verdict    HookVerdict `json:"verdict"`
	Reason     string      `json:"reason,omitempty"`
	Rotation   ID          `json:"rotationId"`
	Excerpt    string      `json:"excerpt,omitempty"` // the begin of the event, at most 2,000 characters
	Remote     string      `json:"remote,omitempty"`
}

// ExternalAlert is somebody else's alert that no policy answers.
type ExternalAlert struct {
	Hook string // the alert's subject is HOOK/Key
	Key  string
	Open bool // false: it is over
	// Severity is as the sender says; empty: it does not.
	Severity Severity
	Message  string
	At       time.Time
}
