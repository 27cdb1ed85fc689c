package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

// heldOutbox is a database whose announcements nobody gets until it is open.
type heldOutbox struct {
	worker.Store
	open atomic.Bool
}

func (s *heldOutbox) Unannounced(ctx context.Context, limit int, lease time.Duration) ([]keyturn.Announcement, error) {
	if !s.open.Load() {
		return nil, errGone
	}
	return s.Store.Unannounced(ctx, limit, lease)
}

// What is told of a task that is parked, and tried again by a person.
func TestParked(t *testing.T) {
	t.Parallel()
	waits := &keyturn.SystemError{Kind: keyturn.KindTransient, Waits: true, Code: "busy", Err: errors.New("busy")}
	parked := func(b *bundle, rotation keyturn.ID) keyturn.Task {
		b.t.Helper()
		for range 600 {
			for _, task := range b.tasks(rotation) {
				if task.State == keyturn.TaskParked {
					return task
				}
			}
			pass(time.Second)
		}
		b.t.Fatal("no task was parked")
		return keyturn.Task{}
	}
	// begin makes changes of the first unit uncertain; the second one keeps the rotation running.
	begin := func(b *bundle, again *atomic.Bool) {
		b.uncertainPark()
		b.system.apply = func(string, func()) error { return errAmbiguous }
		b.system.prepare = func(unit string) error {
			if unit != b.system.units[0].ID || again.Load() {
				return waits
			}
			return nil
		}
	}
	run := bundled(t)

	run("EachTimeIsTold", 2, func(t *testing.T, b *bundle) {
		begin(b, new(atomic.Bool))
		defer b.start("w1")()
		r := b.request("a")
		b.resolve(parked(b, r.ID).ID, keyturn.TaskPending, "")
		pass(time.Second)
		parked(b, r.ID)
		pass(10 * time.Second)
		ids := map[string]bool{}
		for _, e := range b.told("task.") {
			ids[e.ID] = true
		}
		if len(ids) != 2 {
			t.Errorf("told %v, want two events", ids)
		}
	})

	run("WhatIsTriedAgainBeforeItWasToldIsNotOver", 2, func(t *testing.T, b *bundle) {
		var again atomic.Bool
		begin(b, &again)
		store := &heldOutbox{Store: b.store}
		defer b.startOn("w1", store)()
		task := parked(b, b.request("a").ID)
		again.Store(true)
		b.resolve(task.ID, keyturn.TaskPending, "")
		store.open.Store(true)
		pass(time.Minute)
		if events := b.told("task."); len(events) > 0 {
			t.Errorf("told %s of a task that waits", events[0].Type)
		}
		if len(b.told("rotation.")) == 0 {
			t.Error("nothing at all was told")
		}
	})
}

// told returns the events so far whose type begins so.
func (b *bundle) told(begin string) []worker.Event {
	b.queue.mu.Lock()
	defer b.queue.mu.Unlock()
	var out []worker.Event
	for _, e := range b.queue.events {
		if strings.HasPrefix(e.Type, begin) {
			out = append(out, e)
		}
	}
	return out
}
