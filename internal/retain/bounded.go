package retain

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

// bounded gives a time limit to the calls that a job makes. A database that hangs must not hold a job for as long as
// the job may take: what is given up is done again, which changes nothing more.
type bounded struct{ Store }

func (b bounded) RenewKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, lease time.Duration) (busy bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.RenewKeyJob(ctx, job, owner, lease)
}

func (b bounded) UnitsOf(ctx context.Context, target, after string, limit int) ([]keyturn.Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.UnitsOf(ctx, target, after, limit)
}

func (b bounded) Hold(ctx context.Context, target, reason string, hold time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.Hold(ctx, target, reason, hold)
}

func (b bounded) BeginSnapshotLooks(ctx context.Context, units []string) ([]keyturn.SnapshotLook, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.BeginSnapshotLooks(ctx, units)
}

func (b bounded) SaveSnapshots(ctx context.Context, seen []keyturn.SeenSnapshot) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.SaveSnapshots(ctx, seen)
}

func (b bounded) EndSnapshotLooks(ctx context.Context, looks []keyturn.SnapshotLook) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.EndSnapshotLooks(ctx, looks)
}

func (b bounded) KeysToAudit(ctx context.Context, target, after string, limit int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.KeysToAudit(ctx, target, after, limit)
}

func (b bounded) KnownKeysAmong(ctx context.Context, target string, keys []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.KnownKeysAmong(ctx, target, keys)
}

func (b bounded) SaveKeyStates(ctx context.Context, target string, audit int64, states []keyturn.KeyState) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.SaveKeyStates(ctx, target, audit, states)
}

func (b bounded) EndKeyAudit(ctx context.Context, target string, audit int64) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.EndKeyAudit(ctx, target, audit)
}

func (b bounded) AskRetirement(ctx context.Context, key keyturn.KeyRef, by, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.AskRetirement(ctx, key, by, reason)
}

func (b bounded) NoteRetired(ctx context.Context, key keyturn.KeyRef) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.NoteRetired(ctx, key)
}
