// Package scheduler knows about time: it turns policies into slots, and slots
// that are due into rotations.
package scheduler

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

// Store is where policies wait for their slots. Its clock is the only one that
// counts: callbacks get the time from it. They run inside a transaction, must
// not use the store, and may be called again when the transaction is repeated.
type Store interface {
	// FireDue claims up to limit policies whose slot is due, skipping those that another scheduler
	// holds (half of limit or fewer only if no others are left), and asks decide about each. It inserts the rotations that start, except those of slots
	// that have one and of a paused policy, and advances the policy. All of it is one transaction with
	// an announcement for each new rotation. An error of decide leaves that policy alone for a minute
	// and does not stop the others.
	FireDue(ctx context.Context, limit int, decide func(due keyturn.Due, now time.Time) (keyturn.Firing, error)) (fired []keyturn.Rotation, err error)
	// ResumeDue resumes up to limit policies whose pause has ended: each waits for the slot that next
	// returns (nil: none). It returns their names.
	ResumeDue(ctx context.Context, limit int, next func(policy keyturn.Policy, until, now time.Time) (*keyturn.Slot, error)) ([]string, error)
	// LookAtWindows asks decide about up to limit rotations under way whose windows have to be looked
	// at, and keeps the answer. An error of decide leaves that rotation as it is for a minute. It returns how
	// many it has asked about.
	LookAtWindows(ctx context.Context, limit int, decide func(look keyturn.WindowLook, now time.Time) (keyturn.Opening, error)) (int, error)
	// Superseded returns rotations that have not ended and are not stopped yet, although a later one of
	// their policy is to take their place.
	Superseded(ctx context.Context, limit int) ([]keyturn.ID, error)
	// StopRotation stops what has not begun of a rotation. It answers ErrConflict if that has ended.
	StopRotation(ctx context.Context, id keyturn.ID, by, reason string, cancelled bool) (keyturn.Rotation, error)
	// NextDue returns how long it is until there is something to do: a slot, the end of a pause, or a
	// look at windows; negative: overdue. ok is false when nothing waits for a time.
	NextDue(ctx context.Context) (in time.Duration, ok bool, err error)
}

// Publisher wakes planners for new rotations.
type Publisher interface {
	// PublishRotations publishes one message for each id. An error means that some may be missing.
	PublishRotations(ctx context.Context, ids []keyturn.ID) error
}
