package worker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

func TestKeepLease_BearsErrorsUntilTheClaimIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers := []error{nil, errors.New("the database is away"), nil, keyturn.ErrNotFound}
		var at []time.Duration
		lost := 0
		begin := time.Now()
		stop := worker.KeepLease(t.Context(), func() { lost++ }, 3*time.Second, func(context.Context) error {
			at = append(at, time.Since(begin))
			return answers[len(at)-1]
		})
		time.Sleep(time.Minute)
		stop()
		if len(at) != len(answers) || at[0] != time.Second || at[3] != 4*time.Second {
			t.Errorf("renewed at %v", at)
		}
		if lost != 1 {
			t.Errorf("lost %d times", lost)
		}
	})
}

func TestKeepLease_StopsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ended error
		stop := worker.KeepLease(t.Context(), func() { t.Error("it was lost") }, 3*time.Second, func(ctx context.Context) error {
			<-ctx.Done() // a database that hangs
			ended = ctx.Err()
			return ended
		})
		time.Sleep(2 * time.Second)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 0 || !errors.Is(ended, context.Canceled) {
			t.Errorf("it stopped after %s, with %v", took, ended)
		}
	})
}
