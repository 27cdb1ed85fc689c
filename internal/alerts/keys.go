package alerts

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
)

// keyKinds are the kinds that are about a key's age. A key has one of them at most.
func keyKinds() []keyturn.AlertKind {
	return []keyturn.AlertKind{keyturn.AlertKeyAge, keyturn.AlertKeyDueSoon}
}

// oldKeys looks at the keys that have reached an age that matters since the last time; and at all that
// are old when policies changed, when this process has not yet done so, and from time to time. Its work
// grows with the keys that are old, and no transaction holds more than a page of them.
func (p *pass) oldKeys(ctx context.Context) error {
	ps, err := p.read(ctx)
	if err != nil {
		return err
	}
	if ps.fingerprint == p.seen && !p.KeysAt.IsZero() && !isDue(p.fullAt, p.Now, fullEvery) {
		for _, age := range ps.ages {
			from, to := p.KeysAt.Add(-age-ageOverlap), p.Now.Add(-age)
			if _, err := p.everyKey(ctx, from, to, nil); err != nil {
				return err
			}
		}
		return p.cfg.Store.NoteSweep(ctx, p.cfg.Owner, keyturn.AlertSweep{KeysAt: p.Now})
	}
	if err := p.allKeys(ctx, ps); err != nil {
		return err
	}
	p.seen, p.fullAt = ps.fingerprint, p.Now
	return p.cfg.Store.NoteSweep(ctx, p.cfg.Owner, keyturn.AlertSweep{KeysAt: p.Now})
}

func (p *pass) allKeys(ctx context.Context, ps *policies) error {
	cutoffs := ps.cutoffs(p.Now)
	facts := 0
	if len(cutoffs) > 0 {
		var latest time.Time
		for _, at := range cutoffs {
			if at.After(latest) {
				latest = at
			}
		}
		var err error
		if facts, err = p.everyKey(ctx, time.Unix(0, 0), latest, nil); err != nil {
			return err
		}
	}
	// Each fact has one open alert now. When there are more alerts than facts, some have none.
	counts, err := p.cfg.Store.OpenAlertCounts(ctx)
	if err != nil {
		return err
	}
	for _, c := range counts {
		if slices.Contains(keyKinds(), c.Kind) {
			facts -= c.Open
		}
	}
	if facts == 0 {
		return nil
	}
	for _, kind := range keyKinds() {
		if err := p.resolveBaseless(ctx, kind, cutoffs); err != nil {
			return err
		}
	}
	return nil
}

// turnedKeys looks at keys that were turned lately, so that their alerts end within seconds. Most of them have none: a
// rotation of ten thousand keys must not be looked at one by one here.
func (p *pass) turnedKeys(ctx context.Context) error {
	since := p.TurnedAt
	if since.IsZero() || since.After(p.Now) {
		since = p.Now
	}
	if _, err := p.everyKey(ctx, since.Add(-turnedOverlap), p.Now.Add(turnedOverlap), keyKinds()); err != nil {
		return err
	}
	if isDue(p.TurnedAt, p.Now, turnedNoted) { // the overlap spares a write at every pass
		return p.cfg.Store.NoteSweep(ctx, p.cfg.Owner, keyturn.AlertSweep{TurnedAt: p.Now})
	}
	return nil
}

// everyKey judges the keys that are in use since a time between from and to, page by page, and counts those
// that must have an alert: all, or only those that have one of the kinds.
func (p *pass) everyKey(ctx context.Context, from, to time.Time, alerted []keyturn.AlertKind) (facts int, err error) {
	for after := (keyturn.KeyCursor{Since: from.UTC()}); ; {
		keys, err := p.cfg.Store.OldKeys(ctx, to, after, alerted, keysPage)
		if err != nil || len(keys) == 0 {
			return facts, err
		}
		ps, err := p.read(ctx)
		if err != nil {
			return facts, err
		}
		n, err := p.judgeKeys(ctx, ps, keys)
		facts += n
		if err != nil || len(keys) < keysPage {
			return facts, err
		}
		last := keys[len(keys)-1]
		after = keyturn.KeyCursor{Since: last.Since, Unit: last.ID}
	}
}

// judgeKeys makes the alerts of units what their keys' ages ask for, and counts those that must have one.
func (p *pass) judgeKeys(ctx context.Context, ps *policies, keys []keyturn.KeyedUnit) (facts int, err error) {
	subjects := make([]string, len(keys))
	for i, k := range keys {
		subjects[i] = k.ID
	}
	list, err := p.cfg.Store.OpenAlertsOf(ctx, keyKinds(), subjects)
	if err != nil {
		return 0, err
	}
	open := make(map[string][]keyturn.OpenAlert, len(list))
	for _, a := range list {
		open[a.Fact.Subject] = append(open[a.Fact.Subject], a)
	}
	batch := &keyturn.AlertBatch{}
	for _, k := range keys {
		fact, holds := keyFact(ps, k, p.Now)
		if holds {
			facts++
		}
		compare(batch, fact, holds, open[k.ID])
	}
	return facts, p.save(ctx, batch)
}

// compare adds what makes the open alerts of one subject what its fact asks for.
func compare(batch *keyturn.AlertBatch, fact keyturn.AlertFact, holds bool, open []keyturn.OpenAlert) {
	known := false
	for _, a := range open {
		if !holds || a.Fact.Kind != fact.Kind || a.Fact.Policy != fact.Policy || a.Fact.Target != fact.Target {
			batch.Resolve = append(batch.Resolve, a)
			continue
		}
		known = true
		if a.Fact.Severity != fact.Severity || a.Fact.Message != fact.Message {
			batch.Update = append(batch.Update, a.Become(fact))
		}
		if a.GoneSince != nil {
			batch.Back = append(batch.Back, a.ID)
		}
	}
	if holds && !known {
		batch.Open = append(batch.Open, fact)
	}
}

func (p *pass) save(ctx context.Context, batch *keyturn.AlertBatch) error {
	if batch.Size() == 0 {
		return nil
	}
	return p.cfg.Store.SaveAlerts(ctx, p.cfg.Owner, batch)
}

// resolveBaseless ends alerts about keys that no policy calls old.
func (p *pass) resolveBaseless(ctx context.Context, kind keyturn.AlertKind, cutoffs map[string]time.Time) error {
	for after := ""; ; {
		baseless, next, err := p.cfg.Store.BaselessKeyAlerts(ctx, kind, cutoffs, after, keysPage)
		if err != nil {
			return err
		}
		if err := p.save(ctx, &keyturn.AlertBatch{Resolve: baseless}); err != nil || next == "" {
			return err
		}
		after = next
	}
}

// keyFact judges the age of one key. The message says nothing that changes from day to day.
func keyFact(ps *policies, k keyturn.KeyedUnit, now time.Time) (keyturn.AlertFact, bool) {
	l, ok := ps.limits(k.Unit)
	age := now.Sub(k.Since)
	if !ok || age < l.due {
		return keyturn.AlertFact{}, false
	}
	f := keyturn.AlertFact{
		Kind: keyturn.AlertKeyAge, Subject: k.ID, Severity: keyturn.SeverityWarning, Policy: l.policy, Target: k.Target,
		Project: k.ProjectID, Cluster: k.ClusterName,
	}
	passed := l.warn
	switch {
	case age >= l.critical:
		f.Severity, passed = keyturn.SeverityCritical, l.critical
	case age < l.warn:
		f.Kind, f.Severity = keyturn.AlertKeyDueSoon, keyturn.SeverityInfo
		f.Message = fmt.Sprintf("key of %s will be %s old on %s", unitName(k.Unit), days(l.warn), date(k.Since.Add(l.warn)))
		if !k.Exact {
			f.Message += fmt.Sprintf(", or earlier (first seen on %s)", date(k.Since))
		}
		return f, true
	}
	if k.Exact {
		f.Message = fmt.Sprintf("key of %s is more than %s old: in use since %s", unitName(k.Unit), days(passed), date(k.Since))
	} else {
		f.Message = fmt.Sprintf("key of %s is at least %s old (first seen on %s)", unitName(k.Unit), days(passed), date(k.Since))
	}
	if !k.Rotatable && k.Reason != "" {
		f.Message += "; it can't be rotated: " + k.Reason
	}
	return f, true
}

// unitName is a unit as people know it: cluster/replica set (project).
func unitName(u keyturn.Unit) string {
	name := u.ClusterName
	if name == "" {
		name = u.ClusterID
	}
	if u.Name != "" && u.Name != name {
		name += "/" + u.Name
	}
	project := u.ProjectName
	if project == "" {
		project = u.ProjectID
	}
	return name + " (project " + project + ")"
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func days(d time.Duration) string {
	if n := d / keyturn.Day; n > 1 && d%keyturn.Day == 0 {
		return fmt.Sprintf("%d days", n)
	}
	return keyturn.Duration(d).String()
}
