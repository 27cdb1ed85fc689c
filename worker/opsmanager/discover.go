package opsmanager

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn"
)

// group is a project.
type group struct {
	ID   string `json:"id"`
	Name string `json:"name"`

	// How many it has, parts of sharded clusters included.
	// https://www.mongodb.com/docs/ops-manager/v7.0/reference/api/groups/get-all-groups-for-current-user/
	ReplicaSets loose `json:"replicaSetCount"`
	Shards      loose `json:"shardCount"`
}

// deployed reports whether the server says that the project has something. It is a hint: it may be old, and not
// every server tells.
func (g group) deployed() bool { return g.ReplicaSets.number() > 0 || g.Shards.number() > 0 }

func (g group) String() string {
	if g.Name == "" {
		return g.ID
	}
	return g.Name + " (" + g.ID + ")"
}

func (g *group) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "id":
			s.string(&g.ID)
		case "name":
			s.string(&g.Name)
		case "replicaSetCount":
			s.loose(&g.ReplicaSets)
		case "shardCount":
			s.loose(&g.Shards)
		default:
			s.skip()
		}
	}
}

// Discover returns the units that are selected, sorted by project, cluster,
// component and name. It asks for three lists of each project that can be
// selected from, and for the hosts where the automation config does not tell the FCV. Of what is sure to be needed it
// asks for up to three things of a project at a time, within the target's limit.
//
// A project whose clusters can't be listed fails it: a plan that leaves
// something out without saying so would be worse than none.
func (c *Client) Discover(ctx context.Context, sel keyturn.Selection) ([]keyturn.Unit, error) {
	groups, err := c.listProjects(ctx, sel)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	found := make([][]keyturn.Unit, len(groups))
	places, taken := newPlaces(c.target.Limits.Concurrency, min(surveyors, len(groups)))
	var next atomic.Int64
	eg, egCtx := errgroup.WithContext(ctx)
	for range taken {
		eg.Go(func() error {
			defer places.leave()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(groups) {
					return nil
				}
				s := survey{c: c, group: groups[i], sel: sel}
				if c.limiter == nil { // else a turn of the limit is what is waited for, and tasks want theirs too
					s.places = places
				}
				units, err := s.units(egCtx)
				if err != nil {
					return err
				}
				found[i] = units
			}
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	all := make([]keyturn.Unit, 0, total(found))
	for i, units := range found {
		all, found[i] = append(all, units...), nil
	}
	return all, nil
}

func total(found [][]keyturn.Unit) (n int) {
	for _, units := range found {
		n += len(units)
	}
	return n
}

// inProject is the order of a project's units.
func inProject(a, b *keyturn.Unit) int {
	return cmp.Or(
		strings.Compare(a.ClusterName, b.ClusterName), strings.Compare(string(a.Component), string(b.Component)),
		strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID),
	)
}

// listProjects returns those that units can be selected from.
func (c *Client) listProjects(ctx context.Context, sel keyturn.Selection) ([]group, error) {
	q := question{operation: "list_projects", doing: "listing the projects of target", subject: c.target.Name, path: "/groups"}
	all, err := list(ctx, c, q, func(g group) string { return g.ID })
	if err != nil {
		return nil, err
	}
	named, only := projectsOfUnits(sel.Units, c.target.Name)
	return slices.DeleteFunc(all, func(g group) bool {
		return !sel.MatchProject(g.ID, g.Name) || only && !slices.Contains(named, g.ID)
	}), nil
}

// projectsOfUnits returns the projects that units are in. only is true if they
// can be in no other, because all units are given by their whole ids.
func projectsOfUnits(units []string, target string) (projects []string, only bool) {
	for _, unit := range units {
		t, project, _, err := keyturn.SplitUnitID(unit)
		if err != nil || strings.ContainsAny(t+project, `*?[\`) {
			return nil, false
		}
		if t == target {
			projects = append(projects, project)
		}
	}
	return projects, len(units) > 0
}
