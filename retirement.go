package keyturn

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Retirement says whether a key may be disabled.
type Retirement struct {
	Key RetainedKey `json:"key"`
	// Message sums it up: "needed by 14 snapshots of 3 clusters until 2027-02-11".
	Message string `json:"message"`
	// Needs are why it must stay: nothing overrules them. Unknowns are what nobody knows, and what a person may accept.
	Needs    []string `json:"needs"`
	Unknowns []string `json:"unknowns"`
	// Advice is what to do where Keyturn disables nothing itself.
	Advice string `json:"advice"`
	Able   bool   `json:"able"` // Keyturn can disable keys of this system
	// Disabled is when Keyturn disabled it; nil: it did not.
	DisabledAt *time.Time `json:"disabledAt"`
}

// Allowed reports whether the key may be disabled, if what is unknown is accepted.
func (r Retirement) Allowed(acceptUnknown bool) bool {
	return r.Able && len(r.Needs) == 0 && (len(r.Unknowns) == 0 || acceptUnknown)
}

// Retire says what stands against disabling the key at now, as far as the database knows.
func (k RetainedKey) Retire(now time.Time) Retirement {
	r := Retirement{Key: k, Needs: []string{}, Unknowns: []string{}}
	var using, busy, parked, open []string
	for _, u := range k.Uses {
		if u.InUse || u.Until == nil {
			using = append(using, u.Unit.ID)
		}
		if u.Busy {
			busy = append(busy, u.Unit.ID)
		}
		if u.Parked {
			parked = append(parked, u.Unit.ID)
		}
		if u.Replacing {
			open = append(open, u.Unit.ID)
		}
	}
	need := func(units []string, format string) {
		if len(units) > 0 {
			r.Needs = append(r.Needs, fmt.Sprintf(format, someUnits(units)))
		}
	}
	need(using, "it is in use by %s")
	need(busy, "a rotation is changing the key of %s")
	need(open, "the rotation that replaced it at %s has not ended")
	need(parked, "a change of the key of %s is parked: nobody knows which key it uses (keyturn task resolve)")
	if k.Snapshots > 0 {
		r.Needs = append(r.Needs, k.neededWords(now))
	}
	if !k.InUse {
		r.Unknowns = append(r.Unknowns, k.unseen(now)...)
	}
	r.Message = "no known snapshot needs it"
	switch {
	case k.Snapshots > 0:
		r.Message = k.neededWords(now)
	case len(r.Needs) > 0:
		r.Message = r.Needs[0]
	case len(r.Unknowns) > 0:
		r.Message = "no snapshot is known to need it, but " + r.Unknowns[0]
	}
	return r
}

// neededWords is "needed by 14 snapshots of 3 clusters until 2027-02-11".
func (k RetainedKey) neededWords(now time.Time) string {
	words := fmt.Sprintf("needed by %s of %s", counted(k.Snapshots, "snapshot"), counted(k.Clusters, "cluster"))
	switch {
	case k.NeededUntil == nil:
		return words + " without an end"
	case !k.NeededUntil.After(now):
		return words + " that expired on " + k.NeededUntil.UTC().Format(time.DateOnly) + " and are still there"
	default:
		return words + " until " + k.NeededUntil.UTC().Format(time.DateOnly)
	}
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// RetiredKey is a key that Keyturn disabled in its KMS, on somebody's word.
type RetiredKey struct {
	ID         ID        `json:"id"`
	Target     string    `json:"target"`
	KeyID      string    `json:"keyId"`
	By         string    `json:"requestedBy"`
	Reason     string    `json:"reason"`
	DisabledAt time.Time `json:"disabledAt"`
}

// RetireQuery says which keys are to be judged: one key, or all old keys of a unit. Name is either.
type RetireQuery struct {
	Target string // of the key; empty: any
	Name   string // the key's id, or the unit's id, name, PROJECT/NAME or component id
	// AcceptUnknown disables keys although it is not known that nothing needs them. What is known is never overruled.
	AcceptUnknown bool
	By            string // who has them disabled
	Reason        string
}

// NamesOfKey returns the names by which projects may know a key: one of AWS also by its id alone, without the ARN. Suffix is what
// the ARN of a key ends in that is named by its id alone, since its account and region are not known; empty: key is no such id.
// https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
func NamesOfKey(key string) (names []string, suffix string) {
	const before = ":key/"
	names = []string{key}
	if arn, id, ok := strings.Cut(key, before); ok && strings.HasPrefix(arn, "arn:aws") && id != "" {
		return append(names, id), ""
	}
	if key == "" || strings.ContainsAny(key, ":/#") {
		return names, ""
	}
	return names, before + key
}

// CompareRetained orders keys as people read them: by target, then the oldest first.
func CompareRetained(a, b RetainedKey) int {
	at := func(t *time.Time) time.Time {
		if t == nil {
			return time.Time{}
		}
		return *t
	}
	return cmp.Or(cmp.Compare(a.Target, b.Target), at(a.From).Compare(at(b.From)), cmp.Compare(a.KeyID, b.KeyID))
}
