package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// ClaimLook implements worker.LookStore.
func (s *Store) ClaimLook(
	ctx context.Context, owner string, looks []keyturn.Look, wait keyturn.LookWait, lease time.Duration,
) (string, time.Time, error) {
	// Mostly none is due, and then nobody has to wait for the write lock.
	target, err := s.dueLook(ctx, s.read, looks, wait, s.nowMS())
	if err != nil || target == "" {
		return "", time.Time{}, notDue(err)
	}
	var began time.Time
	err = s.inTx(ctx, "claiming a look at keys", func(ctx context.Context, tx *tx) error {
		if target, err = s.dueLook(ctx, tx, looks, wait, tx.now); err != nil || target == "" {
			return notDue(err)
		}
		began = toTime(tx.now)
		return s.q.TakeLook(ctx, tx, db.TakeLookParams{Name: target, Owner: text(owner), Until: tx.in(lease)})
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return target, began, nil
}

func notDue(err error) error {
	if err != nil {
		return fmt.Errorf("finding a target to look at: %w", err)
	}
	return fmt.Errorf("finding a target to look at: %w", keyturn.ErrNotFound)
}

// dueLook returns the target whose keys are due to be looked at for longest; empty: none.
func (s *Store) dueLook(ctx context.Context, on db.DBTX, looks []keyturn.Look, wait keyturn.LookWait, now int64) (string, error) {
	best, since := "", int64(0)
	for _, look := range looks {
		row, err := s.q.DueLook(ctx, on, db.DueLookParams{Name: look.Target, Now: at(now)})
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return "", err
		}
		due := lookDue(row, look, wait)
		if !due.Valid || due.Int64 > now || best != "" && due.Int64 >= since {
			continue
		}
		if due.Int64+max(look.Every.Std(), wait.Patience).Milliseconds() > now {
			busy, err := s.runsSoon(ctx, on, look.Target, now+wait.Soon.Milliseconds())
			if err != nil {
				return "", err
			}
			if busy {
				continue
			}
		}
		best, since = look.Target, due.Int64
	}
	return best, nil
}

// lookDue is since when a look is due.
func lookDue(row db.DueLookRow, look keyturn.Look, wait keyturn.LookWait) sql.NullInt64 {
	due := row.ObserveAsked
	if look.Every <= 0 {
		return due
	}
	next := row.CreatedAt + min(wait.First, look.Every.Std()).Milliseconds()
	if row.ObservedAt.Valid {
		next = row.ObservedAt.Int64 + look.Every.Std().Milliseconds()
	}
	if row.TroubleSince.Valid {
		next = min(next, row.TroubleSince.Int64+wait.Trouble.Milliseconds())
	}
	if !due.Valid || next < due.Int64 {
		return at(next)
	}
	return due
}

func (s *Store) runsSoon(ctx context.Context, on db.DBTX, target string, soon int64) (bool, error) {
	runs, err := s.q.TargetRuns(ctx, on, target)
	if err != nil || runs == 1 {
		return true, err
	}
	waits, err := s.q.TargetWaits(ctx, on, db.TargetWaitsParams{Target: target, Soon: at(soon)})
	return waits == 1, err
}

// RenewLook implements worker.LookStore.
func (s *Store) RenewLook(ctx context.Context, target, owner string, lease time.Duration) (bool, error) {
	var busy int64
	err := s.inTx(ctx, "renewing the look at target "+target, func(ctx context.Context, tx *tx) error {
		n, err := s.q.RenewLook(ctx, tx, db.RenewLookParams{Name: target, Owner: text(owner), Until: tx.in(lease)})
		if err != nil {
			return err
		}
		if n == 0 {
			return keyturn.ErrNotFound
		}
		busy, err = s.q.TargetRuns(ctx, tx, target)
		return err
	})
	return busy == 1, err
}

// EndLook implements worker.LookStore.
func (s *Store) EndLook(ctx context.Context, target, owner string, began time.Time, done bool, retry time.Duration) error {
	return s.inTx(ctx, "ending the look at target "+target, func(ctx context.Context, tx *tx) error {
		var n int64
		var err error
		if done {
			n, err = s.q.EndLook(ctx, tx, db.EndLookParams{Name: target, Owner: text(owner), Now: at(tx.now), Began: at(began.UnixMilli())})
		} else {
			n, err = s.q.BreakLook(ctx, tx, db.BreakLookParams{Name: target, Owner: text(owner), After: tx.in(retry)})
		}
		if err == nil && n == 0 {
			return keyturn.ErrNotFound
		}
		return err
	})
}

// AskLook implements api.Store.
func (s *Store) AskLook(ctx context.Context, target string) error {
	return s.inTx(ctx, "asking for a look at target "+target, func(ctx context.Context, tx *tx) error {
		n, err := s.q.AskLook(ctx, tx, db.AskLookParams{Name: target, Now: at(tx.now)})
		if err == nil && n == 0 {
			err = keyturn.ErrNotFound
		}
		if err != nil {
			return err
		}
		return s.writeAudit(ctx, tx)
	})
}

// PoliciesOf implements worker.LookStore.
func (s *Store) PoliciesOf(ctx context.Context, target string) ([]keyturn.Policy, error) {
	rows, err := s.q.PoliciesOfTarget(ctx, s.read, target)
	if err != nil {
		return nil, fmt.Errorf("listing the policies of target %s: %w", target, err)
	}
	out := make([]keyturn.Policy, len(rows))
	for i, row := range rows {
		if out[i], err = toPolicy(row.Name, row.Spec, row.Generation, row.Paused != 0); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// SaveUnits implements worker.LookStore.
func (s *Store) SaveUnits(ctx context.Context, units []keyturn.Unit) error {
	return s.inTx(ctx, fmt.Sprintf("saving %d units", len(units)), func(ctx context.Context, tx *tx) error {
		saving := newSavingUnits()
		for i := range units {
			saving.add(&units[i])
			if !saving.full() {
				continue
			}
			if err := saving.flush(ctx, tx); err != nil {
				return err
			}
		}
		return saving.flush(ctx, tx)
	})
}

// KnownKeys implements worker.LookStore.
func (s *Store) KnownKeys(ctx context.Context, units []string) (map[string]keyturn.KnownKey, error) {
	out := make(map[string]keyturn.KnownKey, len(units))
	for _, unit := range units {
		row, err := s.q.KnownKey(ctx, s.read, unit)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the known key of unit %s: %w", unit, err)
		}
		out[unit] = keyturn.KnownKey{KeyID: row.KeyID, Busy: row.Busy == 1}
	}
	return out, nil
}

// Observe implements worker.LookStore.
func (s *Store) Observe(ctx context.Context, seen []keyturn.Observation) ([]keyturn.ObservedKey, error) {
	out := make([]keyturn.ObservedKey, len(seen))
	err := s.inTx(ctx, fmt.Sprintf("recording %d observed keys", len(seen)), func(ctx context.Context, tx *tx) error {
		var records []keyturn.ID
		for i, o := range seen {
			out[i] = keyturn.ObservedRefused
			row, err := s.q.KnownKey(ctx, tx, o.Unit)
			if errors.Is(err, sql.ErrNoRows) || err == nil && (row.Busy == 1 || row.KeyID != o.Known || o.KeyID == "") {
				continue
			}
			if err != nil {
				return fmt.Errorf("unit %s: %w", o.Unit, err)
			}
			if out[i] = o.Outcome(); out[i] == keyturn.ObservedSame {
				continue
			}
			id, err := s.recordObserved(ctx, tx, o, row.KeySince.Int64)
			if err != nil {
				return fmt.Errorf("unit %s: %w", o.Unit, err)
			}
			records = append(records, id)
		}
		return s.announceAll(ctx, tx, "keys", records)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Store) recordObserved(ctx context.Context, tx *tx, o keyturn.Observation, before int64) (keyturn.ID, error) {
	id := s.ids.next(tx.now)
	from, exact := tx.now, int64(0)
	if since := o.Since.UnixMilli(); !o.Since.IsZero() && since > before && since <= tx.now {
		from, exact = since, 1
	}
	err := s.q.InsertKeyRecord(ctx, tx, db.InsertKeyRecordParams{
		ID: id.String(), UnitID: o.Unit, KeyID: o.KeyID, PreviousKeyID: o.Known, UsedFrom: from, Origin: string(keyturn.OriginObserved),
	})
	if err != nil {
		return id, fmt.Errorf("adding to the history: %w", err)
	}
	err = s.q.SetUnitKey(ctx, tx, db.SetUnitKeyParams{UnitID: o.Unit, KeyID: o.KeyID, KeySince: at(from), Exact: exact})
	if err != nil {
		return id, fmt.Errorf("recording the unit's key: %w", err)
	}
	return id, nil
}

// AnnouncedKeys implements worker.AnnounceStore.
func (s *Store) AnnouncedKeys(ctx context.Context, ids []keyturn.ID) ([]keyturn.KeyRecord, error) {
	out := make([]keyturn.KeyRecord, 0, len(ids))
	for _, id := range ids {
		row, err := s.q.KeyRecord(ctx, s.read, id.String())
		if err != nil {
			return nil, fmt.Errorf("reading key record %s: %w", id, found(err))
		}
		record, err := toKeyRecord(db.KeyHistory{
			ID: row.ID, UnitID: row.UnitID, KeyID: row.KeyID, PreviousKeyID: row.PreviousKeyID, UsedFrom: row.UsedFrom,
			Origin: row.Origin, RotationID: row.RotationID, TaskID: row.TaskID,
		})
		if err != nil {
			return nil, err
		}
		out = append(out, record)
	}
	return out, nil
}
