package scheduler

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"time"
)

// zoneNames are the names of the tz database, release 2026 and before, one a
// line. They serve for suggestions only: what a zone is, the tz database says.
//
//go:embed zones.txt
var zoneNames string

// loadZone returns a zone of the tz database by its IANA name.
func loadZone(name string) (*time.Location, error) {
	lower := strings.ToLower(name)
	switch {
	case lower == "local" || lower == "localtime":
		return nil, fmt.Errorf("time zone %q depends on the machine: write an IANA name such as Europe/Berlin", name)
	case strings.HasPrefix(lower, "right/") || strings.HasPrefix(lower, "posix/"):
		return nil, fmt.Errorf("time zone %q: write it without %q", name, name[:len("right/")])
	}
	zone, err := time.LoadLocation(name)
	if err == nil {
		return zone, nil
	}
	if near := nearestZone(lower); near != "" {
		return nil, fmt.Errorf("unknown time zone %q: did you mean %s?", name, near)
	}
	return nil, fmt.Errorf("unknown time zone %q: write an IANA name such as Europe/Berlin or UTC", name)
}

// nearestZone returns the zone that a name was probably meant to be, or "".
func nearestZone(lower string) string {
	if lower == "" || len(lower) > 50 {
		return ""
	}
	lower = strings.ReplaceAll(lower, " ", "_")
	best, bestDistance := "", 1+len(lower)/4
	for zone := range strings.Lines(zoneNames) {
		zone = strings.TrimSpace(zone)
		candidate := strings.ToLower(zone)
		_, city, _ := strings.Cut(candidate, "/")
		distance := min(editDistance(lower, candidate), editDistance(lower, city)+1)
		if distance <= bestDistance && (best == "" || distance < bestDistance) {
			best, bestDistance = zone, distance
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that make a into b.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// zoneCache keeps zones that were loaded: reading one takes longer than
// everything else about a slot. It holds at most one entry for each zone there is.
type zoneCache struct {
	mu    sync.Mutex
	zones map[string]*time.Location
}

func (c *zoneCache) load(name string) (*time.Location, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if zone, ok := c.zones[name]; ok {
		return zone, nil
	}
	zone, err := loadZone(name)
	if err != nil {
		return nil, err
	}
	if c.zones == nil {
		c.zones = make(map[string]*time.Location)
	}
	c.zones[name] = zone
	return zone, nil
}
