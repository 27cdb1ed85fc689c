package keyturn

import "time"

// Finding is what doctor finds out about one unit: the unit (Rotatable, and the Reason if it is not) and how
// its key would be turned.
type Finding struct {
	Unit
	// Way is how the key would be turned: "backup-endpoint", "automation", "aws:new-key", "azure:new-version", …
	// Empty: no way applies.
	Way string `json:"way"`
	// Fix is what a person can do about the Reason, where to do it and what it needs. Empty: nothing, or nothing is wrong.
	Fix string `json:"fix"`
	// Passing reports that what is wrong heals by itself: a member that starts, a cluster that is changed right now.
	Passing bool `json:"passing"`
	// Policies are those whose selection selects the unit.
	Policies []string `json:"policies"`
}

// Never reports that the unit's key can't be turned until someone changes something.
func (f Finding) Never() bool { return !f.Rotatable && !f.Passing }

// CheckState is how a check went.
type CheckState string

// The states of a check.
const (
	CheckOK      CheckState = "ok"
	CheckWarning CheckState = "warning" // it works, but not as someone may expect
	CheckFailed  CheckState = "failed"  // rotations fail, or can't begin, because of it
	CheckUnknown CheckState = "unknown" // it could not be found out
)

// Check is one thing that doctor looked at, beside units.
type Check struct {
	Name    string     `json:"name"`    // "credentials", "role", "clock", "api-version", "database", "bus", "policy", …
	Subject string     `json:"subject"` // what it is about: "target/om-prod", "policy/quarterly"; empty: the server
	State   CheckState `json:"state"`
	Message string     `json:"message"` // what was found, one line
	Fix     string     `json:"fix"`     // what to do, one line; empty: nothing
}

// Threshold is the age from which on a system itself tells people that a key should be turned.
type Threshold struct {
	ID          string `json:"id"` // of the system's alert configuration; empty: there is none, and none can be set
	Target      string `json:"target"`
	ProjectID   string `json:"projectId"`
	ProjectName string `json:"projectName"`
	Event       string `json:"event"` // AWS_ENCRYPTION_KEY_NEEDS_ROTATION, AZURE_…, GCP_…
	Enabled     bool   `json:"enabled"`
	Days        int    `json:"days"` // from 1
}

// Diagnosis is all that doctor found.
type Diagnosis struct {
	At         time.Time   `json:"at"`
	Healthy    bool        `json:"healthy"` // no check failed, and no policy selects what can never be turned
	Checks     []Check     `json:"checks"`
	Units      []Finding   `json:"units"`
	Thresholds []Threshold `json:"thresholds"`
}
