package apitest

import (
	"context"

	"github.com/keyturn/keyturn"
)

// FleetUnits implements api.Reader.
func (s *Store) FleetUnits(ctx context.Context, target string) ([]keyturn.FleetUnit, error) {
	if err := s.begin(ctx, "FleetUnits"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var out []keyturn.FleetUnit
	for i := range s.units {
		if target == "" || s.units[i].Target == target {
			out = append(out, keyturn.FleetUnit{Unit: s.units[i]})
		}
	}
	return out, nil
}

// TasksOfUnit implements api.Reader.
func (s *Store) TasksOfUnit(ctx context.Context, unit string, limit int) ([]keyturn.Task, error) {
	if err := s.begin(ctx, "TasksOfUnit"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var out []keyturn.Task
	for _, r := range s.rotations {
		for _, t := range s.tasks[r.ID] {
			if t.Unit == unit && len(out) < limit {
				out = append(out, t)
			}
		}
	}
	return out, nil
}
