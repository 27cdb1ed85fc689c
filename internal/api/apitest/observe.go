package apitest

import (
	"context"
	"slices"

	"github.com/keyturn/keyturn"
)

// AskLook implements api.Store.
func (s *Store) AskLook(ctx context.Context, target string) error {
	if err := s.begin(ctx, "AskLook"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.resources, func(r keyturn.Resource) bool { return r.Kind == keyturn.KindTarget && r.Name == target }) {
		return keyturn.ErrNotFound
	}
	s.asked = append(s.asked, target)
	s.record(ctx)
	return nil
}

// Asked returns the targets that somebody asked a look at.
func (s *Store) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}
