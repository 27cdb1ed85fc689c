package opsmanager

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCached_ReadsOnceForAllThatAskAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCached[int64]()
		var reads atomic.Int64
		read := func(context.Context) (int64, error) {
			time.Sleep(time.Second)
			return reads.Add(1), nil
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if v, err := c.get(t.Context(), time.Now, 3*time.Second, read); v != 1 || err != nil {
					t.Errorf("%d, %v", v, err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		if v, _ := c.get(t.Context(), time.Now, 3*time.Second, read); v != 1 {
			t.Errorf("asked again after 2s: %d", v)
		}
		if v, _ := c.get(t.Context(), time.Now, 0, read); v != 2 {
			t.Errorf("what must be new was read before: %d", v)
		}
		time.Sleep(4 * time.Second)
		if v, _ := c.get(t.Context(), time.Now, 3*time.Second, read); v != 3 {
			t.Errorf("old after 4s, and still taken: %d", v)
		}
		if n := reads.Load(); n != 3 {
			t.Errorf("%d reads", n)
		}
	})
}

func TestCached_WhatWasReadBeforeAChangeIsWorthNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCached[string]()
		slow := func(context.Context) (string, error) {
			time.Sleep(2 * time.Second)
			return "before", nil
		}
		go func() { _, _ = c.get(t.Context(), time.Now, time.Minute, slow) }()
		time.Sleep(time.Second)
		c.invalidate(time.Now())
		time.Sleep(2 * time.Second)
		v, err := c.get(t.Context(), time.Now, time.Minute, func(context.Context) (string, error) { return "after", nil })
		if v != "after" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	})
}

func TestCached_ErrorsAreNotKeptAndWaitingObeysTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCached[int]()
		boom := errors.New("boom")
		if _, err := c.get(t.Context(), time.Now, time.Minute, func(context.Context) (int, error) { return 0, boom }); !errors.Is(err, boom) {
			t.Error(err)
		}
		var slow sync.WaitGroup
		defer slow.Wait()
		slow.Go(func() {
			_, _ = c.get(t.Context(), time.Now, time.Minute, func(context.Context) (int, error) { time.Sleep(time.Hour); return 1, nil })
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.get(ctx, time.Now, time.Minute, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// What was read of an estate is worth something for a minute, and may be large.
func TestProjects_AreForgottenThoughNobodyAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ps := projects{now: time.Now}
		held := func() int {
			ps.mu.Lock()
			defer ps.mu.Unlock()
			return len(ps.by)
		}
		first := ps.of("a")
		time.Sleep(listLife / 2)
		second := ps.of("b")
		if ps.of("a") != first {
			t.Error("a project was read twice within a minute")
		}
		time.Sleep(listLife * 3 / 4)
		if ps.of("b") != second || held() != 2 {
			t.Errorf("%d are held, and those in use may be new ones", held())
		}
		time.Sleep(2 * listLife)
		if n := held(); n != 0 {
			t.Errorf("%d are held for ever", n)
		}
		ps.of("c")
		time.Sleep(2 * listLife)
		if n := held(); n != 0 {
			t.Errorf("%d are held for ever: there is no second sweep", n)
		}
	})
}
