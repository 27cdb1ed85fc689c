package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/calendar"
	"github.com/keyturn/keyturn/internal/resource"
)

// policyRow is a policy in a list.
type policyRow struct {
	keyturn.Policy
	Status keyturn.ResourceStatus
	Last   *rotationRow
}

type policiesPage struct {
	Rows []policyRow
	Now  time.Time
}

func (s *Site) policies(ctx context.Context, v *visit) (*view, error) {
	stored, err := list[keyturn.Resource](ctx, v, "/policies")
	if err != nil {
		return nil, err
	}
	page := policiesPage{Now: s.Now()}
	for _, r := range stored.Items {
		policy, err := resource.PolicyOf(r)
		if err != nil {
			return nil, err
		}
		row := policyRow{Policy: policy, Status: r.Status}
		if len(page.Rows) < 100 { // a look-up each
			if row.Last, err = s.lastRotation(ctx, v, r.Name); err != nil {
				return nil, err
			}
		}
		page.Rows = append(page.Rows, row)
	}
	return &view{Title: "Policies", Nav: "policies", Template: "policies", Data: page}, nil
}

func (s *Site) lastRotation(ctx context.Context, v *visit, policy string) (*rotationRow, error) {
	last, err := list[keyturn.Rotation](ctx, v, "/rotations?"+url.Values{"policy": {policy}, "limit": {"1"}}.Encode())
	if err != nil || len(last.Items) == 0 {
		return nil, err
	}
	row := rowOf(last.Items[0], s.Now())
	return &row, nil
}

type policyPage struct {
	keyturn.Policy
	Status  keyturn.ResourceStatus
	Source  source
	Slots   []calendar.Slot
	Trouble string // why the schedule can't be shown
	Last    []rotationRow
	Now     time.Time
}

func (s *Site) policy(ctx context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	path := "/policies/" + url.PathEscape(name)
	var stored keyturn.Resource
	if err := v.get(ctx, path, &stored); err != nil {
		return nil, err
	}
	policy, err := resource.PolicyOf(stored)
	if err != nil {
		return nil, err
	}
	page := policyPage{Policy: policy, Status: stored.Status, Now: s.Now()}
	if page.Source, err = sourceOf(stored); err != nil {
		return nil, err
	}
	var slots struct {
		Items []calendar.Slot `json:"items"`
	}
	if err := v.get(ctx, path+"/schedule?next=8", &slots); err != nil {
		page.Trouble = err.Error()
	}
	page.Slots = slots.Items
	last, err := list[keyturn.Rotation](ctx, v, "/rotations?"+url.Values{"policy": {name}, "limit": {"8"}}.Encode())
	if err != nil {
		return nil, err
	}
	for _, r := range last.Items {
		page.Last = append(page.Last, rowOf(r, page.Now))
	}
	return &view{Title: "Policy " + name, Nav: "policies", Template: "policy", Data: page}, nil
}

func (s *Site) askPause(_ context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	return v.form(ask{
		Title: "Pause policy " + name + "?", Nav: "policies", Button: "Pause the policy", Back: "/policies/" + url.PathEscape(name),
		What: []string{
			"It starts no rotation any more. What its rotations under way have not begun is held; what is being turned is finished.",
			"Slots that pass meanwhile do not fire later.",
		},
		Fields: []field{
			{Name: "note", Label: "Why", Kind: fieldText, Help: "shown with the policy, and kept in the audit"},
			{Name: "for", Label: "For how long", Kind: fieldText, Max: 40, Help: "such as 90m, 12h or 3d; empty: until somebody resumes it"},
		},
	}), nil
}

func (s *Site) pause(ctx context.Context, v *visit) (done, error) {
	name := v.PathValue("name")
	body := map[string]any{"note": v.PostFormValue("note")}
	if span := v.PostFormValue("for"); span != "" {
		body["for"] = span
	}
	path := "/policies/" + url.PathEscape(name)
	return done{To: path, Message: "Policy " + name + " is paused."}, v.call(ctx, http.MethodPost, path+"/pause", body, nil)
}

func (s *Site) askResume(ctx context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	var stored keyturn.Resource
	if err := v.get(ctx, "/policies/"+url.PathEscape(name), &stored); err != nil {
		return nil, err
	}
	a := ask{
		Title: "Resume policy " + name + "?", Nav: "policies", Button: "Resume the policy", Back: "/policies/" + url.PathEscape(name),
		What: []string{"Its next slot fires again, and what is held of its rotations goes on at once. Slots that passed meanwhile do not fire."},
	}
	if by := stored.Status.PausedBy; by != "" {
		a.Facts = append(a.Facts, fact{"Paused by", actorOf(by)})
	}
	if stored.Status.PauseNote != "" {
		a.Facts = append(a.Facts, fact{"Because", stored.Status.PauseNote})
	}
	if !stored.Status.Paused {
		a.What = append(a.What, "It is not paused now.")
	}
	return v.form(a), nil
}

func (s *Site) resume(ctx context.Context, v *visit) (done, error) {
	name := v.PathValue("name")
	path := "/policies/" + url.PathEscape(name)
	return done{To: path, Message: fmt.Sprintf("Policy %s goes on.", name)}, v.call(ctx, http.MethodPost, path+"/resume", nil, nil)
}
