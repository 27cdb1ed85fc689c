package keyturn

import (
	"encoding/json"
	"time"
)

// Page bounds a listing. Listings are in a stable order; After is the cursor
// that the page before returned.
type Page struct {
	After string // empty: from the start
	Limit int    // 1 to 1000; 0 means 500
}

// UnitFilter narrows a listing of units; zero fields do not narrow.
type UnitFilter struct {
	Target, Project, Cluster string // exact ids or names
	Name                     string // the unit's id, name, PROJECT/NAME or component id
	Page                     Page
}

// RotationFilter narrows a listing of rotations, which is newest first.
type RotationFilter struct {
	Policy string
	State  RotationState
	// From and To bound the time at which they were requested: from From on, before To. Zero: no bound.
	From, To time.Time
	Page     Page
}

// HistoryFilter narrows a listing of key records, which is oldest first.
type HistoryFilter struct {
	Unit     string // id, name, PROJECT/NAME or component id
	Rotation ID
	Page     Page
}

// ResourceKind is a kind of thing that `apply` manages.
type ResourceKind string

// The kinds.
const (
	KindTarget  ResourceKind = "Target"
	KindPolicy  ResourceKind = "Policy"
	KindWebhook ResourceKind = "Webhook"
	KindHook    ResourceKind = "Hook"
	KindSilence ResourceKind = "Silence"
)

// Resource is a target, policy or webhook as it was applied.
type Resource struct {
	Kind       ResourceKind    `json:"kind"`
	Name       string          `json:"name"`
	Spec       json.RawMessage `json:"spec"`
	Generation int64           `json:"generation"`
	CreatedAt  time.Time       `json:"createdAt"`
	UpdatedAt  time.Time       `json:"updatedAt"`
	Status     ResourceStatus  `json:"status,omitzero"`
}

// ResourceStatus is what happens to a resource, as opposed to what was asked for.
type ResourceStatus struct {
	Paused    bool   `json:"paused,omitempty"`    // policies
	PausedBy  string `json:"pausedBy,omitempty"`  // policies
	PauseNote string `json:"pauseNote,omitempty"` // policies
	// PausedUntil is when a paused policy goes on by itself; nil: when a person resumes it.
	PausedUntil *time.Time `json:"pausedUntil,omitempty"`
	// Skipped is the last slot of a policy that came and did not fire: which, why and when that was decided.
	SkippedSlot   string     `json:"skippedSlot,omitempty"`
	SkippedReason string     `json:"skippedReason,omitempty"`
	SkippedAt     *time.Time `json:"skippedAt,omitempty"`
	NextSlot      string     `json:"nextSlot,omitempty"`   // policies: Slot.Name
	NextAt        *time.Time `json:"nextAt,omitempty"`     // policies
	HeldUntil     *time.Time `json:"heldUntil,omitempty"`  // targets
	HoldReason    string     `json:"holdReason,omitempty"` // targets

	Webhook *WebhookState `json:"webhook,omitempty"` // webhooks
}

// ResourceChange is one step of an apply.
type ResourceChange struct {
	Kind   ResourceKind
	Name   string
	Spec   json.RawMessage // nil: delete
	Next   *Slot           // policies: the first slot from now on; nil: none
	Expect int64           // the generation this change was made from; 0: does not exist yet
}

// Role is what the bearer of a token may do.
type Role string

// The roles; each includes the ones before it.
const (
	RoleViewer   Role = "viewer"   // read
	RoleOperator Role = "operator" // rotate, pause, resume
	RoleAdmin    Role = "admin"    // apply, tokens
)

// Token is an API token, without the secret: only its SHA-256 is stored.
type Token struct {
	ID        ID         `json:"id"`
	Name      string     `json:"name"`
	Role      Role       `json:"role"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt"`
	RevokedAt *time.Time `json:"revokedAt"`
}
