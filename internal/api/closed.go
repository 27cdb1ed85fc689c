package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/calendar"
	"github.com/keyturn/keyturn/internal/resource"
)

// maxClosedRange bounds what is asked for at once.
const maxClosedRange = 400 * keyturn.Day

type closedInput struct {
	From time.Time `query:"from" required:"true" doc:"RFC 3339."`
	To   time.Time `query:"to" required:"true" doc:"RFC 3339; at most 400 days after from."`
}

type closedOutput struct {
	Body ClosedBody
}

// ClosedBody says when policies let nothing work.
type ClosedBody struct {
	Items []calendar.Closed `json:"items" nullable:"false" doc:"By policy, in the order of time."`
	Notes []string          `json:"notes" nullable:"false" doc:"What is not known."`
}

func (s *server) registerClosed() {
	handle(s, operation{
		id: "closed-times", method: http.MethodGet, path: "/closed-times", role: keyturn.RoleViewer, tag: "policies",
		summary: "When blackouts and windows let no scheduled rotation work",
	}, s.closedTimes)
}

func (s *server) closedTimes(ctx context.Context, in *closedInput) (*closedOutput, error) {
	if !in.To.After(in.From) || in.To.Sub(in.From) > maxClosedRange {
		return nil, huma.Error422UnprocessableEntity("query.to: give a time after from, and at most 400 days later")
	}
	stored, err := s.Store.ResourcesOf(ctx, keyturn.KindPolicy)
	if err != nil {
		return nil, fmt.Errorf("listing policies: %w", err)
	}
	body := ClosedBody{Items: []calendar.Closed{}, Notes: []string{}}
	for _, r := range stored {
		policy, err := resource.PolicyOf(r)
		if err != nil {
			return nil, err
		}
		if len(policy.Schedule.Windows) == 0 && len(policy.Schedule.Blackouts) == 0 {
			continue
		}
		items, note, err := s.closedOf(ctx, policy, in.From, in.To)
		if err != nil {
			return nil, err
		}
		body.Items = append(body.Items, items...)
		if note != "" {
			body.Notes = append(body.Notes, note)
		}
	}
	return &closedOutput{Body: body}, nil
}

// closedOf returns the closed times of one policy, and what is not known of them.
func (s *server) closedOf(ctx context.Context, policy keyturn.Policy, from, to time.Time) (items []calendar.Closed, note string, err error) {
	table, err := s.schedules.Timetable(policy.Schedule)
	if err != nil {
		return nil, fmt.Sprintf("policy %s does not fire: %v", policy.Name, err), nil
	}
	unwindowed := policy.Schedule
	unwindowed.Windows = nil
	blackouts, err := s.schedules.Timetable(unwindowed)
	if err != nil {
		return nil, "", fmt.Errorf("reading the blackouts of policy %s: %w", policy.Name, err)
	}
	items, complete, err := calendar.ClosedTimes(ctx, table, blackouts, from, to)
	if err != nil {
		return nil, "", err
	}
	for i := range items {
		items[i].Policy = policy.Name
	}
	if !complete {
		note = fmt.Sprintf("policy %s opens and closes too often to list all of it", policy.Name)
	}
	return items, note, nil
}
