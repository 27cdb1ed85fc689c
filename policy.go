package keyturn

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Uncertain says what happens to a change whose outcome stays unknown and that
// the system, once settled, does not show.
type Uncertain string

// The two ways to deal with uncertainty.
const (
	UncertainReapply Uncertain = "reapply" // apply again; the default
	UncertainPark    Uncertain = "park"    // leave it to a person: at most one apply ever
)

// Policy says which units rotate, when, and from which age on someone is told.
// The JSON form is the spec of `kind: Policy`.
type Policy struct {
	Name       string `json:"-"`
	Generation int64  `json:"-"`
	// Paused policies start nothing, and their running rotations hold what has not begun.
	Paused bool `json:"-"`

	Target    string       `json:"target"`
	Select    Selection    `json:"select,omitzero"`
	Uncertain Uncertain    `json:"uncertain,omitzero"`
	Schedule  Schedule     `json:"schedule,omitzero"`
	Rollout   Rollout      `json:"rollout,omitzero"`
	Alerts    PolicyAlerts `json:"alerts,omitzero"`
}

// PolicyAlerts are the ages at which someone is told.
type PolicyAlerts struct {
	WarnAfter     Duration `json:"warnAfter,omitzero"`     // default 90d
	CriticalAfter Duration `json:"criticalAfter,omitzero"` // default 365d
	// DueSoon is how long before WarnAfter someone is told ahead of time; default 7d, or a tenth of
	// WarnAfter if that is less.
	DueSoon Duration `json:"dueSoon,omitzero"`
	// Repeat is how long after a notice of something that still fires there is another one. 0: a day for
	// what is critical, a week for warnings. What is only info is never repeated.
	Repeat Duration `json:"repeat,omitzero"`
}

// RepeatOf is how long after a notice of the severity there is another one; 0: never.
func (a PolicyAlerts) RepeatOf(s Severity) time.Duration {
	switch {
	case s == SeverityInfo:
		return 0
	case a.Repeat > 0:
		return a.Repeat.Std()
	case s == SeverityCritical:
		return Day
	default:
		return 7 * Day
	}
}

// WithDefaults returns a copy in which what was left out has its default.
func (p Policy) WithDefaults() Policy {
	p.Uncertain = cmp.Or(p.Uncertain, UncertainReapply)
	p.Schedule.Timezone = cmp.Or(p.Schedule.Timezone, "UTC")
	p.Alerts.WarnAfter = cmp.Or(p.Alerts.WarnAfter, Duration(90*Day))
	p.Alerts.CriticalAfter = cmp.Or(p.Alerts.CriticalAfter, Duration(365*Day))
	p.Alerts.DueSoon = cmp.Or(p.Alerts.DueSoon, min(Duration(7*Day), p.Alerts.WarnAfter/10))
	return p
}

// Selection selects units by ids, names or globs (path.Match: * ? [a-z]).
// An empty list selects all.
type Selection struct {
	Projects   []string    `json:"projects,omitempty"`   // project ids or names
	Clusters   []string    `json:"clusters,omitempty"`   // cluster names or ids
	Components []Component `json:"components,omitempty"` // kinds of component
	Units      []string    `json:"units,omitempty"`      // unit ids, replica set names, alone or as PROJECT/NAME, or component ids
	// Keys are keys that someone else has made, by unit id: a trigger names them, and systems whose key
	// maker is told "provided" use them. They select nothing.
	Keys map[string]string `json:"keys,omitempty"`
}

// KeysOf returns the keys that someone else has made for the units; nil: for none of them.
func (s Selection) KeysOf(units ...string) map[string]string {
	var keys map[string]string
	for _, unit := range units {
		if key, ok := s.Keys[unit]; ok {
			if keys == nil {
				keys = map[string]string{}
			}
			keys[unit] = key
		}
	}
	return keys
}

// maxKeys bounds how many keys one trigger may name.
const maxKeys = 10_000

// WithKeys returns a copy with more keys that someone else has made, by unit id. It refuses what is no unit's id,
// what can be no key's (1 to 2048 characters, none of them a control character), and two keys for one unit.
func (s Selection) WithKeys(more map[string]string) (Selection, error) {
	all := make(map[string]string, len(s.Keys)+len(more))
	for _, keys := range []map[string]string{s.Keys, more} {
		for unit, key := range keys {
			if _, _, _, err := SplitUnitID(unit); err != nil {
				return s, fmt.Errorf("keys: %w", err)
			}
			if key == "" || len(key) > 2048 || strings.ContainsFunc(key, unicode.IsControl) {
				return s, fmt.Errorf("keys: what is named for unit %s can't be a key: expected 1 to 2048 characters", unit)
			}
			if other, twice := all[unit]; twice && other != key {
				return s, fmt.Errorf("keys: two keys are named for unit %s", unit)
			}
			all[unit] = key
		}
	}
	if len(all) > maxKeys {
		return s, fmt.Errorf("keys: %d keys are named: at most %d", len(all), maxKeys)
	}
	if len(all) > 0 {
		s.Keys = all
	}
	return s, nil
}

// Check refuses globs that can't be read, which would silently match nothing, and components that there are not.
func (s Selection) Check() error {
	for field, patterns := range map[string][]string{
		"projects": s.Projects, "clusters": s.Clusters, "units": s.Units,
	} {
		for _, p := range patterns {
			if _, err := path.Match(p, ""); err != nil {
				return fmt.Errorf("only.%s: %q is not a glob: close the bracket or escape it with a backslash", field, p)
			}
		}
	}
	for _, c := range s.Components {
		switch c {
		case ComponentShard, ComponentConfig, ComponentReplicaSet, ComponentProject:
		default:
			return fmt.Errorf("only.components: there is no component %q; use shard, config, replica-set or project", c)
		}
	}
	return nil
}

// MatchProject reports whether units of the project can be selected at all.
func (s Selection) MatchProject(id, name string) bool { return matchAny(s.Projects, id, name) }

// Match reports whether the selection selects the unit.
func (s Selection) Match(u Unit) bool {
	return s.MatchProject(u.ProjectID, u.ProjectName) &&
		matchAny(s.Clusters, u.ClusterName, u.ClusterID) &&
		(len(s.Components) == 0 || slices.Contains(s.Components, u.Component)) &&
		(len(s.Units) == 0 || matchAny(s.Units, u.names()...))
}

// Matcher returns Match in a form that is quick for long lists of units: retries name thousands.
func (s Selection) Matcher() func(Unit) bool {
	plain := make(map[string]bool, len(s.Units))
	isPlain := func(name string) bool { return plain[name] }
	rest := s
	rest.Units, rest.Keys = nil, nil
	var globs []string
	for _, unit := range s.Units {
		if plain[unit] = true; strings.ContainsAny(unit, `*?[\\`) {
			globs = append(globs, unit)
		}
	}
	return func(u Unit) bool {
		if !rest.Match(u) {
			return false
		}
		return len(plain) == 0 || plain[u.ID] || slices.ContainsFunc(u.names(), isPlain) || len(globs) > 0 && matchAny(globs, u.names()...)
	}
}

func matchAny(patterns []string, names ...string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, pattern := range patterns {
		for _, name := range names {
			if ok, err := path.Match(pattern, name); err == nil && ok || pattern == name {
				return true
			}
		}
	}
	return false
}

// Slot is one planned firing of a policy, named by its local wall-clock time,
// so that no change of a time zone's offset makes two of one.
type Slot struct {
	// Local is 2026-03-29T02:30:00, no offset; for @every the UTC time with a Z; for the second coming of
	// a local time that fires both times (FoldBoth) the time with its offset.
	Local    string
	Timezone string    // IANA name
	At       time.Time // the instant at which it fires; after the name's if it waited for a window
}

// Name identifies the slot within its policy: "2026-03-29T02:30:00 Europe/Berlin".
func (s Slot) Name() string { return s.Local + " " + s.Timezone }
