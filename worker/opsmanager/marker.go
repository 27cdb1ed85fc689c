package opsmanager

import (
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// MarkerPrefix begins what stands for the key of a unit that is turned through automation: nothing tells its
// id, only when it was made.
const MarkerPrefix = keyturn.KeyMarkerPrefix

// never is the marker of a unit whose key was never turned through automation.
const never = MarkerPrefix + "never"

// marker names the key that was made at that time.
func marker(at time.Time) string { return MarkerPrefix + stampOf(at) }

// stampOf writes a time as the automation config has it.
func stampOf(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// rotation reads lastKmipMasterKeyRotation; zero: never.
func rotation(l loose) (time.Time, error) {
	if !l.set() {
		return time.Time{}, nil
	}
	text, ok := l.text()
	if !ok {
		return time.Time{}, fmt.Errorf("%s is no time in ISO 8601", rotatedField)
	}
	// ISO 8601 also allows zones without a colon or minutes, as Java writes them, and no seconds. A time without a
	// zone is none: which one is meant can't be known.
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700"} {
		if at, err := time.Parse(form, strings.TrimSpace(text)); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is no time in ISO 8601 with a zone", rotatedField)
}
