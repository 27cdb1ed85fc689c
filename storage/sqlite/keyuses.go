package sqlite

import (
	"context"
	"database/sql"
	"fmt"
)

// maxEntered is how many records of the history are entered into key_uses in one transaction: nothing
// else is written meanwhile, for some 20 ms.
const maxEntered = 5000

// byKey reads what is found by keys, of one moment of the database at which key_uses has all of the history.
func (s *Store) byKey(ctx context.Context, read func(on querier) error) error {
	for { // what is recorded between the two is entered the next time round
		entered, err := s.ifEntered(ctx, read)
		if entered || err != nil {
			return err
		}
		if err := s.enterUses(ctx); err != nil {
			return err
		}
	}
}

// collectByKey is collect for a query over key_uses.
func collectByKey[T any](ctx context.Context, s *Store, scan func(*sql.Rows) (T, error), query string, args ...any) (out []T, err error) {
	err = s.byKey(ctx, func(on querier) error {
		out, err = collect(ctx, on, scan, query, args...)
		return err
	})
	return out, err
}

// ifEntered calls read if key_uses has all of the history, and reports whether it has.
func (s *Store) ifEntered(ctx context.Context, read func(on querier) error) (bool, error) {
	tx, err := s.read.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("beginning to read: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it wrote nothing
	entered := false
	err = tx.QueryRowContext(ctx,
		`SELECT NOT EXISTS (SELECT 1 FROM key_records WHERE seq > (SELECT seq FROM key_uses_entered))`).Scan(&entered)
	if err != nil {
		return false, fmt.Errorf("looking for records of keys that are not entered: %w", err)
	}
	if !entered {
		return false, nil
	}
	return true, read(tx)
}

// enterUses enters what was added to the history into key_uses, by and by.
func (s *Store) enterUses(ctx context.Context) error {
	for {
		more := false
		err := s.inTx(ctx, "entering who used which key", func(ctx context.Context, tx *tx) (err error) {
			more, err = tx.enterUses(ctx)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}

// enterAllUses enters what is left, for a transaction that goes by key_uses.
func (t *tx) enterAllUses(ctx context.Context) error {
	for {
		if more, err := t.enterUses(ctx); err != nil || !more {
			return err
		}
	}
}

// enterUses enters the first records of the history that are not in key_uses, and reports whether there are more.
// They are sorted, so that those of one page are written together.
func (t *tx) enterUses(ctx context.Context) (more bool, err error) {
	var entered, newest int64
	err = t.QueryRowContext(ctx, `SELECT seq, coalesce((SELECT max(seq) FROM key_records), 0) FROM key_uses_entered`).Scan(&entered, &newest)
	if err != nil {
		return false, fmt.Errorf("reading how far keys are entered: %w", err)
	}
	upTo := min(newest, entered+maxEntered)
	if upTo <= entered {
		return false, nil
	}
	if _, err := t.ExecContext(ctx, `INSERT INTO key_uses (key_id, unit_id)
		SELECT DISTINCT key_id, unit_id FROM key_records WHERE seq > ?1 AND seq <= ?2 ORDER BY 1, 2
		ON CONFLICT DO NOTHING`, entered, upTo); err != nil {
		return false, fmt.Errorf("entering keys: %w", err)
	}
	if _, err := t.ExecContext(ctx, `UPDATE key_uses_entered SET seq = ?1`, upTo); err != nil {
		return false, fmt.Errorf("recording how far keys are entered: %w", err)
	}
	return upTo < newest, nil
}
