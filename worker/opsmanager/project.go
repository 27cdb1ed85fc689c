package opsmanager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	// fresh is how long what all tasks of a project ask for is taken from memory.
	fresh = 3 * time.Second
	// listLife is the same for lists that change when someone builds or removes a cluster.
	listLife = time.Minute
	// projectsKept bounds the projects of which something large is held in memory.
	projectsKept = 64
)

// project is what was read of a project lately. It is only ever a way to ask less often.
type project struct {
	used     time.Time
	clusters *cached[[]component]
	config   *cached[*plan]
	status   *cached[*automationStatus]
	control  *cached[*controlledFeature]
	hosts    *cached[[]host]

	mu        sync.Mutex
	snapshots map[string]*cached[[]snapshot] // by the id of a sharded cluster
}

func newProject() *project {
	return &project{
		clusters: newCached[[]component](), config: newCached[*plan](), status: newCached[*automationStatus](),
		control: newCached[*controlledFeature](), hosts: newCached[[]host](), snapshots: make(map[string]*cached[[]snapshot]),
	}
}

// snapshotsOf returns what is held of a sharded cluster's snapshots.
func (p *project) snapshotsOf(id string) *cached[[]snapshot] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.snapshots[id] == nil {
		p.snapshots[id] = newCached[[]snapshot]()
	}
	return p.snapshots[id]
}

// projects are those that were asked for last.
type projects struct {
	now func() time.Time

	mu       sync.Mutex
	by       map[string]*project
	sweeping bool // a sweep will come
}

// of returns what is held of a project, and forgets the one that was not used for longest if there are too many. Those that
// were not used for as long as anything of them is good for are swept away.
func (ps *projects) of(id string) *project {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.by == nil {
		ps.by = make(map[string]*project)
	}
	p := ps.by[id]
	if p == nil {
		if len(ps.by) >= projectsKept {
			ps.forgetOne()
		}
		p = newProject()
		ps.by[id] = p
	}
	p.used = ps.now()
	ps.sweepLater()
	return p
}

// sweepLater has what is not used any more forgotten, also when nobody asks for a project again: the lists of a large estate
// would stay in memory until its next rotation. The caller holds mu.
func (ps *projects) sweepLater() {
	if ps.sweeping || len(ps.by) == 0 {
		return
	}
	ps.sweeping = true
	time.AfterFunc(listLife, func() {
		ps.mu.Lock()
		defer ps.mu.Unlock()
		ps.sweeping = false
		maps.DeleteFunc(ps.by, func(_ string, p *project) bool { return ps.now().Sub(p.used) >= listLife })
		ps.sweepLater()
	})
}

// forget lets go of a project of which no task will ask for anything large again.
func (ps *projects) forget(id string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.by, id)
}

func (ps *projects) forgetOne() {
	oldest := ""
	for id, p := range ps.by {
		if oldest == "" || p.used.Before(ps.by[oldest].used) {
			oldest = id
		}
	}
	delete(ps.by, oldest)
}

// errNoUnit: the unit is not in the list of clusters.
var errNoUnit = errors.New("the project's list of clusters does not name it (any more)")

// component finds a unit in its project's list of clusters.
func (c *Client) component(ctx context.Context, q question, projectID, clusterID string) (component, error) {
	p := c.projects.of(projectID)
	all, err := p.clusters.get(ctx, c.now, listLife, func(ctx context.Context) ([]component, error) {
		s := survey{c: c, group: group{ID: projectID}}
		clusters, err := s.list(ctx)
		return components(clusters), err
	})
	if err != nil {
		return component{}, c.gaveUp(q, err)
	}
	for _, comp := range all {
		if comp.ID == clusterID {
			return comp, nil
		}
	}
	return component{}, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "not_found"}, errNoUnit)
}

// gaveUp gives an error of waiting for somebody else's read the form that callers expect. Who waits until a deadline
// waits for a target that hangs: that is the target's trouble, as it is of the one who reads, and no failed try of a task.
func (c *Client) gaveUp(q question, err error) error {
	if _, ok := errors.AsType[*keyturn.SystemError](err); ok {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "timeout"},
			fmt.Errorf("no answer from %s in time: %w", c.target.URL, err))
	}
	return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Code: "canceled"}, err)
}

// split splits a unit's id and makes sure that it is one of this target, made of plain tokens only.
func (c *Client) split(unit string) (projectID, clusterID string, err error) {
	if _, err := c.keyPath(unit); err != nil {
		return "", "", err
	}
	_, projectID, clusterID, err = keyturn.SplitUnitID(unit)
	return projectID, clusterID, err
}
