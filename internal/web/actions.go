package web

import (
	"context"
	"net/http"
	"net/url"

	"github.com/keyturn/keyturn"
)

// query encodes names and values that stand in turn.
func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q.Encode()
}

func (s *Site) askRotate(ctx context.Context, v *visit) (*view, error) {
	policies, err := list[keyturn.Resource](ctx, v, "/policies")
	if err != nil {
		return nil, err
	}
	choice := field{Name: "policy", Label: "Policy", Kind: fieldSelect, Required: true}
	for _, p := range policies.Items {
		label := p.Name
		if p.Status.Paused {
			label += " (paused: what is triggered by hand runs all the same)"
		}
		choice.Options = append(choice.Options, option{Value: p.Name, Label: label})
	}
	return v.form(ask{
		Title: "Rotate now", Nav: "rotations", Button: "Rotate", Back: "/rotations",
		What: []string{
			"Every unit that the policy selects gets a new master key now, in the order and the waves of its rollout. " +
				"Windows and blackouts do not hold what a person asks for.",
		},
		Fields: []field{
			choice,
			{Name: "project", Label: "Only this project", Kind: fieldText, Max: 300, Help: "Id, name or glob. Empty: all that the policy selects."},
			{Name: "cluster", Label: "Only this cluster", Kind: fieldText, Max: 300, Help: "Id, name or glob."},
			reasonField(),
		},
		// Sent twice, it is the same rotation.
		Hidden: map[string]string{"id": keyturn.NewID(s.Now()).String()},
	}), nil
}

func (s *Site) requestRotation(ctx context.Context, v *visit) (done, error) {
	in := map[string]any{"policy": v.PostFormValue("policy"), "reason": v.PostFormValue("reason"), "id": v.PostFormValue("id")}
	only := map[string][]string{}
	for name, values := range map[string]string{"projects": v.PostFormValue("project"), "clusters": v.PostFormValue("cluster")} {
		if values != "" {
			only[name] = []string{values}
		}
	}
	if len(only) > 0 {
		in["only"] = only
	}
	var r keyturn.Rotation
	err := v.call(ctx, http.MethodPost, "/rotations", in, &r)
	return done{To: "/rotations/" + r.ID.String(), Message: "The rotation was asked for."}, err
}

// readRotation asks the API for the rotation that the address names.
func readRotation(ctx context.Context, v *visit) (keyturn.Rotation, error) {
	var r keyturn.Rotation
	return r, v.get(ctx, "/rotations/"+url.PathEscape(v.PathValue("id"))+"?tasks=false&clusters=false", &r)
}

func reasonField() field { return reasonOf("Is kept with the rotation and in the audit.") }

func reasonOf(help string) field {
	return field{Name: "reason", Label: "Reason", Kind: fieldText, Help: help}
}

func (s *Site) askCancelRotation(ctx context.Context, v *visit) (*view, error) {
	r, err := readRotation(ctx, v)
	if err != nil {
		return nil, err
	}
	return v.form(ask{
		Title: "Cancel this rotation?", Nav: "rotations", Button: "Cancel the rotation", Danger: true, Back: "/rotations/" + r.ID.String(),
		What: []string{
			plural(r.Counts.Pending, "task that has", "tasks that have") + " not ended will be stopped: what has not begun is left out, " +
				"and what is under way is finished, so that no key is left in doubt.",
			"Keys that were turned stay turned. What is missing can be resumed later.",
		},
		Facts:  []fact{{"Policy", r.Policy}, {"State", string(r.State)}},
		Fields: []field{reasonField()},
	}), nil
}

func (s *Site) cancelRotation(ctx context.Context, v *visit) (done, error) {
	id := v.PathValue("id")
	err := v.call(ctx, http.MethodPost, "/rotations/"+url.PathEscape(id)+"/cancel", map[string]string{"reason": v.PostFormValue("reason")}, nil)
	return done{To: "/rotations/" + id, Message: "The rotation was cancelled."}, err
}

func (s *Site) askResumeRotation(ctx context.Context, v *visit) (*view, error) {
	r, err := readRotation(ctx, v)
	if err != nil {
		return nil, err
	}
	what := []string{"A new rotation turns the units that neither this one nor its earlier retries have turned. What was turned is not turned again."}
	if r.Counts.Parked > 0 {
		what = append(what, plural(r.Counts.Parked, "unit is", "units are")+" left out, because nobody knows what became of the parked task: resolve it first.")
	}
	return v.form(ask{
		Title: "Resume this rotation?", Nav: "rotations", Button: "Resume", Back: "/rotations/" + r.ID.String(), What: what,
		Facts:  []fact{{"Policy", r.Policy}, {"State", string(r.State)}},
		Fields: []field{reasonField()},
	}), nil
}

func (s *Site) resumeRotation(ctx context.Context, v *visit) (done, error) {
	var r keyturn.Rotation
	path := "/rotations/" + url.PathEscape(v.PathValue("id")) + "/resume"
	err := v.call(ctx, http.MethodPost, path, map[string]string{"reason": v.PostFormValue("reason")}, &r)
	return done{To: "/rotations/" + r.ID.String(), Message: "This rotation turns what was missing."}, err
}

func (s *Site) askResolveTask(ctx context.Context, v *visit) (*view, error) {
	task, err := s.readTask(ctx, v)
	if err != nil {
		return nil, err
	}
	again := "It is put back to be turned again."
	if task.Rotation.State.Final() {
		again = "It counts as failed here, and a new rotation tries it again."
	}
	return v.form(ask{
		Title: "Resolve this task", Nav: "rotations", Button: "Resolve", Back: "/tasks/" + task.Task.ID.String(),
		What: []string{"The change may have been sent, and nobody knows whether it was carried out. Look at the target, then say what became of the key. It is never guessed."},
		Facts: []fact{
			{"Unit", task.Unit.ClusterName + " / " + task.Unit.Name},
			{"Project", task.Unit.ProjectName},
			{"Key before", task.KeyBefore},
			{"What is known", task.Reason},
		},
		Fields: []field{
			{Name: "as", Label: "What became of the key?", Kind: fieldChoice, Required: true, Options: []option{
				{Value: "succeeded", Label: "It was turned", Help: "The server asks the target which key is in use now, unless you name it, and writes it into the history."},
				{Value: "retry", Label: "It was not turned, and shall be", Help: again},
				{Value: "failed", Label: "It was not turned, and shall not be", Help: "The task counts as failed."},
			}},
			{Name: "key", Label: "Key now in use", Kind: fieldText, Help: "Only for a key that was turned, and only if the target can't be asked."},
			{Name: "reason", Label: "How do you know?", Kind: fieldArea, Required: true, Help: "Is kept with the task and in the audit."},
		},
	}), nil
}

func (s *Site) resolveTask(ctx context.Context, v *visit) (done, error) {
	in := map[string]string{"as": v.PostFormValue("as"), "reason": v.PostFormValue("reason")}
	if key := v.PostFormValue("key"); key != "" {
		in["key"] = key
	}
	var out struct {
		Task  keyturn.Task `json:"task"`
		Retry string       `json:"retryId"`
	}
	if err := v.call(ctx, http.MethodPost, "/tasks/"+url.PathEscape(v.PathValue("id"))+"/resolve", in, &out); err != nil {
		return done{}, err
	}
	if out.Retry != "" {
		return done{To: "/rotations/" + out.Retry, Message: "The task was resolved: this rotation tries it again."}, nil
	}
	return done{To: "/rotations/" + out.Task.Rotation.String(), Message: "The task was resolved: " + in["as"] + "."}, nil
}
