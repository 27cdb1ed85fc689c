package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
)

// Plan is what a rotation would do now.
type Plan struct {
	Policy string         `json:"policy"`
	Counts PlanCounts     `json:"counts"`
	Units  []keyturn.Unit `json:"units" nullable:"false" doc:"In the order in which the target named them, or of the rollout's waves; those that are not rotatable say why."`
}

// PlanCounts are a plan's units by what would become of them.
type PlanCounts struct {
	Total     int `json:"total"`
	Rotatable int `json:"rotatable"`
	Skipped   int `json:"skipped"`
}

type planInput struct {
	Name string `path:"name" doc:"The policy's name."`
	Body *struct {
		Only keyturn.Selection `json:"only,omitempty" doc:"Narrows the policy's selection, never widens it."`
	}
}

type planOutput struct {
	Body Plan
}

type pauseInput struct {
	Name string `path:"name" doc:"The policy's name."`
	Body *struct {
		Note  string           `json:"note,omitempty" maxLength:"500" doc:"Why; shown with the policy."`
		Until *time.Time       `json:"until,omitempty" doc:"When it goes on by itself; not with for. Neither: when it is resumed."`
		For   keyturn.Duration `json:"for,omitempty" doc:"How long until it goes on by itself: 90m, 12h, 3d. Counted by the database's clock."`
	}
}

type nameInput struct {
	Name string `path:"name" maxLength:"100"`
}

func (s *server) registerPolicies() {
	const tag = "policies"
	// A plan changes nothing, but it asks the target a lot: not for viewers.
	handle(s, operation{
		id: "plan-policy", method: http.MethodPost, path: "/policies/{name}/plan", role: keyturn.RoleOperator, tag: tag,
		summary: "What a rotation would do now, unit by unit; changes nothing", status: http.StatusOK, timeout: planTimeout,
	}, s.plan)
	handle(s, operation{
		id: "pause-policy", method: http.MethodPost, path: "/policies/{name}/pause", role: keyturn.RoleOperator, tag: tag,
		summary: "Start no rotation and hold what has not begun", status: http.StatusOK,
	}, s.pause)
	handle(s, operation{
		id: "resume-policy", method: http.MethodPost, path: "/policies/{name}/resume", role: keyturn.RoleOperator, tag: tag,
		summary: "Go on; slots that were missed while paused do not fire", status: http.StatusOK,
	}, s.resume)
}

func (s *server) plan(ctx context.Context, in *planInput) (*planOutput, error) {
	if s.Planner == nil {
		return nil, huma.Error501NotImplemented("this server can't plan, because it does not run the worker role; ask one that does")
	}
	var only keyturn.Selection
	if in.Body != nil {
		only = in.Body.Only
	}
	if err := only.Check(); err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	if _, err := s.resource(ctx, keyturn.KindPolicy, in.Name); err != nil {
		return nil, err
	}
	units, err := s.Planner.Plan(ctx, in.Name, only)
	if err != nil {
		return nil, fmt.Errorf("planning policy %q: %w", in.Name, err)
	}
	plan := Plan{Policy: in.Name, Counts: PlanCounts{Total: len(units)}, Units: units}
	for i := range units {
		if units[i].Rotatable {
			plan.Counts.Rotatable++
		}
	}
	plan.Counts.Skipped = plan.Counts.Total - plan.Counts.Rotatable
	if plan.Units == nil {
		plan.Units = []keyturn.Unit{}
	}
	return &planOutput{Body: plan}, nil
}

func (s *server) pause(ctx context.Context, in *pauseInput) (*resourceOutput, error) {
	note := ""
	if in.Body != nil {
		note = in.Body.Note
	}
	until, err := s.pauseEnd(ctx, in)
	if err != nil {
		return nil, err
	}
	recorded := audited(ctx, "policy.pause", in.Name, note, nil)
	if until != nil {
		err = s.Store.PauseUntil(recorded, in.Name, requestedBy(ctx), note, *until)
	} else {
		err = s.Store.SetPaused(recorded, in.Name, true, requestedBy(ctx), note, nil)
	}
	if err != nil {
		return nil, missing(err, "policy", in.Name)
	}
	return s.changedPolicy(ctx, in.Name)
}

// pauseEnd returns when a pause ends by the database's clock; nil: when someone resumes the policy.
func (s *server) pauseEnd(ctx context.Context, in *pauseInput) (*time.Time, error) {
	if in.Body == nil || in.Body.Until == nil && in.Body.For == 0 {
		return nil, nil //nolint:nilnil // no end
	}
	if in.Body.Until != nil && in.Body.For != 0 {
		return nil, huma.Error422UnprocessableEntity("until and for are both given: write one of them")
	}
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the database for the time: %w", err)
	}
	until := now.Add(in.Body.For.Std())
	if in.Body.Until != nil {
		until = *in.Body.Until
	}
	if !until.After(now) {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("the pause would end at %s, which is not after now: give a later end", until.UTC().Format(time.RFC3339)))
	}
	return &until, nil
}

func (s *server) resume(ctx context.Context, in *nameInput) (*resourceOutput, error) {
	policy, err := s.resource(ctx, keyturn.KindPolicy, in.Name)
	if err != nil {
		return nil, err
	}
	next, err := s.firstSlot(ctx, policy.Spec)
	if err != nil {
		return nil, fmt.Errorf("resuming policy %q: %w", in.Name, err)
	}
	if err := s.Store.SetPaused(audited(ctx, "policy.resume", in.Name, "", nil), in.Name, false, requestedBy(ctx), "", next); err != nil {
		return nil, missing(err, "policy", in.Name)
	}
	return s.changedPolicy(ctx, in.Name)
}

func (s *server) changedPolicy(ctx context.Context, name string) (*resourceOutput, error) {
	s.OnChange()
	policy, err := s.resource(ctx, keyturn.KindPolicy, name)
	if err != nil {
		return nil, err
	}
	return &resourceOutput{Body: policy}, nil
}

// firstSlot returns the first slot of a policy's spec by the database's clock.
func (s *server) firstSlot(ctx context.Context, spec json.RawMessage) (*keyturn.Slot, error) {
	sched, err := schedule(spec)
	if err != nil {
		return nil, err
	}
	if sched.Cron == "" && sched.MaxAge == 0 {
		return nil, nil //nolint:nilnil // nil is "no slot": it runs by trigger only
	}
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the database for the time: %w", err)
	}
	slot, err := s.FirstSlot(sched, now)
	if err != nil {
		return nil, fmt.Errorf("finding the next slot of %q: %w", sched.Cron, err)
	}
	return slot, nil
}
