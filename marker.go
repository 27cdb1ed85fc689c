package keyturn

import (
	"strings"
	"time"
)

// KeyMarkerPrefix begins what stands for a key that no system names: a key that Ops Manager's agents made is
// known by the time of its rotation, until a snapshot tells its id.
const KeyMarkerPrefix = "kmip-rotated-at:"

// IsKeyMarker reports whether a key's id only stands for a key.
func IsKeyMarker(key string) bool { return strings.HasPrefix(key, KeyMarkerPrefix) }

// KeyMarkerTime returns when the key was made that a marker stands for; false: it is none, or does not say.
func KeyMarkerTime(key string) (time.Time, bool) {
	text, ok := strings.CutPrefix(key, KeyMarkerPrefix)
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	return at.UTC(), err == nil
}

// KeyName is the id of a key that the history knows by a marker.
type KeyName struct {
	Unit   string
	Marker string
	KeyID  string
}

// UnnamedKey is a key of the history whose id is not known yet.
type UnnamedKey struct {
	Unit   string
	Marker string
	From   time.Time // since when it is in use
	// Observed reports that nobody here turned it: From is when its rotation began, not when it was through.
	Observed bool
	Until    *time.Time // when the next one took its place; nil: it is in use
}
