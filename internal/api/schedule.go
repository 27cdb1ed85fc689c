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
	"github.com/keyturn/keyturn/scheduler"
)

const defaultSlots = 10

type scheduleInput struct {
	Name string `path:"name" maxLength:"100" doc:"The policy's name."`
	Next int    `query:"next" minimum:"1" maximum:"10000" default:"10" doc:"How many slots to list at most."`
	From string `query:"from" maxLength:"60" doc:"List slots from this instant on (RFC 3339), or from this day of the policy's time zone on; empty: what comes next."`
}

// ScheduleBody are a policy's slots.
type ScheduleBody struct {
	Policy string          `json:"policy"`
	Paused bool            `json:"paused" doc:"Slots of a paused policy do not fire."`
	Items  []calendar.Slot `json:"items" nullable:"false"`
}

type scheduleOutput struct {
	Body ScheduleBody
}

func (s *server) registerSchedule() {
	handle(s, operation{
		id: "policy-schedule", method: http.MethodGet, path: "/policies/{name}/schedule", role: keyturn.RoleViewer, tag: "policies",
		summary: "When a policy's slots are, and why there",
	}, s.schedule)
}

func (s *server) schedule(ctx context.Context, in *scheduleInput) (*scheduleOutput, error) {
	policy, table, err := s.timetable(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	body := ScheduleBody{Policy: policy.Name, Paused: policy.Paused, Items: []calendar.Slot{}}
	if in.Next == 0 {
		in.Next = defaultSlots
	}
	if in.From != "" {
		from, err := calendar.ParseTime(in.From, policy.Schedule.Timezone)
		if err != nil {
			return nil, huma.Error422UnprocessableEntity("query.from: " + err.Error())
		}
		body.Items, err = calendar.Slots(ctx, table, from, in.Next)
		return &scheduleOutput{Body: body}, err
	}
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the database for the time: %w", err)
	}
	if first, ok := upcoming(table, policy, now); ok {
		body.Items, err = calendar.SlotsFrom(ctx, table, first, in.Next)
	}
	return &scheduleOutput{Body: body}, err
}

// policyNow is a policy with what the scheduler waits for.
type policyNow struct {
	keyturn.Policy

	nextAt *time.Time
}

// upcoming returns the slot that comes next. Slots of "@every" are counted from
// the one that the scheduler waits for.
func upcoming(table *scheduler.Timetable, policy policyNow, now time.Time) (keyturn.Slot, bool) {
	first, ok := table.First(now)
	if !ok || !table.Relative() || policy.nextAt == nil {
		return first, ok
	}
	waiting := keyturn.Slot{Local: policy.nextAt.UTC().Format("2006-01-02T15:04:05Z"), Timezone: "UTC", At: *policy.nextAt}
	if waiting.At.After(now) {
		return waiting, true
	}
	next, _, ok := table.NextAfter(waiting, now)
	return next, ok
}

// timetable reads a policy's schedule.
func (s *server) timetable(ctx context.Context, name string) (policyNow, *scheduler.Timetable, error) {
	stored, err := s.resource(ctx, keyturn.KindPolicy, name)
	if err != nil {
		return policyNow{}, nil, err
	}
	policy, err := resource.PolicyOf(stored)
	if err != nil {
		return policyNow{}, nil, err
	}
	table, err := s.schedules.Timetable(policy.Schedule)
	if err != nil {
		// A zone or a calendar's file that was there when the policy was applied.
		return policyNow{}, nil, huma.Error409Conflict(fmt.Sprintf("the schedule of policy %q can't be read and does not fire: %v", name, err))
	}
	return policyNow{Policy: policy, nextAt: stored.Status.NextAt}, table, nil
}
