package keyturn

import "time"

// AlertKind is what an alert is about. Each kind is a fact that can be looked up, so that an alert
// begins and ends with its fact.
type AlertKind string

// The kinds of alert, and what their subject is.
const (
	AlertKeyAge              AlertKind = "key.age"              // a unit: its key is older than the policy allows
	AlertKeyDueSoon          AlertKind = "key.due_soon"         // a unit: its key is about to be
	AlertKeyDrift            AlertKind = "key.drift"            // a unit: somebody else turned its key
	AlertRotationFailed      AlertKind = "rotation.failed"      // a policy: its last rotation turned nothing
	AlertRotationPartial     AlertKind = "rotation.partial"     // a policy: its last rotation left clusters mixed or units unturned
	AlertRotationStuck       AlertKind = "rotation.stuck"       // a rotation: it makes no progress
	AlertTaskParked          AlertKind = "task.parked"          // a task: a person must decide
	AlertPolicyMissed        AlertKind = "policy.missed"        // a policy: a slot's rotation is not there
	AlertTargetUnreachable   AlertKind = "target.unreachable"   // a target: it does not answer
	AlertCredentialsRejected AlertKind = "credentials.rejected" // a target: it refuses the API key
	AlertWebhookFailing      AlertKind = "webhook.failing"      // a webhook: it does not take its notifications
	AlertKeyMissing          AlertKind = "key.missing"          // a key: the KMIP server does not have it any more, or it was destroyed
	AlertKeyDeactivated      AlertKind = "key.deactivated"      // a key: the KMIP server would not let it be used
	AlertKeyOrphan           AlertKind = "key.orphan"           // a key: it is in the KMIP server under our names, and in no history
	AlertExternal            AlertKind = "external"             // a hook: somebody else's alert, which no policy answers
)

// Severity says how bad it is.
type Severity string

// The severities.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// AlertState is how far an alert is.
type AlertState string

// The states of an alert.
const (
	AlertFiring       AlertState = "firing"
	AlertAcknowledged AlertState = "acknowledged" // somebody cares for it, for some time
	AlertResolved     AlertState = "resolved"     // its fact is gone
)

// CanBecome reports whether an alert may go from s to next. A resolved alert stays so: when its fact
// comes back, there is a new alert.
func (s AlertState) CanBecome(_ AlertState) bool {
	switch s {
	case AlertFiring: // firing again: another severity or message
		return true
	case AlertAcknowledged: // firing: it got worse, or the time is over
		return true
	default:
		return false
	}
}

// Alert is something a person must know. There is at most one open alert for a kind and subject.
type Alert struct {
	ID       ID         `json:"id"`
	Kind     AlertKind  `json:"kind"`
	Severity Severity   `json:"severity"`
	State    AlertState `json:"state"`
	Subject  string     `json:"subject"` // what it is about: a unit's id, a policy's name, …; see AlertKind
	Message  string     `json:"message"`
	Since    time.Time  `json:"since"`
	// LastNotifiedAt is when somebody was last told; nil: not yet, or silenced.
	LastNotifiedAt *time.Time `json:"lastNotifiedAt"`

	Policy     string     `json:"policy,omitempty"`
	Target     string     `json:"target,omitempty"`
	Cluster    string     `json:"cluster,omitempty"` // of a unit: the name of its cluster
	ResolvedAt *time.Time `json:"resolvedAt,omitempty"`
	// Silenced: when its group was last looked at, a silence kept this alert out of what was told.
	Silenced   bool       `json:"silenced,omitempty"`
	AckedBy    string     `json:"acknowledgedBy,omitempty"`
	AckedUntil *time.Time `json:"acknowledgedUntil,omitempty"` // nil: as long as it lasts
	AckNote    string     `json:"acknowledgeNote,omitempty"`
}

// AlertChange is one line of an alert's history. Lines are only ever added.
type AlertChange struct {
	At       time.Time  `json:"at"`
	State    AlertState `json:"state"`
	Severity Severity   `json:"severity"`
	By       string     `json:"by,omitempty"` // who acknowledged it; empty: its fact
	Note     string     `json:"note,omitempty"`
}

// AlertFilter narrows a listing of alerts: the open ones first, of those and of the others the newest first.
type AlertFilter struct {
	State  AlertState // empty: any
	Kind   AlertKind
	Policy string
	Target string
	Page   Page
}

// Ack is somebody's word that they care for an alert.
type Ack struct {
	By    string
	Until *time.Time // nil: as long as it lasts
	Note  string
	Group bool // also for all other open alerts of its group
}

// Notice is one message about alerts of one kind, policy and target: what a person is told, and what
// `alert.*` events carry. However many keys cross an age in one sweep, there is one notice.
type Notice struct {
	ID       ID         `json:"id"`
	Group    string     `json:"group"` // names what began and what must end together: "key.age/quarterly/om-prod"
	Kind     AlertKind  `json:"kind"`
	Severity Severity   `json:"severity"` // of the worst
	State    AlertState `json:"state"`    // firing, acknowledged or resolved: the event is alert.STATE
	Policy   string     `json:"policy"`
	Target   string     `json:"target"`
	Message  string     `json:"message"` // "312 of 4,000 keys in 9 clusters are past 90d"
	Since    time.Time  `json:"since"`   // of the oldest
	At       time.Time  `json:"at"`
	Count    int        `json:"count"`  // open alerts of the group; 0 with resolved
	Alerts   []Alert    `json:"alerts"` // the worst and oldest first, 50 at most
}
