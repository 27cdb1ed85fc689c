package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

// Faults says what goes wrong. The zero value: nothing. It is also the body of
// /simulator/faults.
//
// Which request meets a fault is decided by Seed, the unit and how many
// requests of this kind the unit saw, or the project, of PUTs of its automation config: the order in
// which units or projects are asked changes nothing.
type Faults struct {
	Seed uint64 `json:"seed"`

	PUT Rates `json:"put"` // of PUT encryptionKey
	GET Rates `json:"get"` // of every GET of the API; Never, Late, Gateway and Hidden mean nothing here

	RetryAfter keyturn.Duration `json:"retryAfter"` // of 429; whole seconds, 0 means 1s
	SlowFor    keyturn.Duration `json:"slowFor"`    // how long a slow answer is held back; 0 means 5s
	HiddenFor  keyturn.Duration `json:"hiddenFor"`  // how long GET shows the old key after a PUT; 0 means 1s
	LateAfter  keyturn.Duration `json:"lateAfter"`  // how long after its answer or connection is gone a late PUT is executed; 0 means 1s

	Agents Agents `json:"agents"` // how the agents of modern deployments behave

	Outage Outage `json:"outage"` // nothing is answered or executed
}

// Rates are the shares of requests, 0 to 1, that meet each fault. A request
// meets at most one, so their sum without Hidden is at most 1.
type Rates struct {
	ErrorBefore float64 `json:"errorBefore"` // 500, not executed
	ErrorAfter  float64 `json:"errorAfter"`  // 500, executed
	TooMany     float64 `json:"tooMany"`     // 429 with Retry-After, not executed
	ResetBefore float64 `json:"resetBefore"` // connection reset, not executed
	ResetAfter  float64 `json:"resetAfter"`  // connection reset, executed
	Truncated   float64 `json:"truncated"`   // executed; the body ends before its Content-Length
	Slow        float64 `json:"slow"`        // executed at once, answered after SlowFor
	Never       float64 `json:"never"`       // 2xx, but never executed
	Late        float64 `json:"late"`        // connection reset, executed LateAfter later
	Gateway     float64 `json:"gateway"`     // 504 as a proxy answers, executed LateAfter later
	Hidden      float64 `json:"hidden"`      // executed, but GET shows the old key for HiddenFor; comes on top of the others
}

// Outage is the way in which nothing works.
type Outage string

// The outages.
const (
	OutageNone        Outage = ""
	OutageUnavailable Outage = "unavailable" // 503 with an HTML body, as a proxy answers
	OutageReset       Outage = "reset"       // connections are reset
)

// Validate refuses rates that can't be met.
func (f Faults) Validate() error {
	switch f.Outage {
	case OutageNone, OutageUnavailable, OutageReset:
	default:
		return fmt.Errorf("outage %q is unknown: write %q, %q or nothing", f.Outage, OutageUnavailable, OutageReset)
	}
	for name, rate := range map[string]float64{"agents.fail": f.Agents.Fail, "agents.conflict": f.Agents.Conflict} {
		if !(rate >= 0 && rate <= 1) {
			return fmt.Errorf("%s is %v: a rate is 0 to 1", name, rate)
		}
	}
	return errors.Join(f.PUT.validate("put"), f.GET.validate("get"))
}

func (r Rates) validate(where string) error {
	sum := 0.0
	for kind, rate := range r.list() {
		if !(rate >= 0 && rate <= 1) {
			return fmt.Errorf("%s.%s is %v: a rate is 0 to 1", where, faultNames()[kind], rate)
		}
		if fault(kind) != faultHidden {
			sum += rate
		}
	}
	if sum > 1+1e-9 {
		return fmt.Errorf("the rates of %s add up to %v: a request meets one fault, so they may add up to 1 (hidden not counted)", where, sum)
	}
	return nil
}

// fault is what happens to one request.
type fault int

const (
	faultNone fault = iota
	faultErrorBefore
	faultErrorAfter
	faultTooMany
	faultResetBefore
	faultResetAfter
	faultTruncated
	faultSlow
	faultNever
	faultLate
	faultGateway
	faultHidden
	faultCount
)

// faultNames returns the names that the faults have in JSON.
func faultNames() [faultCount]string {
	return [faultCount]string{
		"none", "errorBefore", "errorAfter", "tooMany", "resetBefore", "resetAfter",
		"truncated", "slow", "never", "late", "gateway", "hidden",
	}
}

func (r Rates) list() [faultCount]float64 {
	return [faultCount]float64{
		0, r.ErrorBefore, r.ErrorAfter, r.TooMany, r.ResetBefore, r.ResetAfter,
		r.Truncated, r.Slow, r.Never, r.Late, r.Gateway, r.Hidden,
	}
}

// plan is Faults, made ready to be looked at for every request.
type plan struct {
	faults Faults
	rates  [2][faultCount]float64 // by method
	none   [2]bool
	slow   time.Duration
	hidden time.Duration
	late   time.Duration
}

// methods index what is kept by method.
const (
	methodGET = 0
	methodPUT = 1
)

func newPlan(f Faults) *plan {
	f.GET.Never, f.GET.Late, f.GET.Gateway, f.GET.Hidden = 0, 0, 0, 0
	return &plan{
		faults: f,
		rates:  [2][faultCount]float64{methodGET: f.GET.list(), methodPUT: f.PUT.list()},
		none:   [2]bool{methodGET: f.GET == Rates{}, methodPUT: f.PUT == Rates{}},
		slow:   cmp.Or(f.SlowFor.Std(), 5*time.Second),
		hidden: cmp.Or(f.HiddenFor.Std(), time.Second),
		late:   cmp.Or(f.LateAfter.Std(), time.Second),
	}
}

// draw decides what happens to the n-th request of its kind to what index names.
func (p *plan) draw(method int, index, n uint64) (kind fault, hidden time.Duration) {
	if p.none[method] {
		return faultNone, 0
	}
	rates := &p.rates[method]
	r := mix(p.faults.Seed^uint64(method), mix(index, n)) //nolint:gosec // G115: 0 or 1
	if share(r, 1) < rates[faultHidden] {
		hidden = p.hidden
	}
	at := share(r, 2)
	for kind := faultErrorBefore; kind < faultHidden; kind++ {
		if at < rates[kind] {
			return kind, hidden
		}
		at -= rates[kind]
	}
	return faultNone, hidden
}

// share makes a number in [0, 1).
func share(r, salt uint64) float64 { return float64(mix(r, salt)>>11) / (1 << 53) }

// retryAfter returns the value of the header.
func (p *plan) retryAfter() time.Duration {
	return max(time.Second, p.faults.RetryAfter.Std().Round(time.Second))
}
