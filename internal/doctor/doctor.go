// Package doctor finds out whether rotations would work: whether everything that they need answers, which units each
// policy selects, in which way each unit's key would be turned, and what is missing.
//
// It only reads, except for FixThresholds.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
	"github.com/keyturn/keyturn/worker"
)

// targetsAtOnce is how many targets are looked at side by side.
const targetsAtOnce = 4

// skewMost is from which difference on two clocks are said to differ. Leases and settling go by the database's clock alone.
const skewMost = 5 * time.Second

// Store is what is read of the database.
type Store interface {
	ResourcesOf(ctx context.Context, kind keyturn.ResourceKind) ([]keyturn.Resource, error)
	// Now is the database's clock.
	Now(ctx context.Context) (time.Time, error)
}

// Probe asks one part of the server whether it works.
type Probe struct {
	Name   string // of the check: "database", "nats"
	Run    func(ctx context.Context) error
	Advice string // what to do if it does not
}

// Config is what a Doctor needs.
type Config struct {
	Systems worker.Systems
	Targets worker.TargetLister
	Store   Store
	Probes  []Probe
	// KeyServer asks the KMIP server of a target that has one what it is; nil: nobody can.
	KeyServer func(ctx context.Context, target keyturn.Target) (string, error)
	Now       func() time.Time // nil: time.Now
}

// Doctor looks at a server and its targets.
type Doctor struct{ cfg Config }

// New returns a Doctor.
func New(cfg Config) *Doctor {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Doctor{cfg: cfg}
}

// Diagnose looks at one target, or at all if the name is empty. It answers keyturn.ErrNotFound for a target that
// there is not. What a target or a part of the server does not answer is in the diagnosis, not an error.
func (d *Doctor) Diagnose(ctx context.Context, target string) (keyturn.Diagnosis, error) {
	out := keyturn.Diagnosis{At: d.cfg.Now().UTC(), Checks: []keyturn.Check{}, Units: []keyturn.Finding{}, Thresholds: []keyturn.Threshold{}}
	targets, policies, err := d.subjects(ctx, target)
	if errors.Is(err, keyturn.ErrNotFound) {
		return out, err
	}
	out.Checks = append(out.Checks, d.server(ctx)...)
	switch {
	case err != nil: // a database that is away is a finding, too
		out.Checks = append(out.Checks, keyturn.Check{Name: "target", State: keyturn.CheckFailed, Message: err.Error()})
	case len(targets) == 0:
		out.Checks = append(out.Checks, keyturn.Check{
			Name: "target", State: keyturn.CheckWarning, Message: "there is no target", Fix: "keyturn apply -f FILE, with a document of kind Target",
		})
	}
	parts := make([]part, len(targets))
	var group errgroup.Group
	group.SetLimit(targetsAtOnce)
	for i, t := range targets {
		parts[i] = part{target: t, policies: policies[t.Name]}
		group.Go(func() error {
			d.look(ctx, &parts[i])
			return nil
		})
	}
	_ = group.Wait() // none returns one
	for _, p := range parts {
		out.Checks, out.Units, out.Thresholds = append(out.Checks, p.checks...), append(out.Units, p.units...), append(out.Thresholds, p.thresholds...)
	}
	out.Healthy = !slices.ContainsFunc(out.Checks, func(c keyturn.Check) bool { return c.State == keyturn.CheckFailed })
	return out, ctx.Err()
}

// subjects reads the targets, by name, and the policies of each.
func (d *Doctor) subjects(ctx context.Context, only string) ([]keyturn.Target, map[string][]keyturn.Policy, error) {
	targets, err := d.cfg.Targets.Targets(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing targets: %w", err)
	}
	if only != "" {
		targets = slices.DeleteFunc(targets, func(t keyturn.Target) bool { return t.Name != only })
		if len(targets) == 0 {
			return nil, nil, fmt.Errorf("target %s: %w", only, keyturn.ErrNotFound)
		}
	}
	slices.SortFunc(targets, func(a, b keyturn.Target) int { return strings.Compare(a.Name, b.Name) })
	stored, err := d.cfg.Store.ResourcesOf(ctx, keyturn.KindPolicy)
	if err != nil {
		return nil, nil, fmt.Errorf("listing policies: %w", err)
	}
	policies := map[string][]keyturn.Policy{}
	for _, r := range stored {
		policy, err := resource.PolicyOf(r)
		if err != nil {
			return nil, nil, err
		}
		policies[policy.Target] = append(policies[policy.Target], policy)
	}
	return targets, policies, nil
}

// server checks what every rotation needs.
func (d *Doctor) server(ctx context.Context) []keyturn.Check {
	var checks []keyturn.Check
	for _, probe := range d.cfg.Probes {
		check := keyturn.Check{Name: probe.Name, State: keyturn.CheckOK, Message: "it answers"}
		if err := within(ctx, 5*time.Second, probe.Run); err != nil {
			check.State, check.Message, check.Fix = keyturn.CheckFailed, err.Error(), probe.Advice
		}
		checks = append(checks, check)
	}
	return append(checks, d.clock(ctx))
}

// clock compares the database's clock with ours.
func (d *Doctor) clock(ctx context.Context) keyturn.Check {
	before := d.cfg.Now()
	theirs, err := d.cfg.Store.Now(ctx)
	if err != nil {
		return keyturn.Check{Name: "clock", State: keyturn.CheckUnknown, Message: "the database does not tell its time: " + err.Error()}
	}
	return Clock("the database", theirs, before, d.cfg.Now())
}

// Clock compares a clock that was read between two moments of ours.
func Clock(whose string, theirs, before, after time.Time) keyturn.Check {
	ours := before.Add(after.Sub(before) / 2)
	skew := theirs.Sub(ours)
	check := keyturn.Check{Name: "clock", State: keyturn.CheckOK, Message: fmt.Sprintf("the clock of %s is within %s of ours", whose, skewMost)}
	if skew.Abs() > skewMost+after.Sub(before)/2 {
		word := "ahead of"
		if skew < 0 {
			word = "behind"
		}
		check.State = keyturn.CheckWarning
		check.Message = fmt.Sprintf("the clock of %s is %s %s ours", whose, skew.Abs().Round(time.Second), word)
		check.Fix = "let both follow the same time servers (NTP): times in the history and of slots come from them"
	}
	return check
}

// within gives a call a time limit.
func within(ctx context.Context, most time.Duration, run func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return run(ctx)
}

// sortFindings is the order of the table.
func sortFindings(findings []keyturn.Finding) {
	slices.SortFunc(findings, func(a, b keyturn.Finding) int {
		return cmp.Or(
			strings.Compare(a.ProjectName, b.ProjectName), strings.Compare(a.ProjectID, b.ProjectID), strings.Compare(a.ClusterName, b.ClusterName),
			strings.Compare(string(a.Component), string(b.Component)), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID),
		)
	})
}
