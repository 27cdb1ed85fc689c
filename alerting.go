package keyturn

import (
	"fmt"
	"strings"
	"time"
)

// GroupWait is how long somebody waits for company before the notice of a group: alerts that begin or
// end together are told together.
const GroupWait = 5 * time.Second

// NoticeAlerts is how many alerts a notice lists at most.
const NoticeAlerts = 50

// AlertGroup names the alerts that a person is told of together: one notice for each group, however
// many alerts it has.
type AlertGroup struct {
	Kind AlertKind
	// Name is what its alerts are of: a policy; the webhook of AlertWebhookFailing, and the hook of AlertExternal,
	// since what becomes of one of them says nothing of another. Empty: they may be of several policies.
	Name   string
	Target string
}

// String is the group as notices name it: "key.age/quarterly/om-prod".
func (g AlertGroup) String() string { return fmt.Sprintf("%s/%s/%s", g.Kind, g.Name, g.Target) }

// PolicyName is the policy that its alerts are about; empty: they are not about one policy.
func (g AlertGroup) PolicyName() string {
	if g.Kind == AlertWebhookFailing || g.Kind == AlertExternal {
		return ""
	}
	return g.Name
}

// AlertFact is something that holds now and that a person must know: what an alert begins with.
type AlertFact struct {
	Kind     AlertKind
	Subject  string // see AlertKind
	Severity Severity
	Policy   string
	Target   string
	Project  string // of a unit: the id of its project
	Cluster  string // of a unit: the name of its cluster
	Message  string
}

// Group returns the group of the fact's alert. What befalls a target befalls all its policies at once,
// and a scheduler that is gone misses the slots of all: those are told once, not once for each policy.
func (f AlertFact) Group() AlertGroup {
	switch f.Kind {
	case AlertPolicyMissed, AlertTargetUnreachable, AlertCredentialsRejected, AlertKeyMissing, AlertKeyDeactivated, AlertKeyOrphan:
		return AlertGroup{Kind: f.Kind, Target: f.Target}
	case AlertWebhookFailing:
		return AlertGroup{Kind: f.Kind, Name: f.Subject}
	case AlertExternal:
		hook, _, _ := strings.Cut(f.Subject, "/")
		return AlertGroup{Kind: f.Kind, Name: hook, Target: f.Target}
	default:
		return AlertGroup{Kind: f.Kind, Name: f.Policy, Target: f.Target}
	}
}

// AlertEvidence is what the database knows of a fact, before it is judged by its policy and put into words.
type AlertEvidence struct {
	Subject string
	Policy  string
	Target  string
	Unit    Unit          // of kinds that are about a unit or one of its tasks; only what selections look at
	Since   time.Time     // since when it holds
	Detail  string        // the system's or the task's own words
	State   RotationState // of a rotation
	Count   int           // what is wrong: units that are not turned, deliveries that are parked
	Total   int           // of so many
	Mixed   []string      // names of mixed clusters, a few
	Failing bool          // of a webhook: its receiver takes nothing
	Gone    bool          // of a webhook: its receiver wants nothing any more
}

// KeyedUnit is a unit with its key, and a place in the order of keys by their age.
type KeyedUnit struct {
	Unit
	Since time.Time
	Exact bool
}

// KeyCursor is a place in the order of keys by their age, the oldest first.
type KeyCursor struct {
	Since time.Time
	Unit  string
}

// OpenAlert is an alert as the evaluation sees it.
type OpenAlert struct {
	ID        ID
	Version   int64 // counts its changes; a change is refused when somebody else was first
	Fact      AlertFact
	State     AlertState
	GoneSince *time.Time // its fact is gone, but not for long enough
	// AckedUntil is when an acknowledgement ends.
	AckedUntil *time.Time
}

// AlertUpdate is one change of an open alert.
type AlertUpdate struct {
	ID       ID
	Version  int64
	Group    AlertGroup
	State    AlertState
	Severity Severity
	Message  string
	Noted    bool // it belongs into the history: not only the message changed
	Urgent   bool // someone must be told at once, also if its group was told of just now
}

// AlertBatch is changes that are made together, in this order.
type AlertBatch struct {
	Resolve []OpenAlert
	Update  []AlertUpdate
	Open    []AlertFact // a fact that has an open alert already opens none
	Gone    []ID        // the fact is gone since now
	Back    []ID        // the fact is there again
}

// Size is how many changes the batch has.
func (b *AlertBatch) Size() int {
	return len(b.Resolve) + len(b.Update) + len(b.Open) + len(b.Gone) + len(b.Back)
}

// AlertSweep is the leave to evaluate alerts, which one process has at a time, and how far it got.
type AlertSweep struct {
	Now time.Time // the database's clock
	// When the ages of all keys, the facts that cost more to find, and the keys that were turned were
	// last looked at; zero: never.
	KeysAt, FactsAt, TurnedAt time.Time
}

// AlertGroupState is what was told of a group.
type AlertGroupState struct {
	Group   AlertGroup
	Version int64
	Touched bool // its alerts changed since it was told
	Urgent  bool // and in a way that can't wait
	// ToldState is AlertFiring while somebody was told that it fires and not yet that it ended.
	ToldState    AlertState
	ToldSeverity Severity
	ToldAt       time.Time
	// ToldSince is since when it fires, as it was told.
	ToldSince time.Time
}

// AlertGroupSummary are the open alerts of a group.
type AlertGroupSummary struct {
	Open, Firing, Critical, Warning int
	Worst                           Severity // of those that fire
	Oldest, Newest                  time.Time
	Clusters                        int // of all open ones
	Silenced                        int // open ones that were silenced when they were last looked at
}

// NoticeWrite is what came of looking at a group: a notice, or nothing to tell for now.
type NoticeWrite struct {
	Seen   AlertGroupState
	Notice *Notice    // nil: nobody is told
	DueAt  *time.Time // when to look at the group again, if nothing changes before; nil: never
}

// Silence keeps people from being told of alerts, for some time. The JSON form is the spec of `kind: Silence`.
type Silence struct {
	Name string `json:"-"`

	Match    SilenceMatch `json:"match,omitzero"`
	StartsAt *time.Time   `json:"startsAt,omitempty"` // nil: from now on
	EndsAt   time.Time    `json:"endsAt"`
	Reason   string       `json:"reason,omitzero"`
}

// SilenceMatch selects alerts by globs (path.Match: * ? [a-z]); an empty list selects all.
type SilenceMatch struct {
	Kinds    []string `json:"kinds,omitempty"`
	Policies []string `json:"policies,omitempty"`
	Targets  []string `json:"targets,omitempty"`
	Clusters []string `json:"clusters,omitempty"`
	Subjects []string `json:"subjects,omitempty"`
}

// Active reports whether the silence holds at the time.
func (s Silence) Active(at time.Time) bool {
	return (s.StartsAt == nil || !at.Before(*s.StartsAt)) && at.Before(s.EndsAt)
}

// MatchGroup reports whether the silence can match alerts of the group, and whether it matches all of them.
func (s Silence) MatchGroup(g AlertGroup) (some, all bool) {
	some = matchAny(s.Match.Kinds, string(g.Kind)) && matchAny(s.Match.Targets, g.Target)
	whole := len(s.Match.Clusters) == 0 && len(s.Match.Subjects) == 0
	if g.PolicyName() == "" { // its alerts may be about several policies
		return some, some && whole && len(s.Match.Policies) == 0
	}
	some = some && matchAny(s.Match.Policies, g.PolicyName())
	return some, some && whole
}

// Matches reports whether the silence is about the fact.
func (s Silence) Matches(f AlertFact) bool {
	return matchAny(s.Match.Kinds, string(f.Kind)) && matchAny(s.Match.Policies, f.Policy) &&
		matchAny(s.Match.Targets, f.Target) && matchAny(s.Match.Clusters, f.Cluster) &&
		matchAny(s.Match.Subjects, f.Subject)
}

// Rank orders severities: a worse one is greater.
func (s Severity) Rank() int {
	switch s {
	case SeverityInfo:
		return 1
	case SeverityWarning:
		return 2
	case SeverityCritical:
		return 3
	default:
		return 0
	}
}

// AlertKinds lists the kinds.
func AlertKinds() []AlertKind {
	return []AlertKind{
		AlertKeyAge, AlertKeyDueSoon, AlertKeyDrift, AlertRotationFailed, AlertRotationPartial, AlertRotationStuck,
		AlertTaskParked, AlertPolicyMissed, AlertTargetUnreachable, AlertCredentialsRejected, AlertWebhookFailing,
		AlertKeyMissing, AlertKeyDeactivated, AlertKeyOrphan, AlertExternal,
	}
}

// SeverityOfRank is the severity whose Rank it is; empty if there is none.
func SeverityOfRank(rank int) Severity {
	for _, s := range []Severity{SeverityInfo, SeverityWarning, SeverityCritical} {
		if s.Rank() == rank {
			return s
		}
	}
	return ""
}

// AlertCount is how many open alerts there are.
type AlertCount struct {
	Kind     AlertKind
	Severity Severity
	Open     int
}

// Cursor is the alert's place in a listing.
func (a Alert) Cursor() string {
	if a.State == AlertResolved {
		return "resolved/" + a.ID.String()
	}
	return "open/" + a.ID.String()
}

// AlertCursor reads a cursor that Alert.Cursor made; an empty one is before all alerts.
func AlertCursor(s string) (open bool, id ID, err error) {
	if s == "" {
		for i := range id {
			id[i] = 0xff
		}
		return true, id, nil
	}
	state, text, _ := strings.Cut(s, "/")
	if id, err = ParseID(text); err != nil || state != "open" && state != "resolved" {
		return false, ID{}, fmt.Errorf("%q is no cursor of a listing of alerts: take it from the page before", s)
	}
	return state == "open", id, nil
}

// Raise is what to do about a fact that somebody tells of, given its open alerts, one at most. An
// acknowledged alert that got worse fires again.
func Raise(f AlertFact, open []OpenAlert) AlertBatch {
	if len(open) == 0 {
		return AlertBatch{Open: []AlertFact{f}}
	}
	var batch AlertBatch
	a := open[0]
	if a.Fact.Severity != f.Severity || a.Fact.Message != f.Message {
		batch.Update = append(batch.Update, a.Become(f))
	}
	if a.GoneSince != nil {
		batch.Back = append(batch.Back, a.ID)
	}
	return batch
}

// Become is the change of an open alert to what its fact is now.
func (a OpenAlert) Become(f AlertFact) AlertUpdate {
	worse := f.Severity.Rank() > a.Fact.Severity.Rank()
	u := AlertUpdate{
		ID: a.ID, Version: a.Version, Group: a.Fact.Group(), State: a.State, Severity: f.Severity, Message: f.Message,
		Noted: a.Fact.Severity != f.Severity, Urgent: worse,
	}
	if worse {
		u.State = AlertFiring
	}
	return u
}

// AckNotice is what is told when somebody acknowledged alerts: the first of them, of count, while open
// alerts of the group are not resolved.
func AckNotice(g AlertGroup, ack Ack, alerts []Alert, count, open int, now time.Time) Notice {
	n := Notice{
		Group: g.String(), Kind: g.Kind, State: AlertAcknowledged, Policy: g.PolicyName(), Target: g.Target, At: now, Since: now, Count: open, Alerts: alerts,
	}
	for _, a := range alerts {
		if a.Severity.Rank() > n.Severity.Rank() {
			n.Severity = a.Severity
		}
		if a.Since.Before(n.Since) {
			n.Since = a.Since
		}
	}
	what := fmt.Sprintf("%d alerts", count)
	if count == 1 && len(alerts) == 1 {
		what = alerts[0].Message
	}
	n.Message = fmt.Sprintf("acknowledged by %s: %s", ack.By, what)
	if ack.Until != nil {
		n.Message += ", until " + ack.Until.UTC().Format(time.RFC3339)
	}
	if ack.Note != "" {
		n.Message += " (" + ack.Note + ")"
	}
	return n
}
