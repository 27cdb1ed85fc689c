package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/fleet"
	"github.com/keyturn/keyturn/internal/resource"
)

const (
	// unitTasks is how many of a unit's tasks are shown with all that is known of them.
	unitTasks = 10
	// unitRecords bounds the history that is read: pages of 1,000.
	unitRecords = 5
)

// keyLine is one key on the timeline of a unit.
type keyLine struct {
	keyturn.KeyRecord
	For      time.Duration // how long it was in use, or is
	Task     *keyturn.TaskDetail
	Rotation *keyturn.Rotation
	Level    fleet.Level // of the age that it reached
}

// policyLine is a policy that selects a unit.
type policyLine struct {
	keyturn.Policy
	Status keyturn.ResourceStatus
}

// unitPage is what is known of a unit.
type unitPage struct {
	keyturn.Unit
	Now      time.Time
	Age      time.Duration
	Level    fleet.Level
	Ages     fleet.Ages
	Keys     []keyLine // the newest first
	Cut      bool      // there are more keys than are shown
	Tasks    []keyturn.TaskDetail
	Open     *keyturn.TaskDetail // a task that is under way, or parked
	Policies []policyLine
	Rotated  map[keyturn.ID]*keyturn.Rotation
}

func (s *Site) unit(ctx context.Context, v *visit) (*view, error) {
	id := v.PathValue("id")
	found, err := list[keyturn.Unit](ctx, v, "/units?limit=10&name="+url.QueryEscape(id))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(found.Items, func(u keyturn.Unit) bool { return u.ID == id })
	if i < 0 && len(found.Items) == 1 { // called by its name
		i = 0
	}
	if i < 0 {
		return nil, &apiError{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no unit %q; the fleet lists them", id)}
	}
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	page := unitPage{Unit: found.Items[i], Now: now, Rotated: map[keyturn.ID]*keyturn.Rotation{}}
	if err := page.readPolicies(ctx, v); err != nil {
		return nil, err
	}
	if err := page.readTasks(ctx, s, v); err != nil {
		return nil, err
	}
	if err := page.readKeys(ctx, v); err != nil {
		return nil, err
	}
	return &view{Title: page.ClusterName + " / " + page.Name, Nav: "fleet", Template: "unit", Data: page}, nil
}

// readPolicies finds the policies that select the unit, and how old its key may get.
func (p *unitPage) readPolicies(ctx context.Context, v *visit) error {
	stored, err := list[keyturn.Resource](ctx, v, "/policies")
	if err != nil {
		return err
	}
	var selecting []keyturn.Policy
	for _, r := range stored.Items {
		policy, err := resource.PolicyOf(r)
		if err != nil {
			return err
		}
		if policy.Target == p.Target && policy.Select.Match(p.Unit) {
			p.Policies = append(p.Policies, policyLine{Policy: policy, Status: r.Status})
			selecting = append(selecting, policy)
		}
	}
	cell := fleet.Make([]keyturn.FleetUnit{{Unit: p.Unit}}, selecting, p.Now).Cells[0]
	p.Age, p.Level, p.Ages = cell.Age, cell.Level, cell.Ages
	return nil
}

func (p *unitPage) readTasks(ctx context.Context, s *Site, v *visit) error {
	tasks, err := s.Store.TasksOfUnit(ctx, p.ID, unitTasks)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		var detail keyturn.TaskDetail
		if err := v.get(ctx, "/tasks/"+t.ID.String(), &detail); err != nil {
			return err
		}
		p.Tasks = append(p.Tasks, detail)
		if err := p.readRotation(ctx, v, t.Rotation); err != nil {
			return err
		}
		if p.Open == nil && (!t.State.Final() || t.State == keyturn.TaskParked) {
			p.Open = &p.Tasks[len(p.Tasks)-1]
		}
	}
	return nil
}

// readRotation reads a rotation once.
func (p *unitPage) readRotation(ctx context.Context, v *visit, id keyturn.ID) error {
	if _, known := p.Rotated[id]; known || id.IsZero() {
		return nil
	}
	var r keyturn.Rotation
	if err := v.get(ctx, "/rotations/"+id.String()+"?tasks=false&clusters=false", &r); err != nil {
		return err
	}
	p.Rotated[id] = &r
	return nil
}

// readKeys reads the unit's keys, and who turned the newest of them.
func (p *unitPage) readKeys(ctx context.Context, v *visit) error {
	var records []keyturn.KeyRecord
	after := ""
	for range unitRecords {
		some, err := list[keyturn.KeyRecord](ctx, v, "/history?"+url.Values{"unit": {p.ID}, "limit": {"1000"}, "after": {after}}.Encode())
		if err != nil {
			return err
		}
		records = append(records, some.Items...)
		if after = some.Next; after == "" {
			break
		}
	}
	const shown = 50
	slices.Reverse(records)
	if p.Cut = after != "" || len(records) > shown; len(records) > shown {
		records = records[:shown]
	}
	for _, r := range records {
		line := keyLine{KeyRecord: r}
		end := p.Now
		if r.Until != nil {
			end = *r.Until
		}
		line.For = max(0, end.Sub(r.From))
		line.Level = p.Ages.LevelOf(line.For)
		if err := p.turnedBy(ctx, v, &line); err != nil {
			return err
		}
		p.Keys = append(p.Keys, line)
	}
	return nil
}

// turnedBy fills in which task and rotation a key is of.
func (p *unitPage) turnedBy(ctx context.Context, v *visit, line *keyLine) error {
	if line.KeyRecord.Task.IsZero() {
		return nil
	}
	for i := range p.Tasks {
		if p.Tasks[i].ID == line.KeyRecord.Task {
			line.Task = &p.Tasks[i]
		}
	}
	const read = 20 // of older keys
	if line.Task == nil && len(p.Keys) < read {
		line.Task = new(keyturn.TaskDetail)
		if err := v.get(ctx, "/tasks/"+line.KeyRecord.Task.String(), line.Task); err != nil {
			return err
		}
		if err := p.readRotation(ctx, v, line.KeyRecord.Rotation); err != nil {
			return err
		}
	}
	line.Rotation = p.Rotated[line.KeyRecord.Rotation]
	return nil
}
