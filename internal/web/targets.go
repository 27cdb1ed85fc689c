package web

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/fleet"
	"github.com/keyturn/keyturn/internal/resource"
)

// targetRow is a target in a list.
type targetRow struct {
	keyturn.Target
	Sum      keyturn.TargetOverview
	Policies []string
}

type targetsPage struct {
	Rows []targetRow
	Now  time.Time
}

// targetRows reads the targets with what happens to them.
func (s *Site) targetRows(ctx context.Context, v *visit, stored []keyturn.Resource) ([]targetRow, error) {
	sums, err := s.overviews.get(ctx)
	if err != nil {
		return nil, err
	}
	byName := map[string]keyturn.TargetOverview{}
	for _, t := range sums.Targets {
		byName[t.Name] = t
	}
	policies, err := list[keyturn.Resource](ctx, v, "/policies")
	if err != nil {
		return nil, err
	}
	of := map[string][]string{}
	for _, r := range policies.Items {
		policy, err := resource.PolicyOf(r)
		if err != nil {
			return nil, err
		}
		of[policy.Target] = append(of[policy.Target], r.Name)
	}
	var rows []targetRow
	for _, r := range stored {
		target, err := resource.TargetOf(r)
		if err != nil {
			return nil, err
		}
		target.Name = r.Name
		rows = append(rows, targetRow{Target: target, Sum: byName[r.Name], Policies: of[r.Name]})
	}
	return rows, nil
}

func (s *Site) targets(ctx context.Context, v *visit) (*view, error) {
	stored, err := list[keyturn.Resource](ctx, v, "/targets")
	if err != nil {
		return nil, err
	}
	page := targetsPage{Now: s.Now()}
	if page.Rows, err = s.targetRows(ctx, v, stored.Items); err != nil {
		return nil, err
	}
	return &view{Title: "Targets", Nav: "targets", Template: "targets", Data: page}, nil
}

type targetPage struct {
	targetRow
	Source source
	Legend []legendItem
	Counts fleet.Counts
	Now    time.Time
}

func (s *Site) target(ctx context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	var stored keyturn.Resource
	if err := v.get(ctx, "/targets/"+url.PathEscape(name), &stored); err != nil {
		return nil, err
	}
	rows, err := s.targetRows(ctx, v, []keyturn.Resource{stored})
	if err != nil {
		return nil, err
	}
	page := targetPage{targetRow: rows[0], Now: s.Now()}
	if page.Source, err = sourceOf(stored); err != nil {
		return nil, err
	}
	all, err := s.fleets.get(ctx)
	if err != nil {
		return nil, err
	}
	page.Counts = fleet.Count(fleet.Filter{Target: name}.Apply(all))
	page.Legend = legend(url.Values{"target": {name}}, all.Ages, "", page.Counts)
	return &view{Title: "Target " + name, Nav: "targets", Template: "target", Data: page}, nil
}

func (s *Site) askObserve(_ context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	return v.form(ask{
		Title: "Look at the keys of " + name + " now?", Nav: "targets", Button: "Look now", Back: "/targets/" + url.PathEscape(name),
		What: []string{"The target is asked which units there are and which key each of them uses. Nothing is changed. A look waits for rotations that are under way."},
	}), nil
}

func (s *Site) observe(ctx context.Context, v *visit) (done, error) {
	path := "/targets/" + url.PathEscape(v.PathValue("name"))
	return done{To: path, Message: "A look at its keys begins soon."}, v.call(ctx, http.MethodPost, path+"/observe", nil, nil)
}
