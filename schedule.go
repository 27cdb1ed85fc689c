package keyturn

import "time"

// Schedule says when a policy's units are due. Times of day and dates are local times of Timezone.
type Schedule struct {
	Cron     string `json:"cron,omitzero"`     // empty: only by trigger, or by MaxAge
	Timezone string `json:"timezone,omitzero"` // IANA name; empty: UTC

	// Gap says what becomes of a slot whose local time does not exist, because the clocks were set forward.
	Gap Gap `json:"gap,omitzero"`
	// Fold says when a slot fires whose local time comes twice, because the clocks were set back.
	Fold Fold `json:"fold,omitzero"`

	// StartAt and EndAt bound the slots: none is before StartAt, none is at or after EndAt. Nil: no bound.
	StartAt *time.Time `json:"startAt,omitzero"`
	EndAt   *time.Time `json:"endAt,omitzero"`

	// Windows are the times at which rotations of the schedule may work; none: always. A slot outside of
	// them waits for the next one, and a rotation that is under way when one closes goes on in the next.
	// Who triggers a rotation by hand has chosen its time: neither windows nor blackouts hold it.
	Windows []Window `json:"windows,omitempty"`
	// Blackouts are times at which rotations of the schedule must not work, whatever Windows say.
	Blackouts []Blackout `json:"blackouts,omitempty"`
	// Deadline says what happens when no window opens before a key would get older than the policy's
	// alerts.criticalAfter.
	Deadline Deadline `json:"deadline,omitzero"`

	// Jitter delays each unit of a scheduled rotation by a time between 0 and Jitter, which depends on the
	// policy's and the unit's names only: a fleet spreads, and stays put from slot to slot.
	Jitter Duration `json:"jitter,omitzero"`
	// CatchUp says which of the slots that nobody fired in time, because no scheduler ran, are fired late;
	// of those older than CatchUpWindow none is. 0: no limit.
	CatchUp       CatchUp  `json:"catchUp,omitzero"`
	CatchUpWindow Duration `json:"catchUpWindow,omitzero"`
	// Overlap says what happens to a slot that comes while a rotation of the policy is under way.
	Overlap Overlap `json:"overlap,omitzero"`

	// MinInterval keeps a unit from being turned again within this time, whatever asks for it. 0: no limit.
	MinInterval Duration `json:"minInterval,omitzero"`
	// MaxAge turns each key when it is this old, a bit earlier for some than for others so that they spread
	// (by Jitter, or a tenth of MaxAge). Without Cron the policy looks every hour; with it, at its slots. 0: whatever its age.
	MaxAge Duration `json:"maxAge,omitzero"`
}

// Plain reports that nothing but the time decides what becomes of a slot: no windows, no rotation that is under way,
// no age of a key.
func (s Schedule) Plain() bool {
	return len(s.Windows) == 0 && len(s.Blackouts) == 0 && s.Deadline == "" && s.MaxAge == 0 && (s.Overlap == "" || s.Overlap == OverlapQueue)
}

// Gap is a rule for local times that don't exist.
type Gap string

// The rules for gaps.
const (
	GapAfter Gap = "after" // fires at the end of the gap; the default
	GapSkip  Gap = "skip"  // does not fire
)

// Fold is a rule for local times that come twice.
type Fold string

// The rules for folds.
const (
	FoldFirst Fold = "first" // fires the first time; the default
	FoldLast  Fold = "last"  // fires the second time
	FoldBoth  Fold = "both"  // fires both times: two slots
)

// Deadline is a rule for keys that get too old before the next window.
type Deadline string

// The rules for deadlines.
const (
	DeadlineAlert Deadline = "alert" // someone is told, nothing is turned; the default
	DeadlineRun   Deadline = "run"   // the slot fires in time, outside of the windows
)

// CatchUp is a rule for slots that were missed.
type CatchUp string

// The rules for missed slots.
const (
	CatchUpLatest CatchUp = "latest" // the newest of them fires; the default
	CatchUpAll    CatchUp = "all"    // all of them fire, one rotation after the other
	CatchUpSkip   CatchUp = "skip"   // none of them fires
)

// Overlap is a rule for slots that come while a rotation of the policy is under way.
type Overlap string

// The rules for overlaps.
const (
	OverlapQueue  Overlap = "queue"  // the new rotation begins when the one before has ended; the default
	OverlapSkip   Overlap = "skip"   // the slot does not fire
	OverlapCancel Overlap = "cancel" // what the rotation before has not begun is cancelled, then the new one begins
)

// Window is a time of the week at which rotations may work: From to To, on the days on which it begins. A
// window whose To is not after its From ends on the next day.
type Window struct {
	Days []string `json:"days,omitempty"` // mon, tue, wed, thu, fri, sat, sun; none: every day
	From string   `json:"from"`           // 22:00
	To   string   `json:"to"`             // 05:00; 24:00 is the end of the day
}

// Blackout is a time at which rotations must not work: a day, a range of days or of local times, or the
// events of an iCalendar (RFC 5545).
type Blackout struct {
	Date     string `json:"date,omitzero"`     // 2026-12-24
	From     string `json:"from,omitzero"`     // 2026-12-20 or 2026-12-20T18:00
	To       string `json:"to,omitzero"`       // 2027-01-06, the whole day, or 2027-01-06T06:00, exclusive
	ICal     string `json:"ical,omitzero"`     // the text of a calendar
	ICalFile string `json:"icalFile,omitzero"` // a file on the server, absolute
	Note     string `json:"note,omitzero"`     // why; shown where a slot was moved
}

// Rollout says how a rotation proceeds through the units of a policy. The zero value takes them all at once.
type Rollout struct {
	// Canary is how many units are turned, and confirmed, before any other. One that is not turned halts the rotation.
	Canary int `json:"canary,omitzero"`
	// Batch is how many units are turned before the next are begun: a number ("50") or a share of all units
	// ("25%", rounded up). Units of one cluster stay together where a batch has room. Empty: all.
	Batch Batch `json:"batch,omitzero"`
	// MaxFailures halts the rotation when more tasks than this failed or were parked; nil: never.
	MaxFailures *int `json:"maxFailures,omitzero"`
	// Order of the units within a cluster.
	Order Order `json:"order,omitzero"`
	// PauseBetween is how long the rotation waits between batches.
	PauseBetween Duration `json:"pauseBetween,omitzero"`
}

// Order is the order in which the components of a cluster are turned.
type Order string

// The orders. Other than with OrderAny, no component of the second kind begins before the cluster's ones of
// the first kind have ended.
const (
	OrderAny         Order = "any" // the default
	OrderConfigFirst Order = "config-first"
	OrderShardsFirst Order = "shards-first"
)
