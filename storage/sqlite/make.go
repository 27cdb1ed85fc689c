package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// Amend implements worker.TaskStore.
func (s *Store) Amend(ctx context.Context, epoch int64, w keyturn.IntentWrite) error {
	return s.inTx(ctx, "amending the intent of task "+w.Task.String(), func(ctx context.Context, tx *tx) error {
		n, err := s.q.AmendTask(ctx, tx, db.AmendTaskParams{
			ID: w.Task.String(), Owner: w.Owner, Epoch: epoch, Want: w.Intent.Want, Data: w.Intent.Data,
			LeaseUntil: tx.in(w.Lease), ApplyBy: tx.in(w.ApplyFor),
		})
		if err == nil && n == 0 {
			err = s.notRenewed(ctx, tx, w.Task)
		}
		return err
	})
}

// providedKey is written by hand because sqlc's SQLite parser does not know ->>.
const providedKey = `SELECT coalesce(only_units -> 'keys' ->> ?2, '') FROM rotations WHERE id = ?1`

// ProvidedKey implements worker.TaskStore.
func (s *Store) ProvidedKey(ctx context.Context, rotation keyturn.ID, unit string) (string, error) {
	var key string
	if err := s.read.QueryRowContext(ctx, providedKey, rotation.String(), unit).Scan(&key); err != nil {
		return "", fmt.Errorf("reading which key was provided for unit %s: %w", unit, found(err))
	}
	return key, nil
}

const exclusivesTaken = `
SELECT t.exclusive FROM json_each(?1) names CROSS JOIN tasks t ON t.exclusive = names.value AND t.state = 'intended'`

// exclusives returns which of the things that the writes want for themselves an open intent has.
func (t *tx) exclusives(ctx context.Context, writes []keyturn.IntentWrite) (map[string]bool, error) {
	taken := map[string]bool{}
	var names []string
	for _, w := range writes {
		if w.Intent.Exclusive != "" {
			names = append(names, w.Intent.Exclusive)
		}
	}
	if len(names) == 0 {
		return taken, nil
	}
	list, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	err = eachRow(ctx, t, exclusivesTaken, func(rows *sql.Rows) error {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		taken[name] = true
		return nil
	}, string(list))
	return taken, err
}
