package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

// applyTries is how often an apply is compared anew when somebody else applied meanwhile.
const applyTries = 4

type applyInput struct {
	Body struct {
		Documents []ApplyDocument `json:"documents,omitempty" maxItems:"1000" doc:"Files of resources, as they are."`
		Resources []ApplyResource `json:"resources,omitempty" maxItems:"10000" doc:"Resources as JSON, instead of or beside documents."`
		DryRun    bool            `json:"dryRun,omitempty" doc:"Answer what would change, and change nothing."`
		Prune     bool            `json:"prune,omitempty" doc:"Delete every resource that is not named here."`
	}
}

// ApplyDocument is a file of resources.
type ApplyDocument struct {
	Name    string `json:"name,omitempty" maxLength:"4096" doc:"What errors call it: the file's name."`
	Content string `json:"content" doc:"YAML or JSON documents."`
}

// ApplyResource is one resource.
type ApplyResource struct {
	APIVersion string          `json:"apiVersion,omitempty" doc:"keyturn/v1, also if left out."`
	Kind       string          `json:"kind"`
	Name       string          `json:"name"`
	Spec       json.RawMessage `json:"spec"`
}

type applyOutput struct {
	Body ApplyResult
}

// ApplyResult is what an apply changed, or would change.
type ApplyResult struct {
	DryRun  bool              `json:"dryRun"`
	Changes []resource.Change `json:"changes" nullable:"false" doc:"One for each resource that was named, also if unchanged, and for each that is pruned."`
}

func (s *server) registerApply() {
	handle(s, operation{
		id: "apply", method: http.MethodPost, path: "/apply", role: keyturn.RoleAdmin, tag: "resources",
		summary: "Make the resources what the documents say: all or nothing", status: http.StatusOK, maxBody: maxApplyBody,
	}, s.apply)
}

func (s *server) apply(ctx context.Context, in *applyInput) (*applyOutput, error) {
	want, err := s.parseDocuments(in)
	if err != nil {
		return nil, invalid(err)
	}
	if len(want) == 0 {
		return nil, huma.Error422UnprocessableEntity("there is nothing to apply: send documents or resources")
	}
	for try := 1; ; try++ {
		changes, err := s.applyOnce(ctx, want, in.Body.Prune, in.Body.DryRun)
		if err == nil {
			return &applyOutput{Body: ApplyResult{DryRun: in.Body.DryRun, Changes: changes}}, nil
		}
		if !errors.Is(err, keyturn.ErrConflict) || try == applyTries {
			return nil, invalid(err)
		}
	}
}

// parseDocuments reads all documents, or answers everything that is wrong with them.
func (s *server) parseDocuments(in *applyInput) ([]resource.Document, error) {
	var documents []resource.Document
	var wrong resource.Errors
	parse := func(name string, content []byte) error {
		found, err := resource.Parse(name, content, resource.Options{CheckSchedule: s.CheckSchedule})
		if errs, ok := errors.AsType[resource.Errors](err); ok {
			wrong = append(wrong, errs...)
			return nil
		}
		documents = append(documents, found...)
		return err
	}
	for i, d := range in.Body.Documents {
		if d.Name == "" {
			d.Name = fmt.Sprintf("documents[%d]", i)
		}
		if err := parse(d.Name, []byte(d.Content)); err != nil {
			return nil, err
		}
	}
	for i, r := range in.Body.Resources {
		if r.APIVersion == "" {
			r.APIVersion = resource.APIVersion
		}
		content, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("reading resources[%d]: %w", i, err)
		}
		if err := parse(fmt.Sprintf("resources[%d]", i), content); err != nil {
			return nil, err
		}
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return documents, nil
}

// invalid answers with everything that is wrong with documents.
func invalid(err error) error {
	errs, ok := errors.AsType[resource.Errors](err)
	if !ok {
		return err
	}
	model := &huma.ErrorModel{Status: http.StatusUnprocessableEntity, Title: http.StatusText(http.StatusUnprocessableEntity)}
	model.Detail = errs[0].Error()
	if len(errs) > 1 {
		model.Detail = fmt.Sprintf("%d things are wrong, first: %s", len(errs), errs[0].Error())
	}
	for _, e := range errs {
		location, message, _ := strings.Cut(e.Error(), ": ")
		model.Errors = append(model.Errors, &huma.ErrorDetail{Location: location, Message: message})
	}
	return model
}

// applyOnce compares what is there with what is wanted, and makes it so.
// ErrConflict means that it changed in between.
func (s *server) applyOnce(ctx context.Context, want []resource.Document, prune, dryRun bool) ([]resource.Change, error) {
	have, err := s.Store.Resources(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing resources: %w", err)
	}
	if err := resource.CrossCheck(have, want, prune); err != nil {
		return nil, err
	}
	changes, err := resource.Diff(have, want, prune)
	if err != nil {
		return nil, fmt.Errorf("comparing: %w", err)
	}
	var steps []keyturn.ResourceChange
	for _, c := range changes {
		if c.Action == resource.ActionUnchanged {
			continue
		}
		step := keyturn.ResourceChange{Kind: c.Kind, Name: c.Name, Spec: c.Spec, Expect: c.Generation}
		if c.Kind == keyturn.KindPolicy && c.Spec != nil {
			if step.Next, err = s.nextSlot(ctx, have, c); err != nil {
				return nil, fmt.Errorf("policy %s: %w", c.Name, err)
			}
		}
		steps = append(steps, step)
	}
	if dryRun || len(steps) == 0 {
		return changes, nil
	}
	if err := s.Store.ApplyResources(audited(ctx, "resources.apply", fmt.Sprintf("%d resources", len(steps)), "", stepsOf(changes)), steps); err != nil {
		return nil, fmt.Errorf("applying: %w", err)
	}
	s.Logger.Info("resources applied", zap.String("by", requestedBy(ctx)), zap.Int("changes", len(steps)))
	s.OnChange()
	return changes, nil
}

// stepsOf names what an apply changes, for the audit: not the specs, which may be large.
func stepsOf(changes []resource.Change) []string {
	steps := []string{}
	for _, c := range changes {
		if c.Action != resource.ActionUnchanged {
			steps = append(steps, fmt.Sprintf("%s %s %s", c.Action, c.Kind, c.Name))
		}
	}
	return steps
}

// nextSlot returns the slot for which a changed policy waits. A policy whose
// schedule stays the same goes on waiting for the same one, also if it is due
// by now: a new slot would lose it. Should it have fired meanwhile, then its
// name is taken and it can't fire again.
func (s *server) nextSlot(ctx context.Context, have []keyturn.Resource, c resource.Change) (*keyturn.Slot, error) {
	for _, old := range have {
		if old.Kind != c.Kind || old.Name != c.Name {
			continue
		}
		before, err := schedule(old.Spec)
		if err != nil {
			return nil, err
		}
		after, err := schedule(c.Spec)
		if err != nil {
			return nil, err
		}
		if slot := waitsFor(old.Status); slot != nil && reflect.DeepEqual(before, after) {
			return slot, nil
		}
	}
	return s.firstSlot(ctx, c.Spec)
}

// waitsFor is the slot in a policy's status; nil: none.
func waitsFor(status keyturn.ResourceStatus) *keyturn.Slot {
	local, zone, ok := strings.Cut(status.NextSlot, " ")
	if !ok || status.NextAt == nil {
		return nil
	}
	return &keyturn.Slot{Local: local, Timezone: zone, At: *status.NextAt}
}

// schedule reads the schedule of a policy's spec, with defaults.
func schedule(spec json.RawMessage) (keyturn.Schedule, error) {
	var policy keyturn.Policy
	if err := json.Unmarshal(spec, &policy); err != nil {
		return keyturn.Schedule{}, fmt.Errorf("reading its spec: %w", err)
	}
	return policy.WithDefaults().Schedule, nil
}
