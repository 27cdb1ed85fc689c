package sqlite

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/sqlite/internal/db"
)

// UnnamedKeys implements worker.LookStore.
func (s *Store) UnnamedKeys(ctx context.Context, units []string) ([]keyturn.UnnamedKey, error) {
	var out []keyturn.UnnamedKey
	for _, unit := range units {
		rows, err := s.q.UnnamedKeys(ctx, s.read, unit)
		if err != nil {
			return nil, fmt.Errorf("reading the unnamed keys of unit %s: %w", unit, err)
		}
		for _, r := range rows {
			key := keyturn.UnnamedKey{Unit: unit, Marker: r.KeyID, From: toTime(r.UsedFrom), Observed: r.Origin == string(keyturn.OriginObserved)}
			if r.UsedUntil > 0 {
				until := toTime(r.UsedUntil)
				key.Until = &until
			}
			out = append(out, key)
		}
	}
	return out, nil
}

// NameKeys implements worker.LookStore.
func (s *Store) NameKeys(ctx context.Context, names []keyturn.KeyName) error {
	if len(names) == 0 {
		return nil
	}
	return s.inTx(ctx, fmt.Sprintf("recording the ids of %d keys", len(names)), func(ctx context.Context, tx *tx) error {
		for _, n := range names {
			err := s.q.NameKey(ctx, tx, db.NameKeyParams{UnitID: n.Unit, Marker: n.Marker, KeyID: n.KeyID, SeenAt: tx.now})
			if err != nil {
				return fmt.Errorf("unit %s: %w", n.Unit, err)
			}
		}
		return nil
	})
}

// keyOf is a key of a unit that is about to be shown.
type keyOf struct {
	unit string
	key  *string
}

// named puts the ids of keys in the place of their markers, where they are known.
func (s *Store) named(ctx context.Context, keys []keyOf) error {
	known := make(map[string]map[string]string) // by unit and marker
	for _, k := range keys {
		if !keyturn.IsKeyMarker(*k.key) {
			continue
		}
		names, ok := known[k.unit]
		if !ok {
			rows, err := s.q.KeyNamesOf(ctx, s.read, k.unit)
			if err != nil {
				return fmt.Errorf("reading the ids of the keys of unit %s: %w", k.unit, err)
			}
			names = make(map[string]string, len(rows))
			for _, r := range rows {
				names[r.Marker] = r.KeyID
			}
			known[k.unit] = names
		}
		if name, ok := names[*k.key]; ok {
			*k.key = name
		}
	}
	return nil
}

func (s *Store) nameTasks(ctx context.Context, tasks []keyturn.Task) error {
	keys := make([]keyOf, 0, 2*len(tasks))
	for i := range tasks {
		keys = append(keys, keyOf{tasks[i].Unit, &tasks[i].KeyBefore}, keyOf{tasks[i].Unit, &tasks[i].KeyAfter})
	}
	return s.named(ctx, keys)
}

func (s *Store) nameUnits(ctx context.Context, units []keyturn.Unit) error {
	keys := make([]keyOf, len(units))
	for i := range units {
		keys[i] = keyOf{units[i].ID, &units[i].KeyID}
	}
	return s.named(ctx, keys)
}

func (s *Store) nameRecords(ctx context.Context, records []keyturn.KeyRecord) error {
	keys := make([]keyOf, 0, 2*len(records))
	for i := range records {
		keys = append(keys, keyOf{records[i].Unit, &records[i].KeyID}, keyOf{records[i].Unit, &records[i].PreviousKeyID})
	}
	return s.named(ctx, keys)
}
