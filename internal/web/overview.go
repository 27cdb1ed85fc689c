package web

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	// overviewLife is how long a sum of everything is shown to others, too: however many people keep the
	// page open, the database sums up once in so long.
	overviewLife = 2 * time.Second
	// overviewTimeout bounds the sum, and checkTimeout what is asked of other servers.
	overviewTimeout = 10 * time.Second
	checkTimeout    = time.Second
)

// overviewPage is what the overview shows.
type overviewPage struct {
	keyturn.Overview
	Verdict   chip
	Sentence  string // what is wrong, or that nothing is
	OldestAge time.Duration
	OldestBad string // the tone of the oldest key
	Warn      int    // keys past the first age
	Old       int    // those of them past the second
	Units     int
	Unknown   int
	Fixed     int
	Checks    []checked
	Last      []rotationRow
	Alerts    []keyturn.Alert
	Firing    int
}

// checked is a Check and how it went.
type checked struct {
	Name, Error, Advice string
}

func (s *Site) overview(ctx context.Context, v *visit) (*view, error) {
	checks := s.check(ctx)
	sums, err := s.overviews.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("summing up: %w", err)
	}
	rotations, err := list[keyturn.Rotation](ctx, v, "/rotations?limit=5")
	if err != nil {
		return nil, err
	}
	alerts, err := list[keyturn.Alert](ctx, v, "/alerts?state=firing&limit=100")
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(alerts.Items, func(a, b keyturn.Alert) int { return severityRank(b.Severity) - severityRank(a.Severity) })
	alerts.Items = alerts.Items[:min(len(alerts.Items), 6)]
	page := overviewPage{Overview: sums, Checks: checks, Alerts: alerts.Items, Firing: sums.Critical + sums.Warning + sums.Info}
	for _, r := range rotations.Items {
		page.Last = append(page.Last, rowOf(r, sums.At))
	}
	for _, t := range sums.Targets {
		page.Units += t.Units
		page.Unknown += t.Unknown
		page.Fixed += t.Fixed
		page.Warn += t.Warn
		page.Old += t.Critical
	}
	if sums.Oldest != nil && sums.Oldest.KeySince != nil {
		page.OldestAge = sums.At.Sub(*sums.Oldest.KeySince)
		page.OldestBad = ageTone(page.OldestAge)
	}
	page.judge()
	return &view{Title: "Overview", Nav: "overview", Template: "overview", Data: page}, nil
}

func severityRank(s keyturn.Severity) int {
	return map[keyturn.Severity]int{keyturn.SeverityInfo: 1, keyturn.SeverityWarning: 2, keyturn.SeverityCritical: 3}[s]
}

// ageTone is the tone of a key's age.
func ageTone(age time.Duration) string {
	switch {
	case age >= keyturn.KeyCriticalAge:
		return toneBad
	case age >= keyturn.KeyWarnAge:
		return toneWarn
	default:
		return toneOK
	}
}

// judge says in a few words whether everything is all right.
func (p *overviewPage) judge() {
	bad, warn := p.troubles()
	switch {
	case len(bad) > 0:
		p.Verdict, p.Sentence = chip{Tone: toneBad, Icon: "bad", Text: "Look at this now"}, sentence(joined(append(bad, warn...)))
	case len(warn) > 0:
		p.Verdict, p.Sentence = chip{Tone: toneWarn, Icon: "warn", Text: "Look at this soon"}, sentence(joined(warn))
	case p.Units == 0:
		p.Verdict = chip{Tone: toneNeutral, Icon: "clock", Text: "Nothing to look after yet"}
		p.Sentence = "Apply a target and a policy: units are found by the first rotation, plan or look at the keys."
	default:
		p.Verdict, p.Sentence = chip{Tone: toneOK, Icon: "check", Text: "Everything is all right"}, "No alert fires, no key is past its age, and everything that is needed answers."
	}
}

func (p *overviewPage) troubles() (bad, warn []string) {
	for _, c := range p.Checks {
		if c.Error != "" {
			bad = append(bad, c.Name+" does not work")
		}
	}
	for _, t := range p.Targets {
		switch t.Trouble {
		case "rejected":
			bad = append(bad, "target "+t.Name+" refuses its credentials")
		case "unreachable":
			bad = append(bad, "target "+t.Name+" does not answer")
		}
	}
	if p.Critical > 0 {
		bad = append(bad, plural(p.Critical, "critical alert fires", "critical alerts fire"))
	}
	if p.Old > 0 {
		bad = append(bad, plural(p.Old, "key is", "keys are")+" older than 365 days")
	}
	if p.Parked > 0 {
		warn = append(warn, plural(p.Parked, "parked task waits", "parked tasks wait")+" for a person")
	}
	if p.Warning > 0 {
		warn = append(warn, plural(p.Warning, "warning fires", "warnings fire"))
	}
	if n := p.Warn - p.Old; n > 0 {
		warn = append(warn, plural(n, "key is", "keys are")+" older than 90 days, not than 365")
	}
	return bad, warn
}

func joined(parts []string) string {
	text := ""
	for i, p := range parts {
		switch {
		case i == 0:
		case i == len(parts)-1:
			text += " and "
		default:
			text += ", "
		}
		text += p
	}
	return text
}

// check runs all checks at once.
func (s *Site) check(ctx context.Context) []checked {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	out := make([]checked, len(s.Ready))
	var wg sync.WaitGroup
	for i, c := range s.Ready {
		wg.Go(func() {
			out[i] = checked{Name: c.Name, Advice: c.Advice}
			if err := c.Run(ctx); err != nil {
				out[i].Error = err.Error()
			}
		})
	}
	wg.Wait()
	return out
}
