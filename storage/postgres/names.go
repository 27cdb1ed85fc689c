package postgres

import (
	"context"
	"fmt"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// UnnamedKeys returns keys of the units' history whose ids are not known.
func (s *Store) UnnamedKeys(ctx context.Context, units []string) ([]keyturn.UnnamedKey, error) {
	rows, err := s.q.UnnamedKeys(ctx, s.pool, units)
	if err != nil {
		return nil, fmt.Errorf("reading the unnamed keys of %d units: %w", len(units), err)
	}
	out := make([]keyturn.UnnamedKey, len(rows))
	for i, r := range rows {
		out[i] = keyturn.UnnamedKey{Unit: r.UnitID, Marker: r.KeyID, From: r.UsedFrom.UTC(), Until: utc(r.UsedUntil), Observed: r.Origin == string(keyturn.OriginObserved)}
	}
	return out, nil
}

// NameKeys records the ids of keys. One that is known already stays.
func (s *Store) NameKeys(ctx context.Context, names []keyturn.KeyName) error {
	if len(names) == 0 {
		return nil
	}
	arg := db.NameKeysParams{Now: s.clock()}
	for _, n := range names {
		arg.Units, arg.Markers, arg.Keys = append(arg.Units, n.Unit), append(arg.Markers, n.Marker), append(arg.Keys, clean(n.KeyID))
	}
	if err := s.q.NameKeys(ctx, s.pool, arg); err != nil {
		return fmt.Errorf("recording the ids of %d keys: %w", len(names), err)
	}
	return nil
}

// keyOf is a key of a unit that is about to be shown.
type keyOf struct {
	unit string
	key  *string
}

// named puts the ids of keys in the place of their markers, where they are known.
func (s *Store) named(ctx context.Context, keys []keyOf) error {
	var units []string
	for _, k := range keys {
		if keyturn.IsKeyMarker(*k.key) {
			units = append(units, k.unit)
		}
	}
	if len(units) == 0 {
		return nil
	}
	rows, err := s.q.KeyNames(ctx, s.pool, units)
	if err != nil {
		return fmt.Errorf("reading the ids of keys: %w", err)
	}
	type marked struct{ unit, marker string }
	names := make(map[marked]string, len(rows))
	for _, r := range rows {
		names[marked{r.UnitID, r.Marker}] = r.KeyID
	}
	for _, k := range keys {
		if name, ok := names[marked{k.unit, *k.key}]; ok {
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
