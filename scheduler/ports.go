// Package scheduler knows about time: it turns policies into slots, and slots
// that are due into rotations.
package scheduler

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

// Store is where policies wait for their slots.
type Store interface {
	// FireDue claims up to limit policies whose slot is due by the database's clock, skipping
	// those that another scheduler holds. For each it inserts the rotation, unless that slot has
	// one or the policy is paused, and advances to the slot that next returns (nil: no more).
	// All of it is one transaction with an announcement for each new rotation. An error of next
	// leaves that policy alone for a minute and does not stop the others.
	FireDue(ctx context.Context, limit int, next func(due keyturn.Due, now time.Time) (*keyturn.Slot, error)) (fired []keyturn.Rotation, err error)
	// NextDue returns how long it is until the next slot of any policy; negative: overdue.
	// ok is false when no policy waits for one.
	NextDue(ctx context.Context) (in time.Duration, ok bool, err error)
}

// Publisher wakes planners for new rotations.
type Publisher interface {
	PublishRotation(ctx context.Context, id keyturn.ID) error
}
