package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

type requestRotationInput struct {
	Body struct {
		Policy string            `json:"policy" minLength:"1" maxLength:"100" doc:"The policy to carry out."`
		Reason string            `json:"reason,omitempty" maxLength:"500" doc:"Why; kept with the rotation."`
		ID     string            `json:"id,omitempty" maxLength:"200" doc:"Any unique key: the same key again is the same rotation. Empty: each request is a rotation of its own."`
		Only   keyturn.Selection `json:"only,omitempty" doc:"Narrows the policy's selection, never widens it."`

		Keys map[string]string `json:"keys,omitempty" doc:"Keys that someone else has made, by unit id: units whose keys are made elsewhere (Atlas) are given these. They narrow nothing."`
	}
}

type requestRotationOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the rotation can be followed."`
	Body     keyturn.Rotation
}

type rotationInput struct {
	ID       string `path:"id" doc:"The rotation's id."`
	Tasks    bool   `query:"tasks" default:"true" doc:"false leaves the tasks, and the units that a retry is for, out."`
	Clusters bool   `query:"clusters" default:"true" doc:"false leaves the sums by cluster out."`
}

type rotationOutput struct {
	Body keyturn.Rotation
}

type listRotationsInput struct {
	Paging
	Policy string `query:"policy" maxLength:"100" doc:"Only this policy's."`
	State  string `query:"state" enum:"requested,planning,running,succeeded,partial,failed,cancelled" doc:"Only those in this state."`

	From time.Time `query:"from" doc:"Only those that were requested then or later (RFC 3339)."`
	To   time.Time `query:"to" doc:"Only those that were requested before then (RFC 3339)."`
}

type listTasksInput struct {
	Paging
	ID string `path:"id" doc:"The rotation's id."`
}

func (s *server) registerRotations() {
	const tag = "rotations"
	handle(s, operation{
		id: "request-rotation", method: http.MethodPost, path: "/rotations", role: keyturn.RoleOperator, tag: tag,
		summary: "Ask for a rotation", status: http.StatusCreated,
	}, s.requestRotation)
	handle(s, operation{
		id: "list-rotations", method: http.MethodGet, path: "/rotations", role: keyturn.RoleViewer, tag: tag,
		summary: "List rotations, newest first, without their tasks",
	}, s.listRotations)
	handle(s, operation{
		id: "get-rotation", method: http.MethodGet, path: "/rotations/{id}", role: keyturn.RoleViewer, tag: tag,
		summary: "One rotation with its tasks, summed up by cluster",
	}, s.getRotation)
	handle(s, operation{
		id: "list-tasks", method: http.MethodGet, path: "/rotations/{id}/tasks", role: keyturn.RoleViewer, tag: tag,
		summary: "List a rotation's tasks in the order of their turn",
	}, s.listTasks)
}

// requestRotation answers 201 for a new rotation and 200 for one that the same id asked for before.
func (s *server) requestRotation(ctx context.Context, in *requestRotationInput) (*requestRotationOutput, error) {
	key := strings.TrimSpace(in.Body.ID)
	if key == "" {
		key = keyturn.NewID(s.Now()).String()
	}
	if err := in.Body.Only.Check(); err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	only, err := in.Body.Only.WithKeys(in.Body.Keys)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	rotation, created, err := s.Store.Request(audited(ctx, "rotation.request", in.Body.Policy, in.Body.Reason, map[string]string{"id": key}), keyturn.Request{
		Policy:      in.Body.Policy,
		Trigger:     keyturn.TriggerManual,
		TriggerID:   key,
		Reason:      in.Body.Reason,
		RequestedBy: requestedBy(ctx),
		Only:        only,
	})
	if errors.Is(err, keyturn.ErrConflict) {
		return nil, huma.Error409Conflict(fmt.Sprintf("the id %q has asked for a rotation of another policy before; take another id", key))
	}
	if err != nil {
		return nil, missing(err, "policy", in.Body.Policy)
	}
	s.wake(ctx, rotation)
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return &requestRotationOutput{Status: status, Location: prefix + "/rotations/" + rotation.ID.String(), Body: rotation}, nil
}

// wake hurries a planner. The row is found by the sweeper if this gets lost.
func (s *server) wake(ctx context.Context, rotation keyturn.Rotation) {
	if s.Waker == nil || rotation.State != keyturn.RotationRequested {
		return
	}
	if err := s.Waker.PublishRotation(ctx, rotation.ID); err != nil {
		s.Logger.Warn("waking a planner; the sweeper will", zap.Stringer("rotation", rotation.ID), zap.Error(err))
	}
}

func (s *server) listRotations(ctx context.Context, in *listRotationsInput) (*listOutput[keyturn.Rotation], error) {
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	return listed(s.Store.Rotations(ctx, keyturn.RotationFilter{
		Policy: in.Policy, State: keyturn.RotationState(in.State), From: in.From, To: in.To, Page: page,
	}))
}

func (s *server) getRotation(ctx context.Context, in *rotationInput) (*rotationOutput, error) {
	id, err := parseID("rotation", in.ID)
	if err != nil {
		return nil, err
	}
	rotation, err := s.Store.Rotation(ctx, id)
	if err != nil {
		return nil, missing(err, "rotation", id.String())
	}
	rotation.Tasks = nil
	if in.Tasks {
		if rotation.Tasks, err = s.allTasks(ctx, id, rotation.Counts.Total); err != nil {
			return nil, err
		}
	} else if rotation.RetryOf != nil {
		rotation.Only.Units, rotation.Only.Keys = nil, nil
	}
	if in.Clusters {
		if rotation.Clusters, err = s.Store.Clusters(ctx, id); err != nil {
			return nil, err
		}
	}
	return &rotationOutput{Body: rotation}, nil
}

func (s *server) allTasks(ctx context.Context, id keyturn.ID, about int) ([]keyturn.Task, error) {
	all := make([]keyturn.Task, 0, about)
	page := keyturn.Page{Limit: 1000}
	for {
		tasks, next, err := s.Store.Tasks(ctx, id, page)
		if err != nil {
			return nil, fmt.Errorf("tasks of rotation %s: %w", id, err)
		}
		all = append(all, tasks...)
		if next == "" {
			return all, nil
		}
		page.After = next
	}
}

func (s *server) listTasks(ctx context.Context, in *listTasksInput) (*listOutput[keyturn.Task], error) {
	id, err := parseID("rotation", in.ID)
	if err != nil {
		return nil, err
	}
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	if _, err := s.Store.Rotation(ctx, id); err != nil {
		return nil, missing(err, "rotation", id.String())
	}
	return listed(s.Store.Tasks(ctx, id, page))
}

// parseID answers 404 for what can't be the id of anything.
func parseID(what, s string) (keyturn.ID, error) {
	id, err := keyturn.ParseID(s)
	if err != nil {
		return keyturn.ID{}, huma.Error404NotFound(what + ": " + err.Error())
	}
	return id, nil
}
