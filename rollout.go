package keyturn

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Batch is a number of units ("50"), or a share of all units of a rotation ("25%"). In JSON it may be
// a number, too.
type Batch string

// UnmarshalJSON reads "50", "25%" or 50. It does not check the range: Size does.
func (b *Batch) UnmarshalJSON(data []byte) error {
	var n json.Number
	if len(data) > 0 && data[0] != '"' {
		if err := json.Unmarshal(data, &n); err != nil {
			return fmt.Errorf("%s is no batch: write a number such as 50, or a share such as \"25%%\"", data)
		}
		*b = Batch(n.String())
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("reading a batch: %w", err)
	}
	*b = Batch(s)
	return nil
}

// Size is how many of total units a batch has, at least 1; all of them for the empty batch. A share is rounded up.
func (b Batch) Size(total int) (int, error) {
	if b == "" {
		return max(total, 1), nil
	}
	digits, share := strings.CutSuffix(string(b), "%")
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil || digits[0] == '+' || n < 1:
		return 0, fmt.Errorf("%q is no batch: write a number of units such as 50, or a share such as \"25%%\"", string(b))
	case share && n > 100:
		return 0, fmt.Errorf("%q is more than all units: write 1%% to 100%%", string(b))
	case share:
		return max(1, (total*n+99)/100), nil
	default:
		return n, nil
	}
}

// Enabled reports whether there is anything to roll out: the zero value, and an order alone of OrderAny, take
// all units at once whatever fails.
func (r Rollout) Enabled() bool {
	return r.Canary > 0 || r.Batch != "" || r.MaxFailures != nil || r.Order == OrderConfigFirst || r.Order == OrderShardsFirst
}

// RolloutPlan is a rotation's plan in waves: each wave begins when all tasks of the one before have ended.
type RolloutPlan struct {
	Waves       []PlannedWave
	Skipped     []Unit // those that can't be rotated, with the reason
	Canary      int    // how many of the waves, from the first, must succeed before another one begins
	MaxFailures *int   // the rotation halts when more tasks failed or were parked; nil: never
}

// PlannedWave is one wave of a rotation.
type PlannedWave struct {
	Units []Unit   // in the order of their turns
	Pause Duration // to wait before it, since the wave before has ended
}

// Observation is a key that was found in use without a rotation.
type Observation struct {
	Unit string
	// Known is the key that was recorded as the unit's when the look began; empty: none. The observation
	// counts only if it still is: whatever was recorded since is newer than the look.
	Known string
	KeyID string // the key in use
	// Since is when it came into use, if the system tells; zero: it does not. It is believed unless the key
	// before is known to have been in use later.
	Since time.Time
}

// ObservedKey says what became of an Observation.
type ObservedKey string

// What becomes of an observation.
const (
	ObservedSame    ObservedKey = "same"    // the key that is known: nothing was recorded
	ObservedFirst   ObservedKey = "first"   // the first key that is known of the unit
	ObservedChanged ObservedKey = "changed" // somebody else turned it
	ObservedRefused ObservedKey = "refused" // a rotation works on the unit, or has recorded a key since the look began
)

// Look is a target whose keys are due to be looked at.
type Look struct {
	Target string
	Every  Duration // 0: only when somebody asked for it
}

// KnownKey is what is recorded of a unit's key when a look at it begins.
type KnownKey struct {
	KeyID string // empty: none
	Busy  bool   // a rotation has an open intent on the unit: its key may change at any moment
}

// Outcome is what becomes of an observation that was not refused.
func (o Observation) Outcome() ObservedKey {
	switch o.Known {
	case o.KeyID:
		return ObservedSame
	case "":
		return ObservedFirst
	default:
		return ObservedChanged
	}
}

// LookWait says when a look at a target's keys may begin.
type LookWait struct {
	First    time.Duration // after the target was made, if its interval is not shorter and nobody asks
	Soon     time.Duration // it waits for rotations that are due within this time
	Patience time.Duration // the least time after which a look that is due waits for rotations no longer
	// Trouble is after what time a look is due at a target that did not answer, if it has an interval: else
	// nobody might call it for long, and nobody would notice that it is back.
	Trouble time.Duration
}

// HaltReason says why a rollout halts: canaries of its first units, and bad of all, failed or were parked; most
// is how many may, negative: any number. why is the reason of one of them.
func HaltReason(canary, bad, most int, why string) string {
	reason := fmt.Sprintf("%s, more than maxFailures (%d)", failures(bad), most)
	if canary > 0 {
		reason = "the canary was not confirmed: " + failures(canary)
	}
	if why != "" {
		reason += ": " + why
	}
	return reason
}

func failures(n int) string {
	if n == 1 {
		return "1 unit failed or was parked"
	}
	return strconv.Itoa(n) + " units failed or were parked"
}
