package apitest

import (
	"context"
	"slices"

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
		return keyturn.Rotation{}, keyturn.Conflictf("it has ended already: %s", r.State)
	}
	now := s.now()
	r.Halted, r.Trouble = true, keyturn.StopTrouble(by, reason, cancelled)
	r.Reason = r.Trouble
	if cancelled {
		r.CancelledBy, r.CancelledAt = by, &now
		r.State, r.FinishedAt = keyturn.RotationCancelled, &now
	}
	s.record(ctx)
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

// Clusters implements api.Reader.
func (s *Store) Clusters(ctx context.Context, id keyturn.ID) ([]keyturn.ClusterCounts, error) {
	if err := s.begin(ctx, "Clusters"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	r, err := s.rotation(id)
	return s.copyOf(r).Clusters, err
}

// Task implements api.Reader.
func (s *Store) Task(ctx context.Context, id keyturn.ID) (keyturn.Task, error) {
	if err := s.begin(ctx, "Task"); err != nil {
		return keyturn.Task{}, err
	}
	defer s.mu.Unlock()
	if task := s.task(id); task != nil {
		return *task, nil
	}
	return keyturn.Task{}, keyturn.ErrNotFound
}

// task finds a task; the store must be locked.
func (s *Store) task(id keyturn.ID) *keyturn.Task {
	for _, tasks := range s.tasks {
		for i := range tasks {
			if tasks[i].ID == id {
				return &tasks[i]
			}
		}
	}
	return nil
}

// ResolveTask implements api.RotationControl. It keeps no history.
func (s *Store) ResolveTask(ctx context.Context, d keyturn.Decision) (keyturn.Decided, error) {
	if err := s.begin(ctx, "ResolveTask"); err != nil {
		return keyturn.Decided{}, err
	}
	defer s.mu.Unlock()
	task := s.task(d.Task)
	if task == nil {
		return keyturn.Decided{}, keyturn.ErrNotFound
	}
	if task.State != keyturn.TaskParked {
		return keyturn.Decided{}, keyturn.Conflictf("it is %s: only what is parked can be resolved", task.State)
	}
	task.State, task.Reason, task.Resolution, task.KeyAfter = d.As, d.Text(), keyturn.ResolutionByPerson, d.Key
	r, err := s.rotation(task.Rotation)
	if err != nil {
		return keyturn.Decided{}, err
	}
	out := keyturn.Decided{Task: *task, Rotation: *r}
	if d.As == keyturn.TaskPending && r.State.Final() {
		task.State, out.Task.State = keyturn.TaskFailed, keyturn.TaskFailed
		retry := s.retry(*r, d.By, d.Reason)
		out.Retry = &retry
	}
	s.record(ctx)
	return out, nil
}

// ResumeRotation implements api.RotationControl: all is missing, unless the rotation succeeded.
func (s *Store) ResumeRotation(ctx context.Context, id keyturn.ID, by, reason string) (keyturn.Resumed, error) {
	if err := s.begin(ctx, "ResumeRotation"); err != nil {
		return keyturn.Resumed{}, err
	}
	defer s.mu.Unlock()
	r, err := s.rotation(id)
	if err != nil {
		return keyturn.Resumed{}, err
	}
	if !r.State.Final() || r.State == keyturn.RotationSucceeded {
		return keyturn.Resumed{}, keyturn.Conflictf("nothing is missing")
	}
	for _, other := range s.rotations {
		if other.RetryOf != nil && *other.RetryOf == id && !other.State.Final() {
			return keyturn.Resumed{Rotation: other}, nil
		}
	}
	parked := r.Counts.Parked
	retry := s.retry(*r, by, reason)
	s.record(ctx)
	return keyturn.Resumed{Rotation: retry, Created: true, Parked: parked}, nil
}

func (s *Store) retry(of keyturn.Rotation, by, reason string) keyturn.Rotation {
	r := keyturn.Rotation{
		ID: keyturn.NewID(s.now()), Policy: of.Policy, Target: of.Target, Trigger: keyturn.TriggerRetry, RetryOf: &of.ID,
		Reason: reason, RequestedBy: by, State: keyturn.RotationRequested, RequestedAt: s.now(),
	}
	s.rotations = append(s.rotations, r)
	return r
}

// record keeps the audit entry of a change; the store must be locked.
func (s *Store) record(ctx context.Context) {
	if entry, ok := keyturn.AuditOf(ctx); ok {
		entry.ID, entry.At = keyturn.NewID(s.now()), s.now()
		s.audit = append(s.audit, entry)
	}
}

// WriteAudit implements api.Store.
func (s *Store) WriteAudit(ctx context.Context) error {
	if err := s.begin(ctx, "WriteAudit"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.record(ctx)
	return nil
}

// Audit implements api.Reader.
func (s *Store) Audit(ctx context.Context, f keyturn.AuditFilter) ([]keyturn.AuditEntry, string, error) {
	if err := s.begin(ctx, "Audit"); err != nil {
		return nil, "", err
	}
	defer s.mu.Unlock()
	all := slices.Clone(s.audit)
	slices.Reverse(all)
	items, next := paged(all, f.Page, func(e keyturn.AuditEntry) string { return e.ID.String() })
	return items, next, nil
}
