package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// ClaimLook takes one target whose keys are due to be looked at.
func (s *Store) ClaimLook(ctx context.Context, owner string, looks []keyturn.Look, wait keyturn.LookWait, lease time.Duration) (string, time.Time, error) {
	arg := db.ClaimLookParams{
		Owner: clean(owner), Lease: micros(lease), Now: s.clock(), Targets: make([]string, len(looks)), Everys: make([]int64, len(looks)),
		First: micros(wait.First), Patience: micros(wait.Patience), Soon: micros(wait.Soon), Trouble: micros(wait.Trouble),
	}
	for i, l := range looks {
		arg.Targets[i], arg.Everys[i] = l.Target, micros(l.Every.Std())
	}
	row, err := s.q.ClaimLook(ctx, s.pool, arg)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("claiming a look at keys: %w", notFound(err))
	}
	return row.Name, row.At.UTC(), nil
}

// RenewLook renews the claim, and answers whether a rotation works on the target.
func (s *Store) RenewLook(ctx context.Context, target, owner string, lease time.Duration) (bool, error) {
	busy, err := s.q.RenewLook(ctx, s.pool, db.RenewLookParams{Lease: micros(lease), Target: target, Owner: clean(owner), Now: s.clock()})
	if err != nil {
		return false, fmt.Errorf("renewing the look at target %s: %w", target, notFound(err))
	}
	return busy, nil
}

// EndLook gives the claim back.
func (s *Store) EndLook(ctx context.Context, target, owner string, began time.Time, done bool, retry time.Duration) error {
	n, err := s.q.EndLook(ctx, s.pool, db.EndLookParams{
		Done: done, Began: began, Retry: micros(retry), Target: target, Owner: clean(owner), Now: s.clock(),
	})
	if err == nil && n == 0 {
		err = keyturn.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("ending the look at target %s: %w", target, err)
	}
	return nil
}

// AskLook makes a look at the target's keys due now.
func (s *Store) AskLook(ctx context.Context, target string) error {
	err := s.audited(ctx, func(on db.DBTX) (bool, error) {
		n, err := s.q.AskLook(ctx, on, db.AskLookParams{Now: s.clock(), Target: target})
		if err == nil && n == 0 {
			err = keyturn.ErrNotFound
		}
		return true, err
	})
	if err != nil {
		return fmt.Errorf("asking for a look at target %s: %w", target, err)
	}
	return nil
}

// PoliciesOf returns the policies of a target.
func (s *Store) PoliciesOf(ctx context.Context, target string) ([]keyturn.Policy, error) {
	rows, err := s.q.PoliciesOfTarget(ctx, s.pool, target)
	if err != nil {
		return nil, fmt.Errorf("listing the policies of target %s: %w", target, err)
	}
	out := make([]keyturn.Policy, len(rows))
	for i, r := range rows {
		if out[i], err = policyOf(r.Name, r.Spec, r.Generation, r.Paused); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// SaveUnits records units as they are now. What is known of their keys stays.
func (s *Store) SaveUnits(ctx context.Context, units []keyturn.Unit) error {
	// In the order of their ids, as plans are saved: those who save the same units do not deadlock.
	byID := slices.SortedFunc(slices.Values(s.plan(units)), func(a, b planned) int { return cmp.Compare(a.ID, b.ID) })
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		for chunk := range slices.Chunk(byID, planChunk) {
			if err := s.q.SaveUnits(ctx, tx, saveUnits(chunk)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("saving %d units: %w", len(units), err)
	}
	return nil
}

// KnownKeys returns what is recorded of the units' keys now.
func (s *Store) KnownKeys(ctx context.Context, units []string) (map[string]keyturn.KnownKey, error) {
	rows, err := s.q.KnownKeys(ctx, s.pool, units)
	if err != nil {
		return nil, fmt.Errorf("reading the known keys of %d units: %w", len(units), err)
	}
	out := make(map[string]keyturn.KnownKey, len(rows))
	for _, r := range rows {
		out[r.UnitID] = keyturn.KnownKey{KeyID: r.KeyID, Busy: r.Busy}
	}
	return out, nil
}

// Observe records keys that were found in use, in one statement.
func (s *Store) Observe(ctx context.Context, seen []keyturn.Observation) ([]keyturn.ObservedKey, error) {
	out := make([]keyturn.ObservedKey, len(seen))
	arg := db.ObserveParams{Now: s.clock(), Announcement: s.newID()}
	first := make(map[string]int, len(seen))
	for i, o := range seen {
		out[i] = keyturn.ObservedRefused
		if _, twice := first[o.Unit]; twice || o.KeyID == "" {
			continue
		}
		first[o.Unit] = i
		arg.Units, arg.Known = append(arg.Units, o.Unit), append(arg.Known, o.Known)
		arg.Keys, arg.Ids = append(arg.Keys, clean(o.KeyID)), append(arg.Ids, s.newID())
		arg.Sinces = append(arg.Sinces, sinceOf(o))
	}
	if len(first) == 0 {
		return out, nil
	}
	taken, err := retry(ctx, func() ([]string, error) { return s.q.Observe(ctx, s.pool, arg) })
	if err != nil {
		return nil, fmt.Errorf("recording %d observed keys: %w", len(seen), err)
	}
	for _, unit := range taken {
		i := first[unit]
		out[i] = seen[i].Outcome()
	}
	return out, nil
}

// sinceOf is when a key came into use; before all times: it is not known.
func sinceOf(o keyturn.Observation) time.Time {
	if o.Since.IsZero() {
		return time.Unix(0, 0)
	}
	return o.Since
}

// AnnouncedKeys returns the key records that an announcement names.
func (s *Store) AnnouncedKeys(ctx context.Context, ids []keyturn.ID) ([]keyturn.KeyRecord, error) {
	rows, err := s.q.KeyRecordsByID(ctx, s.pool, ids)
	if err != nil {
		return nil, fmt.Errorf("reading %d key records: %w", len(ids), err)
	}
	out := make([]keyturn.KeyRecord, len(rows))
	for i, row := range rows {
		out[i] = recordOf(row, nil)
	}
	return out, nil
}
