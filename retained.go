package keyturn

import (
	"fmt"
	"slices"
	"time"
)

const (
	// NearRotation is how long before and after a key came into use a snapshot may need the key before or
	// the key after: when a snapshot began, when it was complete and which clock dated it is not known.
	NearRotation = 24 * time.Hour
	// SnapshotsStale is how old the last look at a unit's snapshots may be until it says nothing any more.
	SnapshotsStale = 72 * time.Hour
)

// Sureness says how well it is known until when a key is needed.
type Sureness string

// The degrees.
const (
	SureExact   Sureness = "exact"   // every snapshot that counts names its key
	SureByTime  Sureness = "by-time" // some are known only by when they were made
	SureUnknown Sureness = "unknown" // snapshots may exist that nobody has seen, or some are kept without an end
)

// KeyLife is a key's state at its KMIP server or KMS, as last seen.
type KeyLife string

// The states of keys: those of KMIP 1.4 section 3.22, and what else can be seen of a key.
const (
	KeyPreActive   KeyLife = "pre-active"
	KeyActive      KeyLife = "active"
	KeyDeactivated KeyLife = "deactivated"
	KeyCompromised KeyLife = "compromised"
	KeyDestroyed   KeyLife = "destroyed"
	KeyMissing     KeyLife = "missing"  // the server knows no such key, or does not show it to us
	KeyDisabled    KeyLife = "disabled" // in a cloud KMS, by `keyturn keys retire`
	KeyUnclear     KeyLife = "unclear"  // the server did not say
)

// Gone reports whether nothing can be decrypted with the key any more.
func (l KeyLife) Gone() bool { return l == KeyMissing || l == KeyDestroyed }

// KeyState is what a KMIP server or a KMS said about a key when it was last asked. It holds no key material.
type KeyState struct {
	Target string  `json:"target"`
	KeyID  string  `json:"keyId"`
	State  KeyLife `json:"state"`
	Name   string  `json:"name,omitempty"`

	// When the key was made and came into its states, by the server's clock; nil: not told.
	InitialAt      *time.Time `json:"initialAt,omitempty"`
	ActivationAt   *time.Time `json:"activationAt,omitempty"`
	DeactivationAt *time.Time `json:"deactivationAt,omitempty"`
	CompromiseAt   *time.Time `json:"compromiseAt,omitempty"`
	DestroyAt      *time.Time `json:"destroyAt,omitempty"`

	Orphan bool      `json:"orphan,omitempty"` // it bears a name of the estate and is in no history
	Detail string    `json:"detail,omitempty"` // why the state is unclear
	SeenAt time.Time `json:"seenAt"`           // when the server said so
}

// Made is when the key was made; nil: not told.
func (s KeyState) Made() *time.Time {
	if s.InitialAt != nil {
		return s.InitialAt
	}
	return s.ActivationAt
}

// KeyRef names a key of a target: two KMIP servers may give the same id to two keys.
type KeyRef struct{ Target, KeyID string }

// String is the subject of alerts about the key.
func (n KeyRef) String() string { return n.Target + "/" + n.KeyID }

// KeyUse is a time during which a unit used a key, and what else must be known to judge whether the key may go.
type KeyUse struct {
	KeyID  string
	Unit   Unit // without its key
	From   time.Time
	Until  *time.Time // nil: it is the unit's last key in the history
	Origin Origin
	Before *time.Time // since when the unit used its key before; nil: this is the first that is known
	InUse  bool       // it is the unit's key
	Busy   bool       // a rotation is changing the unit
	Parked bool       // a change of the unit whose outcome nobody knows
	// Replacing reports that the rotation that replaced the key has not ended.
	Replacing bool
	// LookedAt is when the last listing of the unit's snapshots that came to its end began; nil: never. Trouble is why that did
	// not succeed since.
	LookedAt *time.Time
	Trouble  string
}

// NeedWindow is when snapshots of a unit were made that need a key if they do not name one.
type NeedWindow struct {
	Key      int // the number of the key in the question
	Unit     string
	From, To time.Time
}

// Window returns when snapshots were made that may need the key: conservatively, so that near a rotation
// they need both.
func (u KeyUse) Window() (from, to time.Time) {
	far := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	switch {
	case u.Before == nil: // nobody knows for how long it had been in use
	case u.Origin == OriginRotated:
		from = u.From.Add(-NearRotation)
	default: // it was seen at From; it came into use at any time since the key before was seen first
		from = u.Before.Add(-NearRotation)
	}
	if u.Until == nil {
		return from, far
	}
	return from, u.Until.Add(NearRotation)
}

// KeyNeed sums up the snapshots that need a key.
type KeyNeed struct {
	Named    int        // they name it
	ByTime   int        // they name no key that is known, and were made when it was in use
	Endless  int        // of both: without an expiry, or kept whatever it says
	Clusters int        // of so many clusters
	Until    *time.Time // the last expiry
}

// RetainedUse is one use of a key as it is shown.
type RetainedUse struct {
	Unit        string     `json:"unit"` // the unit's id
	Name        string     `json:"name"`
	ProjectName string     `json:"projectName"`
	ClusterName string     `json:"clusterName"`
	From        time.Time  `json:"from"`
	Until       *time.Time `json:"until"`
	InUse       bool       `json:"inUse"`
	Policies    []string   `json:"policies"` // that select the unit
}

// RetainedKey is a key of a target's history, with what is known of who still needs it.
type RetainedKey struct {
	KeyID     string        `json:"keyId"`
	Target    string        `json:"target"`
	System    System        `json:"system"`
	InUse     bool          `json:"inUse"`
	From      *time.Time    `json:"from"`  // of the first use; nil: only snapshots name it
	Until     *time.Time    `json:"until"` // of the last; nil: in use
	Units     []RetainedUse `json:"units"`
	State     *KeyState     `json:"state"`     // as last seen; nil: nobody asked
	Snapshots int           `json:"snapshots"` // that need it
	Clusters  int           `json:"clusters"`  // whose they are
	// NeededUntil is when the last of those snapshots expires; nil: there is none, or some have no expiry.
	NeededUntil *time.Time `json:"neededUntil"`
	Sure        Sureness   `json:"sure"`
	Reasons     []string   `json:"reasons"`
	// SafeToRetireAt is from when on no known snapshot needs it; nil: it is in use, or that can't be said.
	SafeToRetireAt *time.Time `json:"safeToRetireAt"`

	Need KeyNeed  `json:"-"`
	Uses []KeyUse `json:"-"`
}

// Judge makes of a key's uses and of the snapshots that need it what is known of it at now.
func Judge(name KeyRef, uses []KeyUse, need KeyNeed, now time.Time) RetainedKey {
	k := RetainedKey{
		KeyID: name.KeyID, Target: name.Target, Units: []RetainedUse{}, Reasons: []string{},
		Snapshots: need.Named + need.ByTime, Clusters: need.Clusters, Need: need, Uses: uses,
	}
	var end time.Time
	for _, u := range uses {
		k.System = u.Unit.System
		if k.From == nil || u.From.Before(*k.From) {
			k.From = &u.From
		}
		k.InUse = k.InUse || u.InUse || u.Until == nil
		if u.Until != nil && u.Until.After(end) {
			end = *u.Until
		}
		k.Units = append(k.Units, RetainedUse{
			Unit: u.Unit.ID, Name: u.Unit.Name, ProjectName: u.Unit.ProjectName, ClusterName: u.Unit.ClusterName,
			From: u.From, Until: u.Until, InUse: u.InUse || u.Until == nil, Policies: []string{},
		})
	}
	if !k.InUse && len(uses) > 0 {
		k.Until = &end
	}
	if need.Endless == 0 && k.Snapshots > 0 {
		k.NeededUntil = need.Until
	}
	k.sure(now)
	if k.Until != nil && k.Sure != SureUnknown {
		k.SafeToRetireAt = k.Until
		if k.NeededUntil != nil && k.NeededUntil.After(end) {
			k.SafeToRetireAt = k.NeededUntil
		}
	}
	return k
}

// sure says how sure it is, and why.
func (k *RetainedKey) sure(now time.Time) {
	k.Sure = SureExact
	because := func(s Sureness, format string, args ...any) {
		k.Reasons = append(k.Reasons, fmt.Sprintf(format, args...))
		if k.Sure == SureExact || s == SureUnknown {
			k.Sure = s
		}
	}
	for _, reason := range k.unseen(now) {
		because(SureUnknown, "%s", reason)
	}
	if n := k.Need.Endless; n > 0 {
		because(SureUnknown, "%d of the snapshots have no expiry, or are kept whatever it says: they need it as long as they exist", n)
	}
	if n := k.Need.ByTime; n > 0 {
		because(SureByTime, "%d of the snapshots do not name a key of the history: they need the key that was in use when they were made", n)
	}
	if n := k.Need.Named; n > 0 {
		because(k.Sure, "%d of the snapshots name it as their key", n)
	}
	if k.Snapshots == 0 {
		because(k.Sure, "no snapshot that was seen needs it")
	}
	if k.System == SystemAtlas {
		because(SureByTime, "snapshots of deleted clusters and copies in other regions are not listed by Atlas")
	}
}

// unseen says what hides snapshots that may exist.
func (k *RetainedKey) unseen(now time.Time) []string {
	var never, failed, old, early []string
	var trouble string
	for _, u := range k.Uses {
		switch {
		case u.LookedAt == nil && u.Trouble == "":
			never = append(never, u.Unit.ID)
		case u.Trouble != "":
			failed, trouble = append(failed, u.Unit.ID), u.Trouble
		case now.Sub(*u.LookedAt) > SnapshotsStale:
			old = append(old, u.Unit.ID)
		case u.LookedEarly():
			early = append(early, u.Unit.ID)
		}
	}
	var why []string
	if len(k.Uses) == 0 {
		why = append(why, "it is in no history: only snapshots name it, and who used it is not known")
	}
	for _, c := range []struct {
		units []string
		what  string
	}{
		{never, "the snapshots of %s were never looked at"},
		{failed, "the snapshots of %s could not be listed: " + trouble},
		{old, "the snapshots of %s were last looked at more than 3 days ago"},
		{early, "the snapshots of %s were last looked at before the key was replaced"},
	} {
		if len(c.units) > 0 {
			why = append(why, fmt.Sprintf(c.what, someUnits(c.units)))
		}
	}
	return why
}

// LookedEarly reports whether the last look at the unit's snapshots may not have seen all that were made with the key.
func (u KeyUse) LookedEarly() bool {
	return u.Until != nil && u.LookedAt != nil && u.LookedAt.Before(u.Until.Add(listingLag(u.Unit.System)))
}

// listingLag is how old a listing may be that a system gives now: those of Ops Manager are kept for a minute, so
// that the shards of a cluster share one.
func listingLag(s System) time.Duration {
	if s == SystemAtlas {
		return 0
	}
	return 2 * time.Minute
}

// someUnits names a unit, and how many more there are.
func someUnits(ids []string) string {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 1 {
		return "unit " + ids[0]
	}
	return fmt.Sprintf("unit %s and %d more", ids[0], len(ids)-1)
}

// KeyFilter narrows a listing of keys, which is by key id and target.
type KeyFilter struct {
	Target string
	Unit   string // id, name, PROJECT/NAME or component id
	Key    string // exact id
	Old    bool   // only those that no unit uses any more
	// Bad narrows to keys that are gone or not active any more, and to orphans, as last seen; then Unit, Key and
	// Old do not narrow.
	Bad  bool
	Page Page
}

// KeyJobKind is a kind of look at a target that one replica takes at a time.
type KeyJobKind string

// The kinds.
const (
	JobSnapshots KeyJobKind = "snapshots" // which snapshots there are
	JobAudit     KeyJobKind = "audit"     // what the KMIP server says of the keys
)

// KeyJob is the look at a target's snapshots, or the audit of its keys: when it was last done and whether it is due.
type KeyJob struct {
	Target string
	Kind   KeyJobKind
	Turn   int64 // counts the claims: a claim of another turn is refused

	CreatedAt time.Time  // of the target
	AskedAt   *time.Time // somebody asks for it since then
	DoneAt    *time.Time
	NotBefore *time.Time // after a failure
	HeldUntil *time.Time // the target is held
	Taken     bool       // somebody is at it
	Busy      bool       // a rotation works on the target, or is about to
	Trouble   string     // why the last try did not come to its end
	Result    KeyAudit   // of the last audit
}

// KeyAudit is the result of an audit of a target's keys.
type KeyAudit struct {
	Target     string          `json:"target"`
	AskedAt    *time.Time      `json:"askedAt"` // somebody waits for one since then
	DoneAt     *time.Time      `json:"doneAt"`  // nil: there was none yet
	Running    bool            `json:"running"`
	Trouble    string          `json:"trouble"` // why the last try did not come to its end
	Server     string          `json:"server"`  // vendor and version of the protocol
	Keys       int             `json:"keys"`
	States     map[KeyLife]int `json:"states"`
	Orphans    int             `json:"orphans"`
	RoundTrips int             `json:"roundTrips"` // messages that were exchanged with the server
	Took       Duration        `json:"took"`
}

// KeyJobEnd is how a job ended.
type KeyJobEnd struct {
	Done    bool
	Retry   time.Duration // when it is due again, if it is not done
	Trouble string
	Result  *KeyAudit // nil: that of the last one stays
}

// SnapshotLook is one look at the snapshots of a unit. Number counts the looks.
type SnapshotLook struct {
	Unit    string
	Number  int64
	Trouble string // why they could not be listed to the end
}

// SeenSnapshot is a snapshot and the number of the look that saw it.
type SeenSnapshot struct {
	Snapshot
	Look int64
}

// DueAt is when a job with this interval is due at the latest; ok is false when it is not, and nobody asks.
// The first is due at first after the target was made.
func (j KeyJob) DueAt(every, first time.Duration) (at time.Time, ok bool) {
	if j.AskedAt != nil {
		at, ok = *j.AskedAt, true
	}
	if every <= 0 {
		return at, ok
	}
	next := j.CreatedAt.Add(min(every, first))
	if j.DoneAt != nil {
		next = j.DoneAt.Add(every)
	}
	if !ok || next.Before(at) {
		return next, true
	}
	return at, true
}

// Audit returns the result of the last audit with what happens now.
func (j KeyJob) Audit() KeyAudit {
	a := j.Result
	a.Target, a.AskedAt, a.DoneAt, a.Running, a.Trouble = j.Target, j.AskedAt, j.DoneAt, j.Taken, j.Trouble
	if a.States == nil {
		a.States = map[KeyLife]int{}
	}
	return a
}
