package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// KeepLease calls renew three times in each lease until stop is called, which waits for the last call, or ctx ends.
// When renew answers keyturn.ErrNotFound somebody else has the claim: lost is called, and nothing is renewed any more.
// Any other error is borne: the next try may come in time.
func KeepLease(ctx context.Context, lost func(), lease time.Duration, renew func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for sleep(ctx, lease/3) {
			if err := renew(ctx); errors.Is(err, keyturn.ErrNotFound) {
				lost()
				return
			}
		}
	})
	return func() {
		cancel()
		renewing.Wait()
	}
}
