package keyturn

import (
	"cmp"
	"time"
)

// System is a kind of control plane.
type System string

// The systems that Keyturn knows.
const (
	SystemOpsManager   System = "ops-manager"
	SystemCloudManager System = "cloud-manager"
	SystemAtlas        System = "atlas"
)

// Target is a control plane that Keyturn calls: its URL, credentials and limits.
// The JSON form is the spec of `kind: Target`.
type Target struct {
	Name       string `json:"-"`
	Generation int64  `json:"-"` // counts the changes of the spec, from 1

	System      System         `json:"system"`
	URL         string         `json:"url"`
	Credentials Credentials    `json:"credentials"`
	Limits      Limits         `json:"limits,omitzero"`
	Timeouts    TargetTimeouts `json:"timeouts,omitzero"`
	// Observe is how often the keys in use are asked for while nothing rotates; nil means 6h, 0 never.
	Observe *Duration `json:"observe,omitempty"`
	TLS     TargetTLS `json:"tls,omitzero"`
}

// Credentials are references to secrets ("env:NAME" or "file:/path"), never secrets.
type Credentials struct {
	PublicKey  string `json:"publicKey"`
	PrivateKey string `json:"privateKey"`
}

// Limits bound what Keyturn asks of a target.
type Limits struct {
	// Concurrency is how many tasks may be in flight at once, over all replicas. 1 to 1024; 0 means 16.
	Concurrency int `json:"concurrency,omitzero"`
	// RequestsPerSecond bounds each worker's requests to the target; 0 means no bound.
	RequestsPerSecond float64 `json:"requestsPerSecond,omitzero"`
}

// TargetTimeouts are how long Keyturn waits for a target.
type TargetTimeouts struct {
	// Request bounds one HTTP request; default 30s.
	Request Duration `json:"request,omitzero"`
	// Settle is the longest time that the target, and every proxy before it, may take to execute
	// a change after Keyturn gave up waiting for it. The promise "never twice" rests on it; default 2m.
	Settle Duration `json:"settle,omitzero"`
	// Verify is how long an accepted change may take until the new key is seen; default 5m.
	Verify Duration `json:"verify,omitzero"`
}

// TargetTLS says whom to trust.
type TargetTLS struct {
	// CAFile is a PEM file of certificate authorities; empty means the system's.
	CAFile string `json:"caFile,omitzero"`
}

// DefaultObserve is how often the keys of a target are looked at: one small request for each unit, four times a day.
const DefaultObserve = Duration(6 * time.Hour)

// WithDefaults returns a copy in which what was left out has its default.
func (t Target) WithDefaults() Target {
	t.Limits.Concurrency = cmp.Or(t.Limits.Concurrency, 16)
	t.Timeouts.Request = cmp.Or(t.Timeouts.Request, Duration(30*time.Second))
	t.Timeouts.Settle = cmp.Or(t.Timeouts.Settle, Duration(2*time.Minute))
	t.Timeouts.Verify = cmp.Or(t.Timeouts.Verify, Duration(5*time.Minute))
	if t.Observe == nil {
		every := DefaultObserve
		t.Observe = &every
	}
	return t
}
