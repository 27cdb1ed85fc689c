// Package fleet makes a map of all units: how old the key of each is by the ages that its policies allow, what
// is under way for it, and where it belongs. It computes, and reads nothing.
package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// Level is how old a key is, by the ages at which its policies tell somebody.
type Level uint8

// The levels, from young to old.
const (
	Unknown  Level = iota // never seen
	Fresh                 // less than half of the age at which somebody is warned
	Aging                 // less than that age
	Warn                  // past it
	Old                   // past the middle between it and the critical age
	Critical              // past the critical age
	levels
)

// String names the level in addresses and style sheets.
func (l Level) String() string {
	return [levels]string{"unknown", "fresh", "aging", "warn", "old", "critical"}[l]
}

// Levels returns all levels, from young to old, the unknown last.
func Levels() []Level { return []Level{Fresh, Aging, Warn, Old, Critical, Unknown} }

// Ages are the ages at which somebody is told of a unit's key.
type Ages struct {
	Warn, Critical time.Duration
}

// DefaultAges are those of units that no policy selects.
func DefaultAges() Ages {
	p := keyturn.Policy{}.WithDefaults()
	return Ages{p.Alerts.WarnAfter.Std(), p.Alerts.CriticalAfter.Std()}
}

// LevelOf is the level of a key that is this old.
func (a Ages) LevelOf(age time.Duration) Level {
	switch {
	case age >= a.Critical:
		return Critical
	case age >= a.Warn && age >= a.Warn+(a.Critical-a.Warn)/2:
		return Old
	case age >= a.Warn:
		return Warn
	case age >= a.Warn/2:
		return Aging
	default:
		return Fresh
	}
}

// Cell is one unit on the map.
type Cell struct {
	keyturn.FleetUnit
	Ages  Ages
	Level Level
	Age   time.Duration // at the time of the map; with Unknown 0
	text  string        // what a search looks at, in small letters
}

// Map is all units at one time, in the order of their targets, projects, clusters, components and names.
type Map struct {
	At    time.Time
	Cells []Cell
	// Ages are those of all cells if they are the same; nil: they differ.
	Ages *Ages
}

// Make makes a map of units at a time. Of several policies that select a unit the strictest ages count.
func Make(units []keyturn.FleetUnit, policies []keyturn.Policy, at time.Time) *Map {
	m := &Map{At: at, Cells: make([]Cell, len(units))}
	for i := range units {
		m.Cells[i].FleetUnit = units[i]
	}
	slices.SortFunc(m.Cells, compare)
	ages := agesOf(policies)
	uniform := len(m.Cells) > 0
	for i := range m.Cells {
		c := &m.Cells[i]
		c.Ages = ages.of(&c.Unit)
		uniform = uniform && c.Ages == m.Cells[0].Ages
		if c.KeySince != nil {
			c.Age = max(0, at.Sub(*c.KeySince))
			c.Level = c.Ages.LevelOf(c.Age)
		}
		c.text = strings.ToLower(strings.Join([]string{c.ID, c.Name, c.ClusterName, c.ProjectName}, "\n"))
	}
	if uniform {
		m.Ages = &m.Cells[0].Ages
	}
	return m
}

func compare(a, b Cell) int {
	return cmp.Or(
		strings.Compare(a.Target, b.Target), strings.Compare(a.ProjectName, b.ProjectName), strings.Compare(a.ProjectID, b.ProjectID),
		strings.Compare(a.ClusterName, b.ClusterName), cmp.Compare(componentOrder(a.Component), componentOrder(b.Component)),
		strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID),
	)
}

func componentOrder(c keyturn.Component) int {
	return slices.Index([]keyturn.Component{
		keyturn.ComponentConfig, keyturn.ComponentShard, keyturn.ComponentReplicaSet, keyturn.ComponentProject,
	}, c)
}

// ager finds the ages of units. Units of one project come one after the other, so what a policy says of a
// project is worked out once.
type ager struct {
	byTarget map[string][]keyturn.Policy
	matchers map[string]func(keyturn.Unit) bool // by policy
	target   string
	project  string
	relevant []keyturn.Policy // those that select something of the project
}

func agesOf(policies []keyturn.Policy) *ager {
	a := &ager{byTarget: map[string][]keyturn.Policy{}, matchers: map[string]func(keyturn.Unit) bool{}}
	for _, p := range policies {
		a.byTarget[p.Target] = append(a.byTarget[p.Target], p)
		a.matchers[p.Name] = p.Select.Matcher()
	}
	return a
}

func (a *ager) of(u *keyturn.Unit) Ages {
	if u.Target != a.target || u.ProjectID != a.project {
		a.target, a.project, a.relevant = u.Target, u.ProjectID, a.relevant[:0]
		for _, p := range a.byTarget[u.Target] {
			if p.Select.MatchProject(u.ProjectID, u.ProjectName) {
				a.relevant = append(a.relevant, p)
			}
		}
	}
	var out Ages
	for i := range a.relevant {
		p := &a.relevant[i]
		if !a.matchers[p.Name](*u) {
			continue
		}
		warn, critical := p.Alerts.WarnAfter.Std(), p.Alerts.CriticalAfter.Std()
		if out.Warn == 0 || warn < out.Warn {
			out.Warn = warn
		}
		if out.Critical == 0 || critical < out.Critical {
			out.Critical = critical
		}
	}
	if out == (Ages{}) {
		return DefaultAges()
	}
	return out
}
