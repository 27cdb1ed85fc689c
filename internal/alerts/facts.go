package alerts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// flaps reports whether facts of the kind come and go: their alerts end only when the fact was gone for a while.
func flaps(kind keyturn.AlertKind) bool {
	switch kind {
	case keyturn.AlertTargetUnreachable, keyturn.AlertCredentialsRejected, keyturn.AlertWebhookFailing,
		keyturn.AlertRotationStuck, keyturn.AlertPolicyMissed:
		return true
	default:
		return false
	}
}

// facts compares the facts of every kind but those of keys' ages with the open alerts.
func (p *pass) facts(ctx context.Context) error {
	var errs []error
	for _, s := range append(p.sources(), p.cfg.Sources...) {
		facts, err := s.Facts(ctx, p.Now)
		if err == nil {
			err = p.judgeFacts(ctx, s.Kinds, facts)
		}
		errs = append(errs, err)
	}
	counts, err := p.cfg.Store.OpenAlertCounts(ctx)
	if err == nil {
		p.cfg.Metrics.count(counts)
	}
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return p.cfg.Store.NoteSweep(ctx, p.cfg.Owner, keyturn.AlertSweep{FactsAt: p.Now})
}

// judgeFacts makes the alerts of the kinds what the facts ask for.
func (p *pass) judgeFacts(ctx context.Context, kinds []keyturn.AlertKind, facts []keyturn.AlertFact) error {
	type subject struct {
		kind keyturn.AlertKind
		name string
	}
	holds := make(map[subject]keyturn.AlertFact, len(facts))
	for _, f := range facts {
		holds[subject{f.Kind, f.Subject}] = f
	}
	cut := len(facts) >= factsMost // then what is missing may hold nevertheless
	batch := &keyturn.AlertBatch{}
	for _, kind := range kinds {
		for after := ""; ; {
			open, err := p.cfg.Store.OpenAlerts(ctx, kind, after, keysPage)
			if err != nil {
				return err
			}
			for _, a := range open {
				k := subject{kind, a.Fact.Subject}
				if fact, ok := holds[k]; ok {
					compare(batch, fact, true, []keyturn.OpenAlert{a})
					delete(holds, k)
				} else if !cut {
					p.gone(batch, a)
				}
			}
			if len(open) < keysPage {
				break
			}
			after = open[len(open)-1].Fact.Subject
		}
	}
	for _, f := range facts {
		if _, ok := holds[subject{f.Kind, f.Subject}]; ok {
			batch.Open = append(batch.Open, f)
		}
	}
	return p.save(ctx, batch)
}

// gone deals with an open alert whose fact is gone.
func (p *pass) gone(batch *keyturn.AlertBatch, a keyturn.OpenAlert) {
	switch {
	case !flaps(a.Fact.Kind) || a.GoneSince != nil && p.Now.Sub(*a.GoneSince) >= goneFor:
		batch.Resolve = append(batch.Resolve, a)
	case a.GoneSince == nil:
		batch.Gone = append(batch.Gone, a.ID)
	}
}

// sources are the kinds that the database knows all about.
func (p *pass) sources() []Source {
	from := func(ask time.Duration, say func(keyturn.AlertEvidence, *keyturn.AlertFact) bool, kinds ...keyturn.AlertKind) Source {
		return Source{Kinds: kinds, Facts: func(ctx context.Context, now time.Time) ([]keyturn.AlertFact, error) {
			found, err := p.cfg.Store.Evidence(ctx, kinds[0], now.Add(-ask), factsMost)
			if err != nil {
				return nil, err
			}
			facts := make([]keyturn.AlertFact, 0, len(found))
			for _, e := range found {
				f := keyturn.AlertFact{
					Kind: kinds[0], Subject: e.Subject, Policy: e.Policy, Target: e.Target, Project: e.Unit.ProjectID, Cluster: e.Unit.ClusterName,
				}
				if say(e, &f) {
					facts = append(facts, f)
				}
			}
			return facts, nil
		}}
	}
	drift := from(driftShown, p.drift, keyturn.AlertKeyDrift)
	ask := drift.Facts
	drift.Facts = func(ctx context.Context, now time.Time) ([]keyturn.AlertFact, error) {
		if _, err := p.read(ctx); err != nil {
			return nil, err
		}
		return ask(ctx, now)
	}
	return []Source{
		from(0, parked, keyturn.AlertTaskParked),
		from(0, badRotation, keyturn.AlertRotationFailed, keyturn.AlertRotationPartial),
		{Kinds: []keyturn.AlertKind{keyturn.AlertRotationStuck}, Facts: p.stuck},
		{Kinds: []keyturn.AlertKind{keyturn.AlertPolicyMissed}, Facts: p.missed},
		from(troubleGrace, p.unreachable, keyturn.AlertTargetUnreachable),
		from(troubleGrace, rejected, keyturn.AlertCredentialsRejected),
		from(webhookGrace, webhookFails, keyturn.AlertWebhookFailing),
		drift,
	}
}

func parked(e keyturn.AlertEvidence, f *keyturn.AlertFact) bool {
	f.Severity = keyturn.SeverityCritical
	f.Message = fmt.Sprintf("task of %s is parked, a person must decide: %s; look at the target, then: keyturn task resolve %s", unitName(e.Unit), e.Detail, e.Subject)
	return true
}

func badRotation(e keyturn.AlertEvidence, f *keyturn.AlertFact) bool {
	f.Subject = e.Policy
	if e.State == keyturn.RotationFailed {
		f.Kind, f.Severity = keyturn.AlertRotationFailed, keyturn.SeverityCritical
		f.Message = fmt.Sprintf("rotation of policy %s failed: %s; see: keyturn rotations %s", e.Policy, e.Detail, e.Subject)
		return true
	}
	f.Kind, f.Severity = keyturn.AlertRotationPartial, keyturn.SeverityWarning
	f.Message = fmt.Sprintf("rotation of policy %s left %s of %s units without a new key", e.Policy, thousands(e.Count), thousands(e.Total))
	if len(e.Mixed) > 0 {
		f.Message += "; mixed clusters: " + strings.Join(e.Mixed, ", ")
	}
	f.Message += "; see: keyturn rotations " + e.Subject
	return true
}

func (p *pass) unreachable(e keyturn.AlertEvidence, f *keyturn.AlertFact) bool {
	f.Severity = keyturn.SeverityWarning
	if p.Now.Sub(e.Since) >= troubleWorse {
		f.Severity = keyturn.SeverityCritical
	}
	f.Message = fmt.Sprintf("target %s does not answer since %s: %s", e.Target, e.Since.UTC().Format(time.RFC3339), e.Detail)
	return true
}

func rejected(e keyturn.AlertEvidence, f *keyturn.AlertFact) bool {
	f.Severity = keyturn.SeverityCritical
	f.Message = fmt.Sprintf("target %s refuses the API key: %s", e.Target, e.Detail)
	return true
}

// webhookFails is told to others than the webhook: see worker's outbox.
func webhookFails(e keyturn.AlertEvidence, f *keyturn.AlertFact) bool {
	f.Severity = keyturn.SeverityWarning
	switch {
	case e.Gone:
		f.Severity = keyturn.SeverityCritical
		f.Message = fmt.Sprintf("webhook %s wants nothing any more, and is told nothing until it is changed: %s", e.Subject, e.Detail)
	case e.Failing:
		f.Message = fmt.Sprintf("webhook %s takes nothing since %s: %s", e.Subject, e.Since.UTC().Format(time.RFC3339), e.Detail)
	default:
		f.Message = fmt.Sprintf("webhook %s did not take everything", e.Subject)
	}
	if e.Count > 0 {
		f.Message += fmt.Sprintf("; %s given up, replay with: keyturn webhooks replay --failed %s", count(e.Count, "delivery was", "deliveries were"), e.Subject)
	} else {
		f.Message += "; see: keyturn webhooks deliveries " + e.Subject
	}
	return true
}

func (p *pass) drift(e keyturn.AlertEvidence, f *keyturn.AlertFact) bool {
	l, ok := p.policies.limits(e.Unit)
	f.Policy, f.Severity = l.policy, keyturn.SeverityInfo
	f.Message = fmt.Sprintf("key of %s was turned by somebody else, seen at %s", unitName(e.Unit), e.Since.UTC().Format(time.RFC3339))
	return ok
}
