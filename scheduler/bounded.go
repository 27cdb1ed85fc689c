package scheduler

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

// storeMost bounds one call of the store.
const storeMost = time.Minute

// bounded gives each call of the store a time limit. A database that hangs, or a connection whose other end
// is gone without a word, must not stop the clock for as long as TCP keeps hoping.
type bounded struct{ store Store }

func (b bounded) FireDue(ctx context.Context, limit int, decide func(keyturn.Due, time.Time) (keyturn.Firing, error)) ([]keyturn.Rotation, error) {
	ctx, cancel := context.WithTimeout(ctx, storeMost)
	defer cancel()
	return b.store.FireDue(ctx, limit, decide)
}

func (b bounded) ResumeDue(ctx context.Context, limit int, next func(keyturn.Policy, time.Time, time.Time) (*keyturn.Slot, error)) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, storeMost)
	defer cancel()
	return b.store.ResumeDue(ctx, limit, next)
}

func (b bounded) LookAtWindows(ctx context.Context, limit int, decide func(keyturn.WindowLook, time.Time) (keyturn.Opening, error)) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, storeMost)
	defer cancel()
	return b.store.LookAtWindows(ctx, limit, decide)
}

func (b bounded) Superseded(ctx context.Context, limit int) ([]keyturn.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, storeMost)
	defer cancel()
	return b.store.Superseded(ctx, limit)
}

func (b bounded) StopRotation(ctx context.Context, id keyturn.ID, by, reason string, cancelled bool) (keyturn.Rotation, error) {
	ctx, cancel := context.WithTimeout(ctx, storeMost)
	defer cancel()
	return b.store.StopRotation(ctx, id, by, reason, cancelled)
}

func (b bounded) NextDue(ctx context.Context) (in time.Duration, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeMost)
	defer cancel()
	return b.store.NextDue(ctx)
}
