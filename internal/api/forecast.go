package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/calendar"
	"github.com/keyturn/keyturn/internal/resource"
)

const (
	defaultMonths = 12
	// maxMatches bounds how many times a unit is compared with a policy.
	maxMatches = 5_000_000
	// maxForecastUnits bounds the units that a forecast holds in memory.
	maxForecastUnits = 200_000
)

type forecastInput struct {
	Policy string `query:"policy" maxLength:"100" doc:"Only this policy's rotations; empty: all."`
	Months int    `query:"months" minimum:"1" maximum:"120" default:"12" doc:"How far ahead."`
}

type forecastOutput struct {
	Body calendar.Forecast
}

func (s *server) registerForecast() {
	handle(s, operation{
		id: "forecast", method: http.MethodGet, path: "/forecast", role: keyturn.RoleViewer, tag: "policies",
		summary: "Which rotations come, and on which days keys get too old", timeout: 2 * time.Minute,
	}, s.forecast)
}

func (s *server) forecast(ctx context.Context, in *forecastInput) (*forecastOutput, error) {
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the database for the time: %w", err)
	}
	subjects, notes, err := s.subjects(ctx, in.Policy, now)
	if err != nil {
		return nil, err
	}
	if in.Months == 0 {
		in.Months = defaultMonths
	}
	f, err := calendar.Make(ctx, subjects, now, now.AddDate(0, in.Months, 0))
	if errors.Is(err, calendar.ErrTooMuch) {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	f.Notes = append(f.Notes, notes...)
	return &forecastOutput{Body: f}, err
}

// subjects reads the policies that turn keys of the same targets: another one's
// rotations keep a key young too.
func (s *server) subjects(ctx context.Context, only string, now time.Time) (subjects []calendar.Subject, notes []string, err error) {
	target := ""
	if only != "" {
		policy, _, err := s.timetable(ctx, only)
		if err != nil {
			return nil, nil, err
		}
		target = policy.Target
	}
	stored, err := s.Store.ResourcesOf(ctx, keyturn.KindPolicy)
	if err != nil {
		return nil, nil, fmt.Errorf("listing policies: %w", err)
	}
	units := make(map[string][]keyturn.Unit)
	matches := 0
	for _, r := range stored {
		policy, err := resource.PolicyOf(r)
		if err != nil {
			return nil, nil, err
		}
		if target != "" && policy.Target != target {
			continue
		}
		if _, known := units[policy.Target]; !known {
			if units[policy.Target], err = s.unitsOf(ctx, policy.Target); err != nil {
				return nil, nil, err
			}
		}
		if matches += len(units[policy.Target]); matches > maxMatches {
			return nil, nil, huma.Error422UnprocessableEntity(calendar.ErrTooMuch.Error())
		}
		subject, note := s.subject(r, policy, units[policy.Target], now)
		if note != "" {
			notes = append(notes, note)
		}
		subject.Quiet = only != "" && policy.Name != only
		subjects = append(subjects, subject)
	}
	return subjects, notes, nil
}

// subject is a policy with its units. One whose schedule can't be read does not fire.
func (s *server) subject(r keyturn.Resource, policy keyturn.Policy, units []keyturn.Unit, now time.Time) (subject calendar.Subject, note string) {
	subject = calendar.Subject{Policy: policy}
	for i := range units {
		if policy.Select.Match(units[i]) {
			subject.Units = append(subject.Units, units[i])
		}
	}
	table, err := s.schedules.Timetable(policy.Schedule)
	if err != nil {
		return subject, fmt.Sprintf("policy %s does not fire: %v", policy.Name, err)
	}
	subject.Table = table
	if first, ok := upcoming(table, policyNow{Policy: policy, nextAt: r.Status.NextAt}, now); ok {
		subject.First = &first
	}
	if policy.Paused {
		note = fmt.Sprintf("policy %s is paused: the forecast counts none of its rotations", policy.Name)
	}
	return subject, note
}

func (s *server) unitsOf(ctx context.Context, target string) ([]keyturn.Unit, error) {
	units := []keyturn.Unit{}
	page := keyturn.Page{Limit: 1000}
	for {
		some, next, err := s.Store.Units(ctx, keyturn.UnitFilter{Target: target, Page: page})
		if err != nil {
			return nil, fmt.Errorf("units of target %s: %w", target, err)
		}
		units = append(units, some...)
		if next == "" {
			return units, nil
		}
		if len(units) > maxForecastUnits {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("target %s has more than %d units: too many to forecast", target, maxForecastUnits))
		}
		page.After = next
	}
}
