package apitest

import (
	"context"
	"slices"

	"github.com/keyturn/keyturn"
)

// AddAlert adds an alert with its history.
func (s *Store) AddAlert(a keyturn.Alert, history ...keyturn.AlertChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes == nil {
		s.changes = map[keyturn.ID][]keyturn.AlertChange{}
	}
	s.alerts = append(s.alerts, a)
	s.changes[a.ID] = history
}

// Alerts implements api.AlertStore, in the order in which alerts were added.
func (s *Store) Alerts(ctx context.Context, f keyturn.AlertFilter) ([]keyturn.Alert, string, error) {
	if err := s.begin(ctx, "Alerts"); err != nil {
		return nil, "", err
	}
	defer s.mu.Unlock()
	var out []keyturn.Alert
	for _, a := range s.alerts {
		if (f.State == "" || a.State == f.State) && (f.Kind == "" || a.Kind == f.Kind) &&
			(f.Policy == "" || a.Policy == f.Policy) && (f.Target == "" || a.Target == f.Target) {
			out = append(out, a)
		}
	}
	return out, "", nil
}

func (s *Store) alert(id keyturn.ID) int {
	return slices.IndexFunc(s.alerts, func(a keyturn.Alert) bool { return a.ID == id })
}

// Alert implements api.AlertStore.
func (s *Store) Alert(ctx context.Context, id keyturn.ID) (keyturn.Alert, []keyturn.AlertChange, error) {
	if err := s.begin(ctx, "Alert"); err != nil {
		return keyturn.Alert{}, nil, err
	}
	defer s.mu.Unlock()
	i := s.alert(id)
	if i < 0 {
		return keyturn.Alert{}, nil, keyturn.ErrNotFound
	}
	return s.alerts[i], s.changes[id], nil
}

// AckAlert implements api.AlertStore.
func (s *Store) AckAlert(ctx context.Context, id keyturn.ID, ack keyturn.Ack) (keyturn.Alert, error) {
	if err := s.begin(ctx, "AckAlert"); err != nil {
		return keyturn.Alert{}, err
	}
	defer s.mu.Unlock()
	i := s.alert(id)
	if i < 0 {
		return keyturn.Alert{}, keyturn.ErrNotFound
	}
	if s.alerts[i].State == keyturn.AlertResolved {
		return keyturn.Alert{}, keyturn.ErrConflict
	}
	a := &s.alerts[i]
	a.State, a.AckedBy, a.AckedUntil, a.AckNote = keyturn.AlertAcknowledged, ack.By, ack.Until, ack.Note
	return *a, nil
}
