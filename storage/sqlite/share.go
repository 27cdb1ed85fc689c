package sqlite

import (
	"context"
	"fmt"
	"runtime"
)

// shareYields is how often others may run before a shared transaction begins: who is about to write writes in it, too. The
// groups of intents and of results, which end together, then come together again.
const shareYields = 16

// share is what one caller writes in a shared transaction.
type share struct {
	doing string
	fn    func(context.Context, *tx) error
	done  chan struct{} // closed when err says what became of it
	err   error
}

// inShared is inTx for what is written all the time: all that waits for the writer has one transaction, and so one commit.
// fn may run twice: if one of them fails, each gets a transaction of its own. If ctx ends while it waits, fn may still be
// carried out.
func (s *Store) inShared(ctx context.Context, doing string, fn func(context.Context, *tx) error) error {
	w := s.writer
	mine := &share{doing: doing, fn: fn, done: make(chan struct{})}
	w.mu.Lock()
	w.waiting = append(w.waiting, mine)
	begin := !w.sharing
	w.sharing = true
	w.mu.Unlock()
	if begin {
		go s.share(context.WithoutCancel(ctx)) // it is not only this caller's
	}
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
}

// share carries shared transactions out until nobody waits for one.
func (s *Store) share(ctx context.Context) {
	w := s.writer
	for {
		for range shareYields {
			runtime.Gosched()
		}
		w.turn <- struct{}{} // whoever has it is writing, and ends
		w.mu.Lock()
		group := w.waiting
		w.waiting, w.sharing = nil, len(group) > 0
		w.mu.Unlock()
		s.writeAll(ctx, group)
		<-w.turn
		for _, m := range group {
			close(m.done)
		}
		if len(group) == 0 {
			return
		}
	}
}

func (s *Store) writeAll(ctx context.Context, group []*share) {
	if len(group) == 0 {
		return
	}
	err := s.transact(ctx, group[0].doing, func(ctx context.Context, t *tx) error {
		for _, m := range group {
			if err := m.fn(ctx, &tx{w: t.w, now: s.nowMS()}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil || len(group) == 1 {
		group[0].err = err
		return
	}
	for _, m := range group {
		m.err = s.transact(ctx, m.doing, m.fn)
	}
}
