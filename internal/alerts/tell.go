package alerts

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keyturn/keyturn"
)

// How long somebody who was told of a group is spared the news that it has grown.
const (
	growsFast   = 5 * time.Minute
	growsSlowly = time.Hour // what is measured in days
	silenceLook = time.Minute
)

// growth is how long after a notice of a group there is none because it grew.
func growth(kind keyturn.AlertKind) time.Duration {
	switch kind {
	case keyturn.AlertKeyAge, keyturn.AlertKeyDueSoon, keyturn.AlertKeyDrift, keyturn.AlertKeyOrphan:
		return growsSlowly
	default:
		return growsFast
	}
}

// tell looks at the groups whose alerts changed, and at those of which somebody is to be reminded.
func (p *pass) tell(ctx context.Context) error {
	sweep, err := p.cfg.Store.ClaimSweep(ctx, p.cfg.Owner, lease) // the time has gone on
	if err != nil {
		return err
	}
	p.Now = sweep.Now
	groups, err := p.cfg.Store.DueGroups(ctx, p.Now, groupsMost)
	if err != nil || len(groups) == 0 {
		return err
	}
	silences, err := p.silences(ctx)
	if err != nil {
		return err
	}
	ps, err := p.read(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range groups {
		if err := p.tellGroup(ctx, ps, silences, g); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *pass) tellGroup(ctx context.Context, ps *policies, silences []keyturn.Silence, g keyturn.AlertGroupState) error {
	sum, err := p.cfg.Store.SummarizeGroup(ctx, g.Group)
	if err != nil {
		return err
	}
	w := keyturn.NoticeWrite{Seen: g}
	var h heard
	if sum.Firing > 0 {
		if h, err = p.heard(ctx, silences, g.Group, sum); err != nil {
			return err
		}
		sum, w.DueAt = h.AlertGroupSummary, h.lookAt
		w.Seen.Urgent = g.Urgent || len(h.loudAgain) > 0
	}
	switch {
	case sum.Open == 0 && w.DueAt == nil:
		if g.ToldState == keyturn.AlertFiring {
			w.Notice = p.over(ps, g)
		}
		w.Seen.Urgent = false
	case sum.Firing > 0:
		repeat := ps.by[g.Group.PolicyName()].Alerts.RepeatOf(sum.Worst)
		news, next := isNews(w.Seen, sum, repeat, p.Now)
		w.DueAt = earlier(w.DueAt, next)
		if news {
			if w.Notice, err = p.fires(ctx, ps, g, sum, h.worst); err != nil {
				return err
			}
		}
	}
	if err := p.cfg.Store.SaveNotice(ctx, p.cfg.Owner, w); err != nil {
		return err
	}
	if w.Notice != nil {
		p.cfg.Metrics.told(g.Group.Kind, w.Notice.State)
	}
	return p.cfg.Store.MarkSilenced(ctx, h.loudAgain, false) // not before it is told
}

// isNews decides whether somebody is told now that a group fires, and when to look again.
func isNews(g keyturn.AlertGroupState, sum keyturn.AlertGroupSummary, repeat time.Duration, now time.Time) (bool, *time.Time) {
	remind := func(at time.Time) *time.Time {
		if repeat == 0 {
			return nil
		}
		next := at.Add(repeat)
		return &next
	}
	begun, worse := g.ToldState != keyturn.AlertFiring, sum.Worst.Rank() > g.ToldSeverity.Rank()
	if begun || worse || g.Urgent {
		return true, remind(now)
	}
	if next := remind(g.ToldAt); next != nil && !now.Before(*next) {
		return true, remind(now)
	}
	grown := g.Touched && !sum.Newest.Before(g.ToldAt)
	if !grown {
		return false, remind(g.ToldAt)
	}
	next := g.ToldAt.Add(growth(g.Group.Kind))
	if !now.Before(next) {
		return true, remind(now)
	}
	return false, earlier(&next, remind(g.ToldAt))
}

func earlier(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

// heard is what is left of a group when what is silenced is left out.
type heard struct {
	keyturn.AlertGroupSummary
	worst     []keyturn.Alert
	loudAgain []keyturn.ID // they were silenced, and are not any more
	lookAt    *time.Time   // when to look again, because a silence may have ended
}

// heard leaves out what is silenced.
func (p *pass) heard(ctx context.Context, silences []keyturn.Silence, g keyturn.AlertGroup, sum keyturn.AlertGroupSummary) (heard, error) {
	h := heard{AlertGroupSummary: sum}
	var some []keyturn.Silence
	look := p.Now.Add(silenceLook) // a silence can be removed before its end
	for _, s := range silences {
		matches, all := s.MatchGroup(g)
		if !matches {
			continue
		}
		h.lookAt = earlier(earlier(&look, &s.EndsAt), h.lookAt)
		if all {
			h.AlertGroupSummary = keyturn.AlertGroupSummary{}
			return h, nil
		}
		some = append(some, s)
	}
	if len(some) > 0 || sum.Silenced > 0 {
		err := p.leaveOut(ctx, some, g, &h)
		return h, err
	}
	var err error
	h.worst, err = p.cfg.Store.FiringAlerts(ctx, g, nil, keyturn.NoticeAlerts)
	return h, err
}

// leaveOut goes through all alerts of a group that fire, and keeps those that are not silenced.
func (p *pass) leaveOut(ctx context.Context, silences []keyturn.Silence, g keyturn.AlertGroup, h *heard) error {
	h.Firing, h.Worst, h.Newest = 0, "", time.Time{}
	for after := (*keyturn.Alert)(nil); ; {
		page, err := p.cfg.Store.FiringAlerts(ctx, g, after, keysPage)
		if err != nil {
			return err
		}
		var silent []keyturn.ID
		for _, a := range page {
			if silenced(silences, a) {
				silent = append(silent, a.ID)
				h.leave(a)
			} else {
				h.keep(a)
			}
		}
		if err := p.cfg.Store.MarkSilenced(ctx, silent, true); err != nil || len(page) < keysPage {
			return err
		}
		after = &page[len(page)-1]
	}
}

func (h *heard) leave(a keyturn.Alert) {
	h.Open--
	switch a.Severity {
	case keyturn.SeverityCritical:
		h.Critical--
	case keyturn.SeverityWarning:
		h.Warning--
	case keyturn.SeverityInfo:
	}
}

func (h *heard) keep(a keyturn.Alert) {
	h.Firing++
	if a.Severity.Rank() > h.Worst.Rank() {
		h.Worst = a.Severity
	}
	if a.Since.After(h.Newest) {
		h.Newest = a.Since
	}
	if a.Silenced {
		h.loudAgain = append(h.loudAgain, a.ID)
		a.Silenced = false
	}
	if len(h.worst) < keyturn.NoticeAlerts {
		h.worst = append(h.worst, a)
	}
}

func silenced(silences []keyturn.Silence, a keyturn.Alert) bool {
	f := keyturn.AlertFact{Kind: a.Kind, Subject: a.Subject, Policy: a.Policy, Target: a.Target, Cluster: a.Cluster}
	for _, s := range silences {
		if s.Matches(f) {
			return true
		}
	}
	return false
}

// fires is the notice that a group fires.
func (p *pass) fires(
	ctx context.Context, ps *policies, g keyturn.AlertGroupState, sum keyturn.AlertGroupSummary, worst []keyturn.Alert,
) (*keyturn.Notice, error) {
	n := notice(g, keyturn.AlertFiring, p.Now)
	n.Severity, n.Since, n.Count, n.Alerts = sum.Worst, sum.Oldest, sum.Open, worst
	for i := range n.Alerts {
		n.Alerts[i].LastNotifiedAt = &p.Now
	}
	if sum.Open == 1 && len(worst) == 1 {
		n.Message = worst[0].Message
		return n, nil
	}
	var err error
	n.Message, err = p.words(ctx, ps, g.Group, sum)
	return n, err
}

// over is the notice that none of a group's alerts is left.
func (p *pass) over(ps *policies, g keyturn.AlertGroupState) *keyturn.Notice {
	n := notice(g, keyturn.AlertResolved, p.Now)
	n.Severity, n.Since = g.ToldSeverity, g.ToldSince
	n.Message = "resolved: " + overWords(ps, g.Group)
	return n
}

func notice(g keyturn.AlertGroupState, state keyturn.AlertState, now time.Time) *keyturn.Notice {
	return &keyturn.Notice{
		Group: g.Group.String(), Kind: g.Group.Kind, State: state, Policy: g.Group.PolicyName(), Target: g.Group.Target, At: now, Alerts: []keyturn.Alert{},
	}
}

// words says what is wrong with several subjects at once.
func (p *pass) words(ctx context.Context, ps *policies, g keyturn.AlertGroup, sum keyturn.AlertGroupSummary) (string, error) {
	n := thousands(sum.Open)
	in := ""
	if sum.Clusters > 0 {
		in = " in " + count(sum.Clusters, "cluster", "clusters")
	}
	pol, known := ps.by[g.PolicyName()]
	switch g.Kind {
	case keyturn.AlertKeyAge, keyturn.AlertKeyDueSoon:
		of := n + " keys"
		if known {
			total, err := p.selected(ctx, pol)
			if err != nil {
				return "", err
			}
			of = fmt.Sprintf("%s of %s keys", n, thousands(total))
		}
		if g.Kind == keyturn.AlertKeyDueSoon {
			return fmt.Sprintf("%s%s will be past %s soon", of, in, pol.Alerts.WarnAfter), nil
		}
		text := fmt.Sprintf("%s%s are past %s", of, in, pol.Alerts.WarnAfter)
		if sum.Critical > 0 {
			text += fmt.Sprintf(", %s of them past %s", thousands(sum.Critical), pol.Alerts.CriticalAfter)
		}
		return text, nil
	case keyturn.AlertKeyDrift:
		return fmt.Sprintf("%s keys%s were turned by somebody else", n, in), nil
	case keyturn.AlertKeyMissing:
		return fmt.Sprintf("%s keys of target %s are gone from its KMIP server", n, g.Target), nil
	case keyturn.AlertKeyDeactivated:
		return fmt.Sprintf("%s keys of target %s are not active any more at its KMIP server", n, g.Target), nil
	case keyturn.AlertKeyOrphan:
		return fmt.Sprintf("%s keys at the KMIP server of target %s are in no history", n, g.Target), nil
	case keyturn.AlertTaskParked:
		return fmt.Sprintf("%s tasks%s of policy %s are parked: a person must decide", n, in, g.Name), nil
	case keyturn.AlertPolicyMissed:
		return fmt.Sprintf("%s policies of target %s missed a slot: no scheduler made their rotations", n, g.Target), nil
	case keyturn.AlertRotationStuck:
		return fmt.Sprintf("%s rotations of policy %s make no progress", n, g.Name), nil
	case keyturn.AlertExternal:
		return fmt.Sprintf("%s alerts of hook %s", n, g.Name), nil
	default:
		return fmt.Sprintf("%s alerts %s", n, g), nil
	}
}

func overWords(ps *policies, g keyturn.AlertGroup) string {
	warn := ps.by[g.PolicyName()].Alerts.WarnAfter
	switch g.Kind {
	case keyturn.AlertKeyAge:
		return fmt.Sprintf("no key of policy %s on target %s is past %s any more", g.Name, g.Target, warn)
	case keyturn.AlertKeyDueSoon:
		return fmt.Sprintf("no key of policy %s on target %s is about to be past %s any more", g.Name, g.Target, warn)
	case keyturn.AlertKeyDrift:
		return fmt.Sprintf("nobody else turned a key of policy %s on target %s within the last day", g.Name, g.Target)
	case keyturn.AlertKeyMissing:
		return fmt.Sprintf("every key of target %s is at its KMIP server again", g.Target)
	case keyturn.AlertKeyDeactivated:
		return fmt.Sprintf("every key of target %s that is needed is active again", g.Target)
	case keyturn.AlertKeyOrphan:
		return fmt.Sprintf("no key at the KMIP server of target %s is in no history any more", g.Target)
	case keyturn.AlertTaskParked:
		return fmt.Sprintf("no task of policy %s is parked any more", g.Name)
	case keyturn.AlertRotationFailed, keyturn.AlertRotationPartial:
		return fmt.Sprintf("nothing is missing any more of the rotation of policy %s", g.Name)
	case keyturn.AlertRotationStuck:
		return fmt.Sprintf("rotations of policy %s go on", g.Name)
	case keyturn.AlertPolicyMissed:
		return fmt.Sprintf("no policy of target %s waits for its slot any more", g.Target)
	case keyturn.AlertTargetUnreachable:
		return fmt.Sprintf("target %s answers again", g.Target)
	case keyturn.AlertCredentialsRejected:
		return fmt.Sprintf("target %s takes the API key again", g.Target)
	case keyturn.AlertWebhookFailing:
		return fmt.Sprintf("webhook %s does not fail any more", g.Name)
	case keyturn.AlertExternal:
		return fmt.Sprintf("no alert of hook %s is open any more", g.Name)
	default:
		return g.String()
	}
}

// selected counts the units that a policy selects. That takes a look at all of its target's, unless it
// selects them all; it is done for a notice only.
func (p *pass) selected(ctx context.Context, pol keyturn.Policy) (int, error) {
	if selectsAll(pol.Select) {
		return p.cfg.Store.CountUnits(ctx, pol.Target)
	}
	n := 0
	for after := ""; ; {
		units, err := p.cfg.Store.UnitsOf(ctx, pol.Target, after, keysPage)
		if err != nil {
			return 0, err
		}
		for _, u := range units {
			if pol.Select.Match(u) {
				n++
			}
		}
		if len(units) < keysPage {
			return n, nil
		}
		after = units[len(units)-1].ID
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands writes 4000 as 4,000.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
