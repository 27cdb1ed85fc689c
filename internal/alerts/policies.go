package alerts

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
)

// projectsKept bounds what is remembered of which policies look at a project.
const projectsKept = 20000

// policies finds the policies that select a unit.
type policies struct {
	by      map[string]keyturn.Policy
	targets map[string]*targetPolicies
	ages    []time.Duration // at which something changes, of any policy
	// fingerprint is another one when anything has changed that matters here.
	fingerprint [sha256.Size]byte
}

// targetPolicies are the policies of one target, the strictest first.
type targetPolicies struct {
	all      []policy
	projects map[string][]policy // of each project that was asked for: those that may select its units
}

type policy struct {
	keyturn.Policy
	whole bool // it selects every unit
}

// limits are the ages that hold for a unit.
type limits struct {
	policy              string // the strictest, whom its alerts belong to
	due, warn, critical time.Duration
}

func newPolicies(list []keyturn.Policy) *policies {
	ps := &policies{by: make(map[string]keyturn.Policy, len(list)), targets: map[string]*targetPolicies{}}
	sum := sha256.New()
	for _, p := range list {
		ps.by[p.Name] = p
		fmt.Fprintf(sum, "%q %q %q %+v\n", p.Name, p.Target, p.Select, p.Alerts)
		ps.ages = append(ps.ages, dueAge(p), p.Alerts.WarnAfter.Std(), p.Alerts.CriticalAfter.Std())
		t := ps.targets[p.Target]
		if t == nil {
			t = &targetPolicies{projects: map[string][]policy{}}
			ps.targets[p.Target] = t
		}
		t.all = append(t.all, policy{Policy: p, whole: selectsAll(p.Select)})
	}
	sum.Sum(ps.fingerprint[:0])
	slices.Sort(ps.ages)
	ps.ages = slices.Compact(ps.ages)
	for _, t := range ps.targets {
		slices.SortFunc(t.all, func(a, b policy) int {
			return cmp.Or(cmp.Compare(a.Alerts.WarnAfter, b.Alerts.WarnAfter), cmp.Compare(a.Alerts.CriticalAfter, b.Alerts.CriticalAfter),
				cmp.Compare(a.Name, b.Name))
		})
	}
	return ps
}

func selectsAll(s keyturn.Selection) bool {
	every := func(list []string) bool { return len(list) == 0 || slices.Contains(list, "*") }
	return every(s.Projects) && every(s.Clusters) && every(s.Units) && len(s.Components) == 0
}

// cutoffs are the times, for each target, after which none of its keys is old enough for any alert.
func (ps *policies) cutoffs(now time.Time) map[string]time.Time {
	out := make(map[string]time.Time, len(ps.targets))
	for target, t := range ps.targets {
		smallest := dueAge(t.all[0].Policy)
		for _, p := range t.all[1:] {
			smallest = min(smallest, dueAge(p.Policy))
		}
		out[target] = now.Add(-smallest)
	}
	return out
}

// dueAge is the age from which on a key is due soon.
func dueAge(p keyturn.Policy) time.Duration {
	return max(0, p.Alerts.WarnAfter.Std()-p.Alerts.DueSoon.Std())
}

// limits returns the ages that hold for a unit: the smallest of all policies that select it.
func (ps *policies) limits(u keyturn.Unit) (limits, bool) {
	var l limits
	t := ps.targets[u.Target]
	if t == nil {
		return l, false
	}
	for _, p := range t.of(u) {
		if !p.whole && !p.Select.Match(u) {
			continue
		}
		if l.policy == "" {
			l = limits{policy: p.Name, due: dueAge(p.Policy), warn: p.Alerts.WarnAfter.Std(), critical: p.Alerts.CriticalAfter.Std()}
			continue
		}
		l.due, l.critical = min(l.due, dueAge(p.Policy)), min(l.critical, p.Alerts.CriticalAfter.Std())
	}
	return l, l.policy != ""
}

func (t *targetPolicies) of(u keyturn.Unit) []policy {
	if len(t.all) == 1 {
		return t.all
	}
	key := u.ProjectID + "\x00" + u.ProjectName
	some, ok := t.projects[key]
	if ok {
		return some
	}
	for _, p := range t.all {
		if p.whole || p.Select.MatchProject(u.ProjectID, u.ProjectName) {
			some = append(some, p)
		}
	}
	if len(t.projects) >= projectsKept {
		clear(t.projects)
	}
	t.projects[key] = some
	return some
}
