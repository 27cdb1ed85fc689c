package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// namedMost is how many units a message names.
const namedMost = 3

// part is what is found out about one target.
type part struct {
	target     keyturn.Target
	policies   []keyturn.Policy
	checks     []keyturn.Check
	units      []keyturn.Finding
	thresholds []keyturn.Threshold
}

func (p *part) add(checks ...keyturn.Check) {
	for _, c := range checks {
		if c.Subject == "" {
			c.Subject = "target/" + p.target.Name
		}
		p.checks = append(p.checks, c)
	}
}

// look finds everything out about a target.
func (d *Doctor) look(ctx context.Context, p *part) {
	sys, _, err := d.cfg.Systems.System(ctx, p.target.Name, 0)
	if err != nil {
		p.add(keyturn.Check{Name: "target", State: keyturn.CheckFailed, Message: err.Error(), Fix: "correct its spec, or what its references lead to"})
		return
	}
	checker, told := worker.As[worker.Checker](sys)
	if told {
		p.add(checker.Check(ctx)...)
	}
	d.keyServer(ctx, p)
	if len(p.policies) == 0 {
		p.add(keyturn.Check{
			Name: "policy", State: keyturn.CheckWarning, Message: "no policy turns its keys",
			Fix: "keyturn apply -f FILE, with a document of kind Policy that names it as target",
		})
	}
	var leftOut []keyturn.Check
	p.units, leftOut, err = examine(ctx, sys)
	if err != nil {
		p.units = nil
		if !slices.ContainsFunc(p.checks, func(c keyturn.Check) bool { return c.State == keyturn.CheckFailed }) { // that is why
			p.add(keyturn.Check{Name: "units", State: keyturn.CheckFailed, Message: "its units can't be listed: " + err.Error()})
		}
		return
	}
	if !told {
		p.add(keyturn.Check{Name: "credentials", State: keyturn.CheckOK, Message: "accepted: its units can be listed"})
	}
	p.judge(ctx, sys)
	p.add(leftOut...)
	d.thresholds(ctx, sys, p)
}

// keyServer checks the KMIP server of a target that has one.
func (d *Doctor) keyServer(ctx context.Context, p *part) {
	if p.target.KMIP == nil {
		return
	}
	check := keyturn.Check{Name: "kmip", State: keyturn.CheckUnknown, Message: "this server can't ask KMIP servers"}
	if d.cfg.KeyServer != nil {
		what, err := d.cfg.KeyServer(ctx, p.target)
		check.State, check.Message = keyturn.CheckOK, p.target.KMIP.Address+" answers: "+what
		if err != nil {
			check.State, check.Message = keyturn.CheckFailed, err.Error()
			check.Fix = "check spec.kmip, and that the server trusts the certificate in spec.kmip.certFile"
		}
	}
	p.add(check)
}

// examine asks for the way of each unit; of a system that does not tell ways, for which can be turned.
func examine(ctx context.Context, sys worker.System) ([]keyturn.Finding, []keyturn.Check, error) {
	if examiner, ok := worker.As[worker.Examiner](sys); ok {
		return examiner.Examine(ctx, keyturn.Selection{})
	}
	units, err := sys.Discover(ctx, keyturn.Selection{})
	if err != nil {
		return nil, nil, err
	}
	findings := make([]keyturn.Finding, len(units))
	for i, u := range units {
		findings[i].Unit = u
		if u.Rotatable {
			findings[i].Way = string(u.System)
		}
	}
	return findings, nil, nil
}

// judge says which policy selects what, and what is wrong with that.
func (p *part) judge(ctx context.Context, sys worker.System) {
	sortFindings(p.units)
	for i := range p.units {
		p.units[i].Policies = []string{}
	}
	for _, policy := range p.policies {
		p.judgePolicy(policy, p.selects(ctx, sys, policy.Select))
	}
	if len(p.policies) == 0 {
		return
	}
	var left []keyturn.Finding
	for _, f := range p.units {
		if len(f.Policies) == 0 && f.Rotatable {
			left = append(left, f)
		}
	}
	if len(left) > 0 {
		p.add(keyturn.Check{
			Name: "policy", State: keyturn.CheckWarning, Message: "no policy selects " + names(left),
			Fix: "widen the select of a policy, or add one",
		})
	}
}

// selects returns what tells whether a unit is selected. A cluster may be known to the target by another word
// than those that a unit carries, such as the id of a whole sharded cluster: then the target is asked.
func (p *part) selects(ctx context.Context, sys worker.System, sel keyturn.Selection) func(keyturn.Unit) bool {
	strange := func(cluster string) bool {
		only := keyturn.Selection{Clusters: []string{cluster}}
		return !slices.ContainsFunc(p.units, func(f keyturn.Finding) bool { return only.Match(f.Unit) })
	}
	if !slices.ContainsFunc(sel.Clusters, strange) {
		return sel.Matcher()
	}
	units, err := sys.Discover(ctx, sel)
	if err != nil {
		return sel.Matcher() // those that carry the word
	}
	selected := make(map[string]bool, len(units))
	for _, u := range units {
		selected[u.ID] = true
	}
	return func(u keyturn.Unit) bool { return selected[u.ID] }
}

func (p *part) judgePolicy(policy keyturn.Policy, selects func(keyturn.Unit) bool) {
	check := keyturn.Check{Name: "policy", Subject: "policy/" + policy.Name, State: keyturn.CheckOK}
	var never, passing []keyturn.Finding
	selected := 0
	for i := range p.units {
		f := &p.units[i]
		if !selects(f.Unit) {
			continue
		}
		selected++
		f.Policies = append(f.Policies, policy.Name)
		switch {
		case f.Never():
			never = append(never, *f)
		case !f.Rotatable:
			passing = append(passing, *f)
		}
	}
	switch {
	case selected == 0:
		check.State, check.Message = keyturn.CheckFailed, "it selects no unit of target "+p.target.Name+": its rotations fail"
		check.Fix = "compare its select with `keyturn doctor " + p.target.Name + "`, and try it with `keyturn plan " + policy.Name + "`"
	case len(never) > 0:
		check.State = keyturn.CheckFailed
		check.Message = fmt.Sprintf("of %d units that it selects %d can't be turned as they are: %s", selected, len(never), names(never))
		check.Fix = "do what the table of units says, or leave them out of its select"
	case len(passing) > 0:
		check.State = keyturn.CheckWarning
		check.Message = fmt.Sprintf("of %d units that it selects %d can't be turned right now: %s", selected, len(passing), names(passing))
		check.Fix = "wait: it passes by itself"
	default:
		check.Message = fmt.Sprintf("the keys of all %d units that it selects can be turned", selected)
	}
	p.add(check)
}

// names names some of the units.
func names(findings []keyturn.Finding) string {
	var some []string
	for _, f := range findings[:min(len(findings), namedMost)] {
		name := f.Name
		if f.ProjectName != "" {
			name = f.ProjectName + "/" + name
		}
		some = append(some, name)
	}
	text := strings.Join(some, ", ")
	if more := len(findings) - namedMost; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// thresholds compares the ages at which the target itself tells people with those of the policies.
func (d *Doctor) thresholds(ctx context.Context, sys worker.System, p *part) {
	keeper, ok := worker.As[worker.ThresholdKeeper](sys)
	if !ok {
		return
	}
	found, err := keeper.Thresholds(ctx, keyturn.Selection{})
	if err != nil {
		p.add(keyturn.Check{Name: "threshold", State: keyturn.CheckUnknown, Message: "its own alerts about old keys can't be read: " + err.Error()})
		return
	}
	p.thresholds = found
	wanted := p.warnAfter()
	for i := range p.thresholds {
		p.thresholds[i].Target = p.target.Name
		t := p.thresholds[i]
		want, ok := wanted[t.ProjectID]
		if !ok {
			continue // nobody turns its keys here
		}
		project := t.ProjectName
		if project == "" {
			project = t.ProjectID
		}
		check := keyturn.Check{Name: "threshold", State: keyturn.CheckOK}
		switch {
		case t.ID == "":
			check.State = keyturn.CheckWarning
			check.Message = fmt.Sprintf("project %s has no alert %s: only Keyturn tells of old keys", project, t.Event)
		case !t.Enabled:
			check.State = keyturn.CheckWarning
			check.Message = fmt.Sprintf("project %s: its alert %s is disabled: only Keyturn tells of old keys", project, t.Event)
		case t.Days != want.days:
			check.State = keyturn.CheckWarning
			check.Message = fmt.Sprintf("project %s: its alert %s fires after %d days, policy %s warns after %d", project, t.Event, t.Days, want.policy, want.days)
			check.Fix = "keyturn doctor " + p.target.Name + " --fix-thresholds"
		default:
			check.Message = fmt.Sprintf("project %s: its alert %s fires after %d days, as policy %s warns", project, t.Event, t.Days, want.policy)
		}
		p.add(check)
	}
}

// warned is when a policy warns.
type warned struct {
	policy string
	days   int
}

// warnAfter returns, by project, the least age at which a policy that selects a unit of it warns. A part of a day counts as
// one: an alert must not come before Keyturn's own.
func (p *part) warnAfter() map[string]warned {
	byName := make(map[string]keyturn.Policy, len(p.policies))
	for _, policy := range p.policies {
		byName[policy.Name] = policy.WithDefaults()
	}
	out := map[string]warned{}
	for _, f := range p.units {
		for _, name := range f.Policies {
			after := byName[name].Alerts.WarnAfter.Std()
			days := max(1, int((after+keyturn.Day-1)/keyturn.Day))
			if known, ok := out[f.ProjectID]; !ok || days < known.days {
				out[f.ProjectID] = warned{name, days}
			}
		}
	}
	return out
}

// FixThresholds sets the ages at which a target itself tells people of old keys to those of the policies, and
// returns what it has set. One that can't be set keeps no other from being set; the error tells of the first.
func (d *Doctor) FixThresholds(ctx context.Context, target string) ([]keyturn.Threshold, error) {
	targets, policies, err := d.subjects(ctx, target)
	if err != nil {
		return nil, err
	}
	set := []keyturn.Threshold{}
	for _, t := range targets {
		some, err := d.fixThresholds(ctx, part{target: t, policies: policies[t.Name]})
		set = append(set, some...)
		if err != nil {
			return set, err
		}
	}
	return set, nil
}

func (d *Doctor) fixThresholds(ctx context.Context, p part) (set []keyturn.Threshold, err error) {
	sys, _, err := d.cfg.Systems.System(ctx, p.target.Name, 0)
	if err != nil {
		return nil, err
	}
	keeper, ok := worker.As[worker.ThresholdKeeper](sys)
	if !ok {
		return nil, keyturn.Conflictf("it has no alerts of its own about old keys")
	}
	if p.units, _, err = examine(ctx, sys); err != nil {
		return nil, err
	}
	p.judge(ctx, sys)
	wanted := p.warnAfter()
	found, err := keeper.Thresholds(ctx, keyturn.Selection{})
	if err != nil {
		return nil, err
	}
	failed, first := 0, error(nil)
	for _, threshold := range found {
		want, ok := wanted[threshold.ProjectID]
		if !ok || threshold.ID == "" || threshold.Days == want.days {
			continue
		}
		threshold.Target = p.target.Name
		if err := keeper.SetThreshold(ctx, threshold, want.days); err != nil {
			failed++
			first = cmp.Or(first, err)
			continue
		}
		threshold.Days = want.days
		set = append(set, threshold)
	}
	if failed > 0 {
		first = &keyturn.SystemError{
			Kind: keyturn.AsSystemError(first, keyturn.KindTransient).Kind, Code: "thresholds",
			Err: fmt.Errorf("%d of %d thresholds were not set: %w", failed, failed+len(set), first),
		}
	}
	return set, first
}
