package apitest

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn"
)

// StopRotation implements api.RotationControl.
func (s *Store) StopRotation(ctx context.Context, id keyturn.ID, by, reason string, cancelled bool) (keyturn.Rotation, error) {
	if err := s.begin(ctx, "StopRotation"); err != nil {
		return keyturn.Rotation{}, err
	}
	defer s.mu.Unlock()
	r, err := s.rotation(id)
	if err != nil || r.State == keyturn.RotationCancelled {
		return s.copyOf(r), err
	}
	if r.State.Final() {
		return keyturn.Rotation{}, fmt.Errorf("it has ended already: %s: %w", r.State, keyturn.ErrConflict)
	}
	now := s.now()
	r.Halted, r.Trouble = true, keyturn.StopTrouble(by, reason, cancelled)
	r.Reason = r.Trouble
	if cancelled {
		r.CancelledBy, r.CancelledAt = by, &now
		r.State, r.FinishedAt = keyturn.RotationCancelled, &now
	}
	return *r, nil
}

// rotation finds a rotation; the store must be locked.
func (s *Store) rotation(id keyturn.ID) (*keyturn.Rotation, error) {
	for i := range s.rotations {
		if s.rotations[i].ID == id {
			return &s.rotations[i], nil
		}
	}
	return nil, keyturn.ErrNotFound
}

func (s *Store) copyOf(r *keyturn.Rotation) keyturn.Rotation {
	if r == nil {
		return keyturn.Rotation{}
	}
	return *r
}
