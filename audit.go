package keyturn

import (
	"encoding/json"
	"time"
)

// AuditEntry is one change that a person, or the bearer of a token, made. Entries are only ever added.
type AuditEntry struct {
	ID      ID              `json:"id"`
	At      time.Time       `json:"at"`
	Actor   string          `json:"actor"`  // the token's name, or the person's
	Action  string          `json:"action"` // "rotation.cancel", "task.resolve", "policy.pause", "resources.apply"
	Subject string          `json:"subject"`
	Remote  string          `json:"remote"` // the address that the request came from; empty: unknown
	Reason  string          `json:"reason"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}
