package apitest

import (
	"context"

	"github.com/keyturn/keyturn"
)

// SetDetail sets what is known of a task's attempts.
func (s *Store) SetDetail(task keyturn.ID, intent keyturn.TaskIntent, log ...keyturn.TaskLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.details == nil {
		s.details = map[keyturn.ID]keyturn.TaskDetail{}
	}
	s.details[task] = keyturn.TaskDetail{Intent: &intent, Log: log}
}

// TaskDetail implements api.Reader.
func (s *Store) TaskDetail(ctx context.Context, id keyturn.ID) (keyturn.TaskDetail, error) {
	task, err := s.Task(ctx, id)
	if err != nil {
		return keyturn.TaskDetail{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.details[id]
	out.Task = task
	if out.Log == nil {
		out.Log = []keyturn.TaskLine{}
	}
	return out, nil
}
