package opsmanager

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// wayLife is how long the way of a unit is known before it is found out again: an upgrade to FCV 4.2 changes it.
const wayLife = 10 * time.Minute

// ways remembers how keys are turned, so that not each task has to find it out.
type ways struct {
	mu        sync.Mutex
	byProject map[string]*learned
}

// learned is what is known of a project.
type learned struct {
	at      time.Time // of the oldest part of it
	byUnit  map[string]way
	reading chan struct{} // who holds its one place finds it out

	backless bool // the last survey did not need its backup configurations
}

// learn keeps the ways of units that can be turned.
func (w *ways) learn(project string, routes map[string]route, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.of(project)
	if now.Sub(l.at) > wayLife || l.byUnit == nil {
		l.byUnit, l.at = make(map[string]way, len(routes)), now
	}
	var k keeper
	for id, r := range routes {
		// What is known already is left alone: to write it again would keep the key that is given, and with it the whole
		// text that it was read from.
		if old, ok := l.byUnit[id]; !ok || old != r.way {
			l.byUnit[k.own(id)] = r.way
		}
	}
}

// of returns what is known of a project. The caller holds mu.
func (w *ways) of(project string) *learned {
	if w.byProject == nil {
		w.byProject = make(map[string]*learned)
	}
	l := w.byProject[project]
	if l == nil {
		l = &learned{reading: make(chan struct{}, 1)}
		w.byProject[strings.Clone(project)] = l
	}
	return l
}

// known returns the way of a unit; empty: it has to be found out.
func (w *ways) known(project, cluster string, now time.Time) (way, *learned) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.of(project)
	if now.Sub(l.at) > wayLife {
		return "", l
	}
	return l.byUnit[cluster], l
}

// backless reports whether the last survey of the project needed no backup configurations.
func (w *ways) backless(project string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.byProject[project]
	return l != nil && l.backless
}

// needs notes whether a survey of the project needs its backup configurations.
func (w *ways) needs(project string, backups bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of(project).backless = !backups
}

// way finds out in which way a unit's key is turned: from memory, or by the lists of its project.
func (c *Client) way(ctx context.Context, q question, projectID, clusterID string) (way, error) {
	found, l := c.ways.known(projectID, clusterID, c.now())
	if found != "" {
		return found, nil
	}
	select {
	case l.reading <- struct{}{}:
		defer func() { <-l.reading }()
	case <-ctx.Done():
		return "", c.gaveUp(q, ctx.Err())
	}
	if found, _ := c.ways.known(projectID, clusterID, c.now()); found != "" { // somebody else found it out meanwhile
		return found, nil
	}
	s := survey{c: c, group: group{ID: projectID}}
	routes, err := s.routes(ctx)
	if err != nil {
		return "", err
	}
	r, ok := routes[clusterID]
	switch {
	case !ok:
		return "", c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "not_found"}, errNoUnit)
	case r.reason != "":
		return "", c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "not_rotatable"}, fmt.Errorf("%w: %s", errNoWay, r.reason))
	}
	return r.way, nil
}

// routes finds the ways of all units of the project, without asking whether their backups are on: who does not
// back up has no key that could be turned, and the system says so.
func (s *survey) routes(ctx context.Context) (map[string]route, error) {
	clusters, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	s.clusters = clusters
	if err := s.readPlan(ctx); err != nil {
		return nil, err
	}
	routes, usable := make(map[string]route), make(map[string]route)
	for _, comp := range components(clusters) {
		var found fcv
		known := false
		if s.plan != nil {
			found, known = s.plan.fcv(comp)
		}
		if !known && comp.flaw == "" {
			if err := s.listHosts(ctx); err != nil {
				return nil, err
			}
			found = fcvByHosts(s.hosts.members(comp), s.unread)
		}
		r := s.c.routeOf(found, s.plan, s.unread, comp)
		routes[comp.ID] = r
		if r.reason == "" {
			usable[comp.ID] = r
		}
	}
	s.c.ways.learn(s.group.ID, usable, s.c.now())
	return routes, nil
}

// unsent are the changes that this process prepared and of which it knows that nobody can have sent them.
type unsent struct {
	mu sync.Mutex
	by map[string]string // by unit: the key that is wanted
}

// prepared notes a change that was just made up.
func (u *unsent) prepared(unit, want string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by == nil {
		u.by = make(map[string]string)
	}
	u.by[unit] = want
}

// is reports whether the change was never sent.
func (u *unsent) is(unit, want string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.by[unit] == want
}

// sending is called right before the change is sent.
func (u *unsent) sending(unit string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.by, unit)
}
