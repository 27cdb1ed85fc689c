package opsmanager

import "context"

// places are for the calls of one Discover: as many at a time as the target allows. Who holds one sends one request
// after the other.
type places chan struct{}

// newPlaces returns places of which as many are taken as there are of those that are wanted: what is asked ahead gets
// what is left.
func newPlaces(concurrency, wanted int) (p places, taken int) {
	p = make(places, max(1, concurrency))
	taken = min(wanted, cap(p))
	for range taken {
		p <- struct{}{}
	}
	return p, taken
}

// spare takes a place if one is free.
func (p places) spare() bool {
	select {
	case p <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p places) leave() { <-p }

// ahead is a question that is asked while the one before it is not answered yet. Its answer waits until its turn
// has come, so that it makes no difference to the result, nor to which of two errors is reported.
type ahead[T any] struct {
	cancel context.CancelFunc
	done   chan struct{}
	value  T
	err    error
}

// askAhead asks if there is a place to spare; nil: there is none, and it has to be asked when its turn has come. What it
// returns must be dropped. ask must obey its context.
func askAhead[T any](ctx context.Context, p places, ask func(context.Context) (T, error)) *ahead[T] {
	if !p.spare() {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx) //nolint:gosec // G118: drop calls it
	a := &ahead[T]{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer p.leave()
		a.value, a.err = ask(ctx)
	}()
	return a
}

// take returns the answer: that of a, or, if nobody asked ahead, of ask.
func (a *ahead[T]) take(ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	if a == nil {
		return ask(ctx)
	}
	<-a.done
	return a.value, a.err
}

// drop gives the question up, if it is not answered yet, and waits until nothing is left of it.
func (a *ahead[T]) drop() {
	if a != nil {
		a.cancel()
		<-a.done
	}
}
