package keyturn

import (
	"cmp"
	"encoding/json"
	"path"
	"slices"
	"strings"
	"time"
)

// WebhookFormat is the language that a receiver speaks.
type WebhookFormat string

// The formats.
const (
	FormatStandard     WebhookFormat = "standard"     // Standard Webhooks with a CloudEvent; the default
	FormatSlack        WebhookFormat = "slack"        // an incoming webhook
	FormatTeams        WebhookFormat = "teams"        // a Teams workflow, with an adaptive card
	FormatPagerDuty    WebhookFormat = "pagerduty"    // Events API v2
	FormatAlertmanager WebhookFormat = "alertmanager" // API v2
	FormatOpsgenie     WebhookFormat = "opsgenie"     // Alert API v2
	FormatEmail        WebhookFormat = "email"        // SMTP
)

// AlertsOnly reports whether the receiver has no notion of anything but alerts.
func (f WebhookFormat) AlertsOnly() bool {
	return f == FormatPagerDuty || f == FormatAlertmanager || f == FormatOpsgenie
}

// Webhook says where Keyturn tells what happened. The JSON form is the spec of `kind: Webhook`.
// Fields that may be references are "env:NAME" or "file:/absolute/path".
type Webhook struct {
	Name       string `json:"-"`
	Generation int64  `json:"-"`

	URL string `json:"url"` // or a reference, for a URL that is a secret itself
	// Secret is a reference: the key of signatures (standard), the routing key (pagerduty), the API key (opsgenie).
	Secret string `json:"secret,omitzero"`
	// PreviousSecret is a reference: while a secret is changed, requests are signed with both.
	PreviousSecret string        `json:"previousSecret,omitzero"`
	Format         WebhookFormat `json:"format,omitzero"`
	Events         []string      `json:"events,omitempty"`  // globs of event types; empty: all that the format takes
	Headers        Headers       `json:"headers,omitempty"` // more headers; values may be references
	Timeout        Duration      `json:"timeout,omitzero"`  // of one attempt; default 15s, at most 1m
	// AllowPrivate are the private addresses that may be called: CIDRs, addresses or host names.
	AllowPrivate []string    `json:"allowPrivate,omitempty"`
	Proxy        string      `json:"proxy,omitzero"` // URL or a reference; "none": none; empty: that of the environment
	TLS          TargetTLS   `json:"tls,omitzero"`
	Paused       bool        `json:"paused,omitzero"` // what is to be told waits
	Fallback     string      `json:"fallback,omitzero"`
	Email        *EmailRoute `json:"email,omitempty"`
}

// Headers are headers by name.
type Headers map[string]string

// EmailRoute is what format email needs beyond the URL of the server.
type EmailRoute struct {
	From     string   `json:"from"`
	To       []string `json:"to"`
	User     string   `json:"user,omitzero"`
	Password string   `json:"password,omitzero"` // a reference
}

// WithDefaults returns a copy in which what was left out has its default.
func (w Webhook) WithDefaults() Webhook {
	w.Format = cmp.Or(w.Format, FormatStandard)
	w.Timeout = cmp.Or(w.Timeout, Duration(15*time.Second))
	return w
}

// Wants reports whether the webhook is told of events of the type.
func (w Webhook) Wants(event string) bool {
	if w.Format.AlertsOnly() && !strings.HasPrefix(event, "alert.") {
		return false
	}
	return len(w.Events) == 0 || slices.ContainsFunc(w.Events, func(glob string) bool {
		ok, err := path.Match(glob, event)
		return err == nil && ok
	})
}

// DeliveryState is how far a delivery is.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryPending   DeliveryState = "pending"   // to be sent, now or later
	DeliveryDelivered DeliveryState = "delivered" // the receiver took it
	DeliveryParked    DeliveryState = "parked"    // given up; a person may replay it
	DeliveryEnded     DeliveryState = "ended"     // its webhook was removed
)

// Delivery is one event for one webhook.
type Delivery struct {
	ID      ID     `json:"id"` // what receivers recognise a repeat by
	Webhook string `json:"webhook"`
	EventID string `json:"eventId"`
	Event   string `json:"event"` // the type, such as "alert.firing"
	// Order keeps what belongs together in order: a later delivery of the same order waits for the
	// earlier ones of its webhook. Empty: it waits for none.
	Order      string          `json:"order,omitempty"`
	State      DeliveryState   `json:"state"`
	Attempts   int             `json:"attempts"` // of this round; a replay begins another
	CreatedAt  time.Time       `json:"createdAt"`
	NextAt     *time.Time      `json:"nextAt,omitempty"` // pending: not before
	FinishedAt *time.Time      `json:"finishedAt,omitempty"`
	LastStatus int             `json:"lastStatus,omitempty"` // of HTTP; 0: no answer
	LastError  string          `json:"lastError,omitempty"`
	Body       json.RawMessage `json:"body,omitempty"` // the CloudEvent; left out of listings
}

// DeliveryFilter narrows a listing of deliveries, which is newest first.
type DeliveryFilter struct {
	Webhook string
	State   DeliveryState
	Page    Page
}

// DeliveryResult is what came of one attempt. It is refused when the delivery was taken over since.
type DeliveryResult struct {
	ID       ID
	Attempts int           // as claimed: fences the result
	State    DeliveryState // DeliveryPending: tried again after After
	After    time.Duration
	Status   int
	Error    string
	// Whole says that the receiver as a whole is in trouble: for WebhookHold nothing is sent to it.
	Whole bool
	Asked time.Duration // how long it asked to be left alone; 0: it did not
	// Gone says that the receiver wants nothing any more: all deliveries of the webhook are parked, also
	// later ones, until somebody changes the webhook or replays.
	Gone bool
}

// WebhookState is what happens to a webhook, as opposed to what was asked for.
type WebhookState struct {
	Webhook string `json:"-"`
	Pending int    `json:"pending"`
	Parked  int    `json:"parked"`
	// FailingSince is when the receiver began to take nothing; nil: it took the last one.
	FailingSince    *time.Time `json:"failingSince,omitempty"`
	HeldUntil       *time.Time `json:"heldUntil,omitempty"`
	LastError       string     `json:"lastError,omitempty"`
	LastDeliveredAt *time.Time `json:"lastDeliveredAt,omitempty"`
	Gone            bool       `json:"gone,omitempty"` // it answered 410: nothing is sent any more
}

// SendResult is the answer to one attempt.
type SendResult struct {
	Status int    // of HTTP, or the reply code of SMTP; 0: no answer
	Err    error  // nil: the receiver took it; never shows a secret or the URL
	Answer string // the begin of the answer's body, for people
	// Whole reports that the receiver as a whole is in trouble, not this one message.
	Whole      bool
	Gone       bool          // 410
	RetryAfter time.Duration // what the receiver asked for; 0: nothing
}

const (
	shortestHold = time.Second
	longestHold  = time.Minute
)

// WebhookHold is how long nothing is sent to a receiver that took nothing the last failures times: from a
// second, twice as long each time, to a minute, or as long as it asked for.
func WebhookHold(failures int, asked time.Duration) time.Duration {
	hold := longestHold
	if failures < 6 {
		hold = shortestHold << max(failures-1, 0)
	}
	return max(asked, min(hold, longestHold))
}

// DeliveryOutcome sums up what attempts of one webhook say about its receiver.
type DeliveryOutcome struct {
	Took  bool          // it took at least one, and so works
	Whole bool          // it took none, and is in trouble as a whole
	Gone  bool          // it wants nothing any more
	Asked time.Duration // how long it asked to be left alone
	Error string
}

// OutcomeOf sums results up.
func OutcomeOf(results []DeliveryResult) DeliveryOutcome {
	var o DeliveryOutcome
	for _, r := range results {
		if r.State == DeliveryDelivered {
			o.Took = true
			continue
		}
		if o.Error == "" || r.Whole {
			o.Error = r.Error
		}
		o.Whole, o.Gone, o.Asked = o.Whole || r.Whole, o.Gone || r.Gone, max(o.Asked, r.Asked)
	}
	if o.Gone {
		o.Took, o.Whole = false, true
	}
	return o
}
