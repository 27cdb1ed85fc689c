// Package alerts finds out what a person must know, and tells it once, at the right time.
//
// Each kind of alert is a fact that the database can be asked for. A pass compares the facts that hold
// now with the open alerts, writes down the differences, and then tells of the groups whose alerts
// changed. One process does so at a time; what it has told, and what is still to be told, are rows, so
// that the next one goes on where it died. It imports no adapter.
package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	passEvery = 2 * time.Second
	passMost  = 10 * time.Minute // a pass may take, while it renews its lease with each change
	lease     = 30 * time.Second
	// factsEvery is how often everything but the ages of keys is looked at, keysEvery the latter. A look
	// over the keys takes at most one part in sweepShare of the time, however many are old.
	factsEvery = 10 * time.Second
	keysEvery  = 10 * time.Second
	sweepShare = 20
	// turnedOverlap is how far a pass looks back for keys that were turned: a commit may come later than its time.
	turnedOverlap = 15 * time.Second
	// fullEvery is how often all old keys are looked at, though no policy changed. In between only those
	// are that have just reached an age that matters, with an overlap because clocks and commits are not exact.
	fullEvery   = time.Hour
	ageOverlap  = 5 * time.Minute
	turnedNoted = 5 * time.Second

	keysPage   = 5000  // keys in one query, and changes in one transaction
	factsMost  = 10000 // facts of one kind that have an alert each; more are not looked at
	groupsMost = 200   // groups that are told of in one pass

	// goneFor is how long the fact of a kind that comes and goes must be gone until its alert is resolved.
	goneFor = time.Minute
	// What must last for so long counts as a fact.
	troubleGrace = time.Minute
	troubleWorse = 15 * time.Minute // then it is critical
	missedGrace  = 2 * time.Minute
	stuckGrace   = 30 * time.Minute
	webhookGrace = 15 * time.Minute
	driftShown   = 24 * time.Hour // how long drift stays an alert

	pruneEvery = 10 * time.Minute
	pruneMost  = 1000
	// alertsKept is how long an alert that is over can be looked at, noticesKept what somebody was told.
	alertsKept  = 400 * keyturn.Day
	noticesKept = 90 * keyturn.Day
)

// Store is what the evaluation needs of the database. Every change is fenced: it is refused with
// ErrConflict when owner's leave has ended.
type Store interface {
	// ClaimSweep makes owner the one that evaluates alerts, for the lease; it answers ErrNotFound while
	// somebody else does.
	ClaimSweep(ctx context.Context, owner string, lease time.Duration) (keyturn.AlertSweep, error)
	// NoteSweep notes how far owner got; zero times stay what they were.
	NoteSweep(ctx context.Context, owner string, done keyturn.AlertSweep) error
	// SweepPolicies returns the policies of targets that have units, with defaults.
	SweepPolicies(ctx context.Context) ([]keyturn.Policy, error)
	ResourcesOf(ctx context.Context, kind keyturn.ResourceKind) ([]keyturn.Resource, error)

	// OldKeys returns keys that are in use since before or longer, behind the cursor, the oldest first: all, or
	// those whose unit has an open alert of one of the kinds.
	OldKeys(ctx context.Context, before time.Time, after keyturn.KeyCursor, alerted []keyturn.AlertKind, limit int) ([]keyturn.KeyedUnit, error)
	// BaselessKeyAlerts looks at open alerts of a kind by subject behind after, limit at most, and returns
	// those whose key is younger than the cutoff of its target, or unknown, with the next after; "" at the end.
	BaselessKeyAlerts(ctx context.Context, kind keyturn.AlertKind, cutoffs map[string]time.Time, after string, limit int) (
		baseless []keyturn.OpenAlert, next string, err error)
	// Evidence returns what holds of a kind: see keyturn.AlertEvidence.
	Evidence(ctx context.Context, kind keyturn.AlertKind, at time.Time, limit int) ([]keyturn.AlertEvidence, error)
	// MissedPolicies, StuckRotations and PastDeadlines tell what should have happened and did not.
	MissedPolicies(ctx context.Context, grace time.Duration) ([]keyturn.MissedPolicy, error)
	StuckRotations(ctx context.Context, after time.Duration) ([]keyturn.StuckRotation, error)
	PastDeadlines(ctx context.Context) ([]keyturn.PastDeadline, error)
	// UnitsOf returns the units of a target behind after, by id; CountUnits counts them.
	UnitsOf(ctx context.Context, target, after string, limit int) ([]keyturn.Unit, error)
	CountUnits(ctx context.Context, target string) (int, error)

	OpenAlertsOf(ctx context.Context, kinds []keyturn.AlertKind, subjects []string) ([]keyturn.OpenAlert, error)
	// OpenAlerts returns the open alerts of a kind behind after, by subject.
	OpenAlerts(ctx context.Context, kind keyturn.AlertKind, after string, limit int) ([]keyturn.OpenAlert, error)
	// LapsedAcks returns alerts whose acknowledgement has ended.
	LapsedAcks(ctx context.Context, now time.Time, limit int) ([]keyturn.OpenAlert, error)
	OpenAlertCounts(ctx context.Context) ([]keyturn.AlertCount, error)
	// SaveAlerts makes changes in one transaction. What somebody else has changed since it was read stays.
	SaveAlerts(ctx context.Context, owner string, batch *keyturn.AlertBatch) error

	// DueGroups returns groups of which somebody may have to be told.
	DueGroups(ctx context.Context, now time.Time, limit int) ([]keyturn.AlertGroupState, error)
	SummarizeGroup(ctx context.Context, g keyturn.AlertGroup) (keyturn.AlertGroupSummary, error)
	// FiringAlerts returns a group's alerts that fire behind after, the worst and oldest first.
	FiringAlerts(ctx context.Context, g keyturn.AlertGroup, after *keyturn.Alert, limit int) ([]keyturn.Alert, error)
	MarkSilenced(ctx context.Context, ids []keyturn.ID, silenced bool) error
	// SaveNotice writes down what came of looking at a group, with an announcement of its notice, in one
	// transaction. When the group's alerts have changed meanwhile it changes nothing.
	SaveNotice(ctx context.Context, owner string, w keyturn.NoticeWrite) error

	// PruneAlerts removes up to limit alerts that were resolved longer than age ago, with their history. It
	// and PruneNotices may be called by anybody.
	PruneAlerts(ctx context.Context, age time.Duration, limit int) (int, error)
	// PruneNotices looks at the limit oldest notices, and removes those written longer than age ago and told.
	PruneNotices(ctx context.Context, age time.Duration, limit int) (int, error)
}

// Raiser takes alerts from those who know of their facts themselves, such as a hook.
type Raiser interface {
	// RaiseAlert begins the alert of a fact, or brings the open one of its kind and subject up to date:
	// one that got worse fires again. The same fact again changes nothing.
	RaiseAlert(ctx context.Context, fact keyturn.AlertFact) error
	// ResolveAlert ends the open alert of the kind and subject, if there is one.
	ResolveAlert(ctx context.Context, kind keyturn.AlertKind, subject string) error
}

// Source finds facts that are not the evaluation's own, at every look at the facts.
type Source struct {
	Kinds []keyturn.AlertKind
	// Facts returns the facts of the kinds that hold at now, 10,000 at most, each with another kind and
	// subject. What it does not return holds no more, unless it is an error.
	Facts func(ctx context.Context, now time.Time) ([]keyturn.AlertFact, error)
}

// Config is what an Evaluator is made of.
type Config struct {
	Owner   string // names this process; unique among replicas
	Store   Store
	Sources []Source
	Logger  *zap.Logger
	Metrics *Metrics
}

// Evaluator evaluates alerts.
type Evaluator struct {
	cfg      Config
	keysTook time.Duration // of the last sweep
	seen     [32]byte      // the policies at the last look at all old keys
	fullAt   time.Time     // when that was, by the database's clock
	prunedAt time.Time     // when nothing was left to be removed, by the database's clock
	leads    bool          // it evaluated last time
}

// New returns an evaluator. It starts nothing.
func New(cfg Config) *Evaluator {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Evaluator{cfg: cfg}
}

// Run evaluates until ctx ends. What does not succeed is tried again.
func (e *Evaluator) Run(ctx context.Context) {
	ticker := time.NewTicker(passEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := e.Pass(ctx); err != nil && ctx.Err() == nil {
			e.cfg.Logger.Warn("evaluating alerts; tried again", zap.Error(err))
		}
	}
}

// pass is one look at the facts, with what it needs to know more than once.
type pass struct {
	*Evaluator
	keyturn.AlertSweep
	policies *policies // nil: not read yet
}

// Pass looks once at what is due, unless another process does.
func (e *Evaluator) Pass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, passMost)
	defer cancel()
	sweep, err := e.cfg.Store.ClaimSweep(ctx, e.cfg.Owner, lease)
	if errors.Is(err, keyturn.ErrNotFound) {
		if e.leads {
			e.leads = false
			e.cfg.Metrics.retire()
		}
		return nil
	}
	if err != nil {
		return err
	}
	e.leads = true
	p := &pass{Evaluator: e, AlertSweep: sweep}
	var errs []error
	errs = append(errs, p.timed(ctx, "turned", p.turnedKeys), p.lapsedAcks(ctx))
	if isDue(sweep.FactsAt, sweep.Now, factsEvery) {
		errs = append(errs, p.timed(ctx, "facts", p.facts))
	}
	if isDue(sweep.KeysAt, sweep.Now, max(keysEvery, sweepShare*e.keysTook)) {
		begin := time.Now()
		errs = append(errs, p.timed(ctx, "keys", p.oldKeys))
		e.keysTook = time.Since(begin)
	}
	errs = append(errs, p.timed(ctx, "notices", p.tell))
	if isDue(e.prunedAt, sweep.Now, pruneEvery) {
		errs = append(errs, p.prune(ctx))
	}
	return errors.Join(errs...)
}

// isDue is also true after the clock was set back.
func isDue(last, now time.Time, every time.Duration) bool {
	return last.After(now) || now.Sub(last) >= every
}

func (p *pass) timed(ctx context.Context, part string, do func(context.Context) error) error {
	begin := time.Now()
	err := do(ctx)
	if err == nil {
		p.cfg.Metrics.observe(part, time.Since(begin), p.Now)
	}
	return err
}

func (p *pass) read(ctx context.Context) (*policies, error) {
	if p.policies == nil {
		list, err := p.cfg.Store.SweepPolicies(ctx)
		if err != nil {
			return nil, err
		}
		p.policies = newPolicies(list)
	}
	return p.policies, nil
}

// lapsedAcks makes alerts fire again whose acknowledgement has ended.
func (p *pass) lapsedAcks(ctx context.Context) error {
	for {
		lapsed, err := p.cfg.Store.LapsedAcks(ctx, p.Now, keysPage)
		if err != nil || len(lapsed) == 0 {
			return err
		}
		batch := &keyturn.AlertBatch{}
		for _, a := range lapsed {
			batch.Update = append(batch.Update, keyturn.AlertUpdate{
				ID: a.ID, Version: a.Version, Group: a.Fact.Group(), State: keyturn.AlertFiring, Severity: a.Fact.Severity,
				Message: a.Fact.Message, Noted: true, Urgent: true,
			})
		}
		if err := p.cfg.Store.SaveAlerts(ctx, p.cfg.Owner, batch); err != nil || len(lapsed) < keysPage {
			return err
		}
	}
}

// silences returns the silences that hold now.
func (p *pass) silences(ctx context.Context) ([]keyturn.Silence, error) {
	stored, err := p.cfg.Store.ResourcesOf(ctx, keyturn.KindSilence)
	if err != nil {
		return nil, fmt.Errorf("reading silences: %w", err)
	}
	var active []keyturn.Silence
	for _, r := range stored {
		s := keyturn.Silence{Name: r.Name}
		if err := json.Unmarshal(r.Spec, &s); err != nil {
			return nil, fmt.Errorf("reading silence %s: %w", r.Name, err)
		}
		if s.Active(p.Now) {
			active = append(active, s)
		}
	}
	return active, nil
}

// prune removes some of what is long over. The next pass goes on where more is left.
func (p *pass) prune(ctx context.Context) error {
	over, err := p.cfg.Store.PruneAlerts(ctx, alertsKept, pruneMost)
	if err != nil {
		return err
	}
	told, err := p.cfg.Store.PruneNotices(ctx, noticesKept, pruneMost)
	if err == nil && over < pruneMost && told < pruneMost {
		p.prunedAt = p.Now
	}
	return err
}
