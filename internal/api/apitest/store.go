// Package apitest is a store in memory for tests of the API and of the
// commands that call it. It keeps to the contract of api.Store as far as those
// tests look; the real stores are held to it by storagetest.
package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// Store is a store in memory. Its zero value is empty and ready.
type Store struct {
	// Fail, if set, is asked before each call, by the method's name.
	Fail func(method string) error
	// OnRotation, if set, may change a rotation before it is answered.
	OnRotation func(*keyturn.Rotation)
	// DefaultTasks are those of rotations that were not added with tasks.
	DefaultTasks []keyturn.Task
	// Clock is the database's clock; nil: a fixed time.
	Clock func() time.Time

	mu        sync.Mutex
	rotations []keyturn.Rotation
	tasks     map[keyturn.ID][]keyturn.Task
	details   map[keyturn.ID]keyturn.TaskDetail
	units     []keyturn.Unit
	history   []keyturn.KeyRecord
	alerts    []keyturn.Alert
	changes   map[keyturn.ID][]keyturn.AlertChange
	resources []keyturn.Resource
	tokens    []storedToken
	audit     []keyturn.AuditEntry
	lookups   int
	asked     []string // targets to look at
}

type storedToken struct {
	keyturn.Token
	hash [32]byte
}

// Epoch is the time of a store without a clock.
func Epoch() time.Time { return time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC) }

// begin locks the store, unless the call is to fail.
func (s *Store) begin(ctx context.Context, method string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Fail != nil {
		if err := s.Fail(method); err != nil {
			return err
		}
	}
	s.mu.Lock()
	return nil
}

func (s *Store) now() time.Time {
	if s.Clock != nil {
		return s.Clock()
	}
	return Epoch()
}

// AddUnits adds units.
func (s *Store) AddUnits(units ...keyturn.Unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units = append(s.units, units...)
}

// AddHistory adds key records.
func (s *Store) AddHistory(records ...keyturn.KeyRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, records...)
}

// AddRotation adds a rotation and its tasks.
func (s *Store) AddRotation(r keyturn.Rotation, tasks ...keyturn.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotations = append(s.rotations, r)
	if s.tasks == nil {
		s.tasks = map[keyturn.ID][]keyturn.Task{}
	}
	s.tasks[r.ID] = tasks
}

// AddResource adds a resource at generation 1. The spec is JSON.
func (s *Store) AddResource(kind keyturn.ResourceKind, name, spec string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources = append(s.resources, keyturn.Resource{
		Kind: kind, Name: name, Spec: json.RawMessage(spec), Generation: 1, CreatedAt: s.now(), UpdatedAt: s.now(),
	})
}

// SetRotation changes a rotation that is there.
func (s *Store) SetRotation(id keyturn.ID, change func(*keyturn.Rotation)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.rotations {
		if s.rotations[i].ID == id {
			change(&s.rotations[i])
		}
	}
}

// Lookups counts the calls of TokenByHash.
func (s *Store) Lookups() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookups
}

// Request implements api.Store.
func (s *Store) Request(ctx context.Context, req keyturn.Request) (keyturn.Rotation, bool, error) {
	if err := s.begin(ctx, "Request"); err != nil {
		return keyturn.Rotation{}, false, err
	}
	defer s.mu.Unlock()
	i := s.find(keyturn.KindPolicy, req.Policy)
	if i < 0 {
		return keyturn.Rotation{}, false, fmt.Errorf("policy: %w", keyturn.ErrNotFound)
	}
	slot := ""
	if req.Slot != nil {
		slot = req.Slot.Name()
	}
	for _, r := range s.rotations {
		if r.TriggerID != req.TriggerID || r.Slot != slot || slot != "" && r.Policy != req.Policy {
			continue
		}
		if r.Policy != req.Policy {
			return keyturn.Rotation{}, false, keyturn.ErrConflict
		}
		return r, false, nil
	}
	var policy keyturn.Policy
	if err := json.Unmarshal(s.resources[i].Spec, &policy); err != nil {
		return keyturn.Rotation{}, false, err
	}
	r := keyturn.Rotation{
		ID: keyturn.NewID(s.now()), Policy: req.Policy, Target: policy.Target, Trigger: req.Trigger, TriggerID: req.TriggerID,
		Reason: req.Reason, RequestedBy: req.RequestedBy, Only: req.Only, State: keyturn.RotationRequested, RequestedAt: s.now(), Slot: slot,
	}
	s.rotations = append(s.rotations, r)
	return r, true, nil
}

// TakenSlots implements api.Store.
func (s *Store) TakenSlots(ctx context.Context, policy string, slots []string) ([]string, error) {
	if err := s.begin(ctx, "TakenSlots"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var taken []string
	for _, r := range s.rotations {
		if r.Policy == policy && slices.Contains(slots, r.Slot) {
			taken = append(taken, r.Slot)
		}
	}
	return taken, nil
}

// Ping implements api.Store.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.begin(ctx, "Ping"); err != nil {
		return err
	}
	s.mu.Unlock()
	return nil
}

// Rotation implements api.Reader.
func (s *Store) Rotation(ctx context.Context, id keyturn.ID) (keyturn.Rotation, error) {
	if err := s.begin(ctx, "Rotation"); err != nil {
		return keyturn.Rotation{}, err
	}
	defer s.mu.Unlock()
	for i := range s.rotations {
		if s.rotations[i].ID != id {
			continue
		}
		if s.OnRotation != nil {
			s.OnRotation(&s.rotations[i])
		}
		return s.rotations[i], nil
	}
	return keyturn.Rotation{}, keyturn.ErrNotFound
}

// Rotations implements api.Reader.
func (s *Store) Rotations(ctx context.Context, f keyturn.RotationFilter) ([]keyturn.Rotation, string, error) {
	if err := s.begin(ctx, "Rotations"); err != nil {
		return nil, "", err
	}
	defer s.mu.Unlock()
	found := []keyturn.Rotation{}
	for _, r := range slices.Backward(s.rotations) {
		if (f.Policy == "" || r.Policy == f.Policy) && (f.State == "" || r.State == f.State) &&
			!r.RequestedAt.Before(f.From) && (f.To.IsZero() || r.RequestedAt.Before(f.To)) {
			found = append(found, r)
		}
	}
	items, next := paged(found, f.Page, func(r keyturn.Rotation) string { return r.ID.String() })
	return items, next, nil
}

// Tasks implements api.Reader.
func (s *Store) Tasks(ctx context.Context, rotation keyturn.ID, page keyturn.Page) ([]keyturn.Task, string, error) {
	if err := s.begin(ctx, "Tasks"); err != nil {
		return nil, "", err
	}
	defer s.mu.Unlock()
	tasks, ok := s.tasks[rotation]
	if !ok {
		tasks = s.DefaultTasks
	}
	items, next := paged(tasks, page, func(t keyturn.Task) string { return t.ID.String() })
	return items, next, nil
}

// Units implements api.Reader.
func (s *Store) Units(ctx context.Context, f keyturn.UnitFilter) ([]keyturn.Unit, string, error) {
	if err := s.begin(ctx, "Units"); err != nil {
		return nil, "", err
	}
	defer s.mu.Unlock()
	is := func(want string, have ...string) bool { return want == "" || slices.Contains(have, want) }
	found := []keyturn.Unit{}
	for _, u := range s.units {
		if is(f.Target, u.Target) && is(f.Project, u.ProjectID, u.ProjectName) &&
			is(f.Cluster, u.ClusterID, u.ClusterName) && is(f.Name, u.ID, u.Name, u.ClusterID, u.ProjectName+"/"+u.Name) {
			found = append(found, u)
		}
	}
	items, next := paged(found, f.Page, func(u keyturn.Unit) string { return u.ID })
	return items, next, nil
}

// History implements api.Reader. The unit's id only is looked at.
func (s *Store) History(ctx context.Context, f keyturn.HistoryFilter) ([]keyturn.KeyRecord, string, error) {
	if err := s.begin(ctx, "History"); err != nil {
		return nil, "", err
	}
	defer s.mu.Unlock()
	found := []keyturn.KeyRecord{}
	for _, r := range s.history {
		if (f.Unit == "" || r.Unit == f.Unit) && (f.Rotation.IsZero() || r.Rotation == f.Rotation) {
			found = append(found, r)
		}
	}
	items, next := paged(found, f.Page, func(r keyturn.KeyRecord) string { return r.ID.String() })
	return items, next, nil
}

// paged cuts a page out of a listing; the cursor is the key of the last item.
func paged[T any](all []T, page keyturn.Page, key func(T) string) (items []T, next string) {
	if page.After != "" {
		i := slices.IndexFunc(all, func(item T) bool { return key(item) == page.After })
		all = all[i+1:]
	}
	limit := page.Limit
	if limit == 0 {
		limit = 500
	}
	if len(all) <= limit {
		return slices.Clone(all), ""
	}
	return slices.Clone(all[:limit]), key(all[limit-1])
}

func (s *Store) find(kind keyturn.ResourceKind, name string) int {
	return slices.IndexFunc(s.resources, func(r keyturn.Resource) bool { return r.Kind == kind && r.Name == name })
}

// Resources implements api.ResourceStore.
func (s *Store) Resources(ctx context.Context) ([]keyturn.Resource, error) {
	if err := s.begin(ctx, "Resources"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Clone(s.resources), nil
}

// ResourcesOf implements api.ResourceStore.
func (s *Store) ResourcesOf(ctx context.Context, kind keyturn.ResourceKind) ([]keyturn.Resource, error) {
	all, err := s.Resources(ctx)
	return slices.DeleteFunc(all, func(r keyturn.Resource) bool { return r.Kind != kind }), err
}

// Resource implements api.ResourceStore.
func (s *Store) Resource(ctx context.Context, kind keyturn.ResourceKind, name string) (keyturn.Resource, error) {
	if err := s.begin(ctx, "Resource"); err != nil {
		return keyturn.Resource{}, err
	}
	defer s.mu.Unlock()
	if i := s.find(kind, name); i >= 0 {
		return s.resources[i], nil
	}
	return keyturn.Resource{}, keyturn.ErrNotFound
}

// ApplyResources implements api.ResourceStore.
func (s *Store) ApplyResources(ctx context.Context, changes []keyturn.ResourceChange) error {
	if err := s.begin(ctx, "ApplyResources"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	before := slices.Clone(s.resources)
	for _, c := range changes {
		if err := s.apply(c); err != nil {
			s.resources = before
			return err
		}
	}
	return nil
}

func (s *Store) apply(c keyturn.ResourceChange) error {
	i := s.find(c.Kind, c.Name)
	generation := int64(0)
	if i >= 0 {
		generation = s.resources[i].Generation
	}
	switch {
	case generation != c.Expect:
		return fmt.Errorf("%s %s changed meanwhile: %w", c.Kind, c.Name, keyturn.ErrConflict)
	case c.Spec == nil && i >= 0:
		s.resources = slices.Delete(slices.Clone(s.resources), i, i+1)
		return nil
	}
	r := keyturn.Resource{Kind: c.Kind, Name: c.Name, Spec: c.Spec, Generation: generation + 1, CreatedAt: s.now(), UpdatedAt: s.now()}
	setNext(&r.Status, c.Next)
	if i < 0 {
		s.resources = append(s.resources, r)
		return nil
	}
	r.CreatedAt, r.Status.Paused = s.resources[i].CreatedAt, s.resources[i].Status.Paused
	s.resources[i] = r
	return nil
}

func setNext(status *keyturn.ResourceStatus, next *keyturn.Slot) {
	status.NextSlot, status.NextAt = "", nil
	if next != nil {
		status.NextSlot, status.NextAt = next.Name(), &next.At
	}
}

// SetPaused implements api.ResourceStore.
func (s *Store) SetPaused(ctx context.Context, policy string, paused bool, by, note string, next *keyturn.Slot) error {
	if err := s.begin(ctx, "SetPaused"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	i := s.find(keyturn.KindPolicy, policy)
	if i < 0 {
		return keyturn.ErrNotFound
	}
	status := &s.resources[i].Status
	status.Paused, status.PausedBy, status.PauseNote, status.PausedUntil = paused, "", "", nil
	s.record(ctx)
	if paused {
		status.PausedBy, status.PauseNote = by, note
		return nil
	}
	setNext(status, next)
	return nil
}
