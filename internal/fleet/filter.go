package fleet

import (
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// Filter narrows a map; zero fields do not narrow.
type Filter struct {
	Text      string // in a unit's id or name, or in its cluster's or project's; words that must all be there
	Target    string
	Project   string        // id or name
	Level     string        // Level.String
	Rotatable string        // "yes" or "no"
	Task      string        // keyturn.TaskState
	Older     time.Duration // keys that are known to be at least so old
}

// Apply returns the cells that the filter lets through, in their order.
func (f Filter) Apply(m *Map) []Cell {
	if f == (Filter{}) {
		return m.Cells
	}
	words := strings.Fields(strings.ToLower(f.Text))
	out := make([]Cell, 0, len(m.Cells))
	for i := range m.Cells {
		if c := &m.Cells[i]; f.lets(c, words) {
			out = append(out, *c)
		}
	}
	return out
}

func (f Filter) lets(c *Cell, words []string) bool {
	return (f.Target == "" || c.Target == f.Target) &&
		(f.Project == "" || c.ProjectID == f.Project || c.ProjectName == f.Project) &&
		(f.Level == "" || c.Level.String() == f.Level) &&
		(f.Rotatable == "" || c.Rotatable == (f.Rotatable == "yes")) &&
		(f.Older <= 0 || c.KeySince != nil && c.Age >= f.Older) &&
		(f.Task == "" || c.Task == keyturn.TaskState(f.Task)) &&
		!slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(c.text, w) })
}

// Counts are cells by level.
type Counts struct {
	Total int
	By    [levels]int
	Fixed int // that can't be rotated
	Open  int // with a task that is under way
	Park  int // with a task that waits for a person
}

// Of is how many are of the level.
func (c Counts) Of(l Level) int { return c.By[l] }

// Count counts cells.
func Count(cells []Cell) Counts {
	out := Counts{Total: len(cells)}
	for i := range cells {
		c := &cells[i]
		out.By[c.Level]++
		if !c.Rotatable {
			out.Fixed++
		}
		switch c.Task {
		case keyturn.TaskParked:
			out.Park++
		case keyturn.TaskPending, keyturn.TaskIntended:
			out.Open++
		}
	}
	return out
}

// Targets returns the names of the targets on the map.
func (m *Map) Targets() []string {
	var out []string
	for i := range m.Cells {
		if name := m.Cells[i].Target; len(out) == 0 || out[len(out)-1] != name {
			out = append(out, name)
		}
	}
	return out
}

// Find returns the cells of a place that Encode names: all units of that name in that cluster of the project.
func (m *Map) Find(target, project, cluster, name string) []Cell {
	var out []Cell
	for i := range m.Cells {
		if c := &m.Cells[i]; c.Name == name && c.ClusterName == cluster && c.ProjectID == project && c.Target == target {
			out = append(out, *c)
		}
	}
	return out
}

// Summary is a target, project or cluster with its cells counted.
type Summary struct {
	Target, ProjectID, Project, Cluster string
	Counts                              Counts
}

// Summaries sums cells up: by project, of one project by cluster.
func Summaries(cells []Cell, byCluster bool) []Summary {
	var out []Summary
	for begin := 0; begin < len(cells); {
		first := &cells[begin]
		end := begin + 1
		for end < len(cells) && sameGroup(first, &cells[end], byCluster) {
			end++
		}
		s := Summary{Target: first.Target, ProjectID: first.ProjectID, Project: first.ProjectName, Counts: Count(cells[begin:end])}
		if byCluster {
			s.Cluster = first.ClusterName
		}
		out = append(out, s)
		begin = end
	}
	return out
}

func sameGroup(a, b *Cell, byCluster bool) bool {
	return a.Target == b.Target && a.ProjectID == b.ProjectID && (!byCluster || a.ClusterName == b.ClusterName)
}
