package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
)

type controlInput struct {
	ID   string `path:"id" doc:"The rotation's id."`
	Body *struct {
		Reason string `json:"reason,omitempty" maxLength:"500" doc:"Why; kept with the rotation and in the audit."`
	}
}

func (in controlInput) reason() string {
	if in.Body == nil {
		return ""
	}
	return in.Body.Reason
}

// ResumedRotation is the rotation that goes on with another.
type ResumedRotation struct {
	keyturn.Rotation
	LeftOut int `json:"parkedLeftOut" doc:"Units that were left out, because nobody knows what became of their parked task: resolve it."`
}

type resumeOutput struct {
	Status   int
	Location string `header:"Location" doc:"Where the rotation can be followed."`
	Body     ResumedRotation
}

type taskInput struct {
	ID string `path:"id" doc:"The task's id."`
}

type taskOutput struct {
	Body keyturn.TaskDetail
}

type resolveInput struct {
	ID   string `path:"id" doc:"The task's id."`
	Body struct {
		As     string `json:"as" enum:"succeeded,retry,failed" doc:"What became of the key: succeeded, it was turned; failed, it was not and shall not be; retry, it was not and shall be."`
		Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"How you know; kept with the task and in the audit."`
		Key    string `json:"key,omitempty" maxLength:"500" doc:"With succeeded: the key now in use. Empty: the server asks the target."`
	}
}

// ResolvedTask is what came of a person's decision.
type ResolvedTask struct {
	Task     keyturn.Task     `json:"task"`
	Rotation keyturn.Rotation `json:"rotation" doc:"The task's rotation, without its tasks; corrected if it had ended."`
	Retry    string           `json:"retryId,omitempty" doc:"The rotation that tries it again, if the task's own has ended."`
}

type resolveOutput struct {
	Body ResolvedTask
}

func (s *server) registerControl() {
	handle(s, operation{
		id: "cancel-rotation", method: http.MethodPost, path: "/rotations/{id}/cancel", role: keyturn.RoleOperator, tag: "rotations",
		summary: "Stop what has not begun; what is under way is finished", status: http.StatusOK,
	}, s.cancelRotation)
	handle(s, operation{
		id: "resume-rotation", method: http.MethodPost, path: "/rotations/{id}/resume", role: keyturn.RoleOperator, tag: "rotations",
		summary: "Go on with what is missing of a rotation that has ended", status: http.StatusCreated,
	}, s.resumeRotation)
	handle(s, operation{
		id: "get-task", method: http.MethodGet, path: "/tasks/{id}", role: keyturn.RoleViewer, tag: "tasks",
		summary: "One task, with its intent and what was worth noting of its attempts",
	}, s.getTask)
	handle(s, operation{
		id: "resolve-task", method: http.MethodPost, path: "/tasks/{id}/resolve", role: keyturn.RoleOperator, tag: "tasks",
		summary: "Say what became of a parked task", status: http.StatusOK,
	}, s.resolveTask)
}

func (s *server) cancelRotation(ctx context.Context, in *controlInput) (*rotationOutput, error) {
	id, err := parseID("rotation", in.ID)
	if err != nil {
		return nil, err
	}
	rotation, err := s.Store.StopRotation(audited(ctx, "rotation.cancel", id.String(), in.reason(), nil), id, caller(ctx), in.reason(), true)
	if err != nil {
		return nil, missing(err, "rotation", id.String())
	}
	return &rotationOutput{Body: rotation}, nil
}

// resumeRotation answers 201 for a new retry and 200 for one that is under way already.
func (s *server) resumeRotation(ctx context.Context, in *controlInput) (*resumeOutput, error) {
	id, err := parseID("rotation", in.ID)
	if err != nil {
		return nil, err
	}
	resumed, err := s.Store.ResumeRotation(audited(ctx, "rotation.resume", id.String(), in.reason(), nil), id, requestedBy(ctx), in.reason())
	if err != nil {
		return nil, missing(err, "rotation", id.String())
	}
	s.wake(ctx, resumed.Rotation)
	out := &resumeOutput{Status: http.StatusOK, Location: prefix + "/rotations/" + resumed.Rotation.ID.String()}
	out.Body = ResumedRotation{Rotation: resumed.Rotation, LeftOut: resumed.Parked}
	out.Body.Only.Units, out.Body.Only.Keys = nil, nil // thousands, perhaps; get-rotation has them
	if resumed.Created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

func (s *server) getTask(ctx context.Context, in *taskInput) (*taskOutput, error) {
	id, err := parseID("task", in.ID)
	if err != nil {
		return nil, err
	}
	task, err := s.Store.TaskDetail(ctx, id)
	if err != nil {
		return nil, missing(err, "task", id.String())
	}
	if task.Intent != nil {
		task.Intent.Data = withoutSecrets(task.Intent.Data)
	}
	return &taskOutput{Body: task}, nil
}

func (s *server) resolveTask(ctx context.Context, in *resolveInput) (*resolveOutput, error) {
	id, err := parseID("task", in.ID)
	if err != nil {
		return nil, err
	}
	d := keyturn.Decision{Task: id, As: keyturn.TaskState(in.Body.As), By: caller(ctx), Reason: in.Body.Reason, Key: in.Body.Key}
	switch {
	case in.Body.As == "retry":
		d.As = keyturn.TaskPending
	case in.Body.As == "succeeded" && in.Body.Key == "":
		if d.Key, err = s.keyInUse(ctx, id); err != nil {
			return nil, err
		}
	}
	if in.Body.Key != "" && d.As != keyturn.TaskSucceeded {
		return nil, huma.Error422UnprocessableEntity("body.key: only a success has a key")
	}
	detail := map[string]string{"as": in.Body.As, "key": d.Key}
	decided, err := s.Store.ResolveTask(audited(ctx, "task.resolve", id.String(), d.Reason, detail), d)
	if err != nil {
		return nil, missing(err, "task", id.String())
	}
	out := &resolveOutput{Body: ResolvedTask{Task: decided.Task, Rotation: decided.Rotation}}
	out.Body.Rotation.Only.Units, out.Body.Rotation.Only.Keys = nil, nil
	if decided.Retry != nil {
		out.Body.Retry = decided.Retry.ID.String()
		s.wake(ctx, *decided.Retry)
	}
	return out, nil
}

// keyInUse asks the target which key a parked task's unit uses now.
func (s *server) keyInUse(ctx context.Context, id keyturn.ID) (string, error) {
	task, err := s.Store.Task(ctx, id)
	if err != nil {
		return "", missing(err, "task", id.String())
	}
	if task.State != keyturn.TaskParked {
		return "", huma.Error409Conflict("task " + id.String() + " is " + string(task.State) + ": only what is parked can be resolved")
	}
	if s.Keys == nil {
		return "", huma.Error501NotImplemented("this server can't ask the target which key is in use; give the key with --key")
	}
	key, err := s.Keys.KeyInUse(ctx, task.Unit)
	if err != nil {
		return "", huma.Error502BadGateway("the target can't be asked which key " + task.Unit + " uses: " + err.Error() + "; give the key with --key if you know it")
	}
	if key == task.KeyBefore {
		return "", huma.Error409Conflict("the target still shows key " + key + " for " + task.Unit + ", the one from before: nothing was turned; resolve it as retry or failed")
	}
	if key == "" {
		return "", errors.New("the target named no key")
	}
	return key, nil
}
