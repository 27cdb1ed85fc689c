package worker

import (
	"context"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	callMost = time.Minute      // one call of the database that has no time limit of its own
	saveMost = 10 * time.Minute // saving a plan, which can be large
	newsMost = 5 * time.Second  // what is only news must not make a task wait
)

// bounded gives a time limit to the calls that have none of their own. A
// database that hangs, or a connection whose other end is gone without a word,
// must not hold a task or a rotation for as long as TCP keeps hoping. What is
// given up is repeated: every call may be.
type bounded struct{ Store }

func (b bounded) Reintend(ctx context.Context, task keyturn.ID, owner string, epoch int64, applyFor, lease time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.Reintend(ctx, task, owner, epoch, applyFor, lease)
}

func (b bounded) Amend(ctx context.Context, epoch int64, write keyturn.IntentWrite) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.Amend(ctx, epoch, write)
}

func (b bounded) ProvidedKey(ctx context.Context, rotation keyturn.ID, unit string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.ProvidedKey(ctx, rotation, unit)
}

func (b bounded) Take(ctx context.Context, task keyturn.ID, owner string, lease, settle time.Duration) (keyturn.Taken, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.Take(ctx, task, owner, lease, settle)
}

func (b bounded) ClaimRotation(ctx context.Context, id keyturn.ID, owner string, lease time.Duration) (keyturn.Rotation, keyturn.Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.ClaimRotation(ctx, id, owner, lease)
}

func (b bounded) SavePlan(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit) error {
	ctx, cancel := context.WithTimeout(ctx, saveMost)
	defer cancel()
	return b.Store.SavePlan(ctx, id, owner, units)
}

func (b bounded) SavePart(ctx context.Context, id keyturn.ID, owner string, units []keyturn.Unit, left int) error {
	ctx, cancel := context.WithTimeout(ctx, saveMost)
	defer cancel()
	return b.Store.SavePart(ctx, id, owner, units, left)
}

func (b bounded) SaveRollout(ctx context.Context, id keyturn.ID, owner string, plan keyturn.RolloutPlan) error {
	ctx, cancel := context.WithTimeout(ctx, saveMost)
	defer cancel()
	return b.Store.SaveRollout(ctx, id, owner, plan)
}

func (b bounded) FailRotation(ctx context.Context, id keyturn.ID, owner, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.FailRotation(ctx, id, owner, reason)
}

func (b bounded) PostponeRotation(ctx context.Context, id keyturn.ID, owner, reason string, after time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.PostponeRotation(ctx, id, owner, reason, after)
}

func (b bounded) Hold(ctx context.Context, target, reason string, hold time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.Hold(ctx, target, reason, hold)
}

func (b bounded) ClaimLook(
	ctx context.Context, owner string, looks []keyturn.Look, wait keyturn.LookWait, lease time.Duration,
) (target string, began time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.ClaimLook(ctx, owner, looks, wait, lease)
}

func (b bounded) RenewLook(ctx context.Context, target, owner string, lease time.Duration) (busy bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.RenewLook(ctx, target, owner, lease)
}

func (b bounded) PoliciesOf(ctx context.Context, target string) ([]keyturn.Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.PoliciesOf(ctx, target)
}

func (b bounded) SaveUnits(ctx context.Context, units []keyturn.Unit) error {
	ctx, cancel := context.WithTimeout(ctx, saveMost)
	defer cancel()
	return b.Store.SaveUnits(ctx, units)
}

func (b bounded) KnownKeys(ctx context.Context, units []string) (map[string]keyturn.KnownKey, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.KnownKeys(ctx, units)
}

func (b bounded) UnnamedKeys(ctx context.Context, units []string) ([]keyturn.UnnamedKey, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.UnnamedKeys(ctx, units)
}

func (b bounded) NameKeys(ctx context.Context, names []keyturn.KeyName) error {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.NameKeys(ctx, names)
}

func (b bounded) Observe(ctx context.Context, seen []keyturn.Observation) ([]keyturn.ObservedKey, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return b.Store.Observe(ctx, seen)
}

func (b bounded) TargetTrouble(ctx context.Context, target string, rejected bool, words string) error {
	ctx, cancel := context.WithTimeout(ctx, newsMost)
	defer cancel()
	return b.Store.TargetTrouble(ctx, target, rejected, words)
}

func (b bounded) TargetAnswered(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, newsMost)
	defer cancel()
	return b.Store.TargetAnswered(ctx, target)
}
