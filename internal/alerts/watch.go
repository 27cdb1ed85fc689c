package alerts

import (
	"context"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
)

// stuck are rotations that may go on and do not.
func (p *pass) stuck(ctx context.Context, _ time.Time) ([]keyturn.AlertFact, error) {
	found, err := p.cfg.Store.StuckRotations(ctx, stuckGrace)
	facts := make([]keyturn.AlertFact, len(found))
	for i, r := range found {
		facts[i] = keyturn.AlertFact{
			Kind: keyturn.AlertRotationStuck, Subject: r.Rotation.String(), Policy: r.Policy, Target: r.Target, Severity: keyturn.SeverityCritical,
			Message: fmt.Sprintf("rotation of policy %s is %s and has made no progress for %s; see: keyturn rotations %s",
				r.Policy, r.State, r.Idle.Truncate(time.Minute), r.Rotation),
		}
	}
	return facts, err
}

// missed are policies whose slot nobody fired, and those whose next window opens too late for a key.
func (p *pass) missed(ctx context.Context, _ time.Time) ([]keyturn.AlertFact, error) {
	found, err := p.cfg.Store.MissedPolicies(ctx, missedGrace)
	if err != nil {
		return nil, err
	}
	late, err := p.cfg.Store.PastDeadlines(ctx)
	facts := make([]keyturn.AlertFact, 0, len(found)+len(late))
	for _, m := range found {
		facts = append(facts, keyturn.AlertFact{
			Kind: keyturn.AlertPolicyMissed, Subject: m.Policy, Policy: m.Policy, Target: m.Target, Severity: keyturn.SeverityCritical,
			Message: fmt.Sprintf("policy %s missed its slot %s: no scheduler made its rotation", m.Policy, m.Slot),
		})
	}
	for _, d := range late {
		next := "never"
		if !d.NextAt.IsZero() {
			next = "at " + d.NextAt.Format(time.RFC3339)
		}
		facts = append(facts, keyturn.AlertFact{
			Kind: keyturn.AlertPolicyMissed, Subject: d.Policy, Policy: d.Policy, Target: d.Target, Severity: keyturn.SeverityWarning,
			Message: fmt.Sprintf("policy %s: a key passes alerts.criticalAfter at %s, and the next window opens %s; widen its windows, or set deadline: run",
				d.Policy, d.At.Format(time.RFC3339), next),
		})
	}
	return facts, err
}
