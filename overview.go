package keyturn

import "time"

// Overview says in one answer whether everything is all right.
type Overview struct {
	At      time.Time // by the database's clock
	Targets []TargetOverview
	// Oldest is the unit with the oldest key; nil: no key is known.
	Oldest *Unit
	// Open alerts that fire, by severity, and those that somebody cares for.
	Critical, Warning, Info, Acknowledged int
	Parked                                int     // tasks that wait for a person
	Next                                  *NextUp // nil: nothing is planned
	Running                               int     // rotations that have not ended
}

// NextUp is the next slot of all policies that are not paused.
type NextUp struct {
	Policy string
	At     time.Time
}

// TargetOverview sums up a target and its keys.
type TargetOverview struct {
	Name     string
	Units    int
	Unknown  int        // units whose key was never seen
	Fixed    int        // units that can't be rotated
	Warn     int        // keys that are at least KeyWarnAge old, the older ones too
	Critical int        // keys that are at least KeyCriticalAge old
	Oldest   *time.Time // since when its oldest key is in use; nil: none is known

	Trouble      string // "", "unreachable" or "rejected"
	TroubleSince *time.Time
	TroubleWords string
	HeldUntil    *time.Time // nothing is sent before; nil: it may work
	HoldReason   string
}

// The ages at which the pages call a key old, whatever a policy's alerts say.
const (
	KeyWarnAge     = 90 * 24 * time.Hour
	KeyCriticalAge = 365 * 24 * time.Hour
)
