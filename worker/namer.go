package worker

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// NameStore keeps the ids of keys that no system names when they are made.
type NameStore interface {
	// UnnamedKeys returns keys of the units' history that are known by a marker only (keyturn.IsKeyMarker),
	// oldest first for each unit.
	UnnamedKeys(ctx context.Context, units []string) ([]keyturn.UnnamedKey, error)
	// NameKeys records ids. One that is known already stays as it is.
	NameKeys(ctx context.Context, names []keyturn.KeyName) error
}

// name finds the ids of keys that were seen and have a marker only. A key's id is what the first complete snapshot
// says that was made while the key was in use. What can't be found out now is looked for at the next look.
func (v *view) name(ctx context.Context) error {
	lister, ok := As[SnapshotLister](v.sys)
	if !ok {
		return nil
	}
	var units []string
	for _, s := range v.seen {
		if keyturn.IsKeyMarker(s.KeyID) || keyturn.IsKeyMarker(s.Known) {
			units = append(units, s.Unit)
		}
	}
	if len(units) == 0 {
		return nil
	}
	unnamed, err := v.l.store.UnnamedKeys(ctx, units)
	if err != nil || len(unnamed) == 0 {
		return err
	}
	byUnit := make(map[string][]keyturn.UnnamedKey)
	for _, k := range unnamed {
		byUnit[k.Unit] = append(byUnit[k.Unit], k)
	}
	var names []keyturn.KeyName
	for unit, keys := range byUnit {
		if ctx.Err() != nil || v.gate.held(v.l.now()) > 0 {
			break
		}
		found, err := v.named(ctx, lister, unit, keys)
		if err != nil {
			v.l.log.Info("the ids of keys can't be had from snapshots", zap.String("unit", unit), zap.Error(err))
			continue
		}
		names = append(names, found...)
	}
	if len(names) == 0 {
		return ctx.Err()
	}
	return v.l.store.NameKeys(ctx, names)
}

// named asks for a unit's snapshots and finds the ids of its keys in them.
func (v *view) named(ctx context.Context, lister SnapshotLister, unit string, keys []keyturn.UnnamedKey) ([]keyturn.KeyName, error) {
	ctx, cancel := context.WithTimeout(ctx, v.target.WithDefaults().Timeouts.Request.Std())
	defer cancel()
	var all []keyturn.Snapshot
	err := lister.Snapshots(ctx, unit, func(s keyturn.Snapshot) bool {
		all = append(all, s)
		return true
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b keyturn.Snapshot) int { return a.CreatedAt.Compare(b.CreatedAt) })
	var names []keyturn.KeyName
	for i, k := range keys {
		if i+1 < len(keys) {
			k = endedBy(k, keys[i+1])
		}
		if id := idOf(k, all); id != "" {
			names = append(names, keyturn.KeyName{Unit: unit, Marker: k.Marker, KeyID: id})
		}
	}
	return names, nil
}

// idOf finds the id of a key in snapshots, oldest first; empty: they do not tell it. From is by our clock, and
// snapshots by the system's: the id of an older key is known by snapshots from before the key's rotation began.
func idOf(k keyturn.UnnamedKey, all []keyturn.Snapshot) string {
	made := sinceOf(k.Marker).Add(-rotationTakes)
	older := map[string]bool{}
	for _, s := range all {
		switch {
		case s.CreatedAt.Before(made):
			older[s.KeyID] = true
		case inUse(k, s) && !older[s.KeyID]:
			return s.KeyID
		}
	}
	return ""
}

// endedBy is the key with its end, if the next one's marker says that it ended before. Markers have the system's clock.
func endedBy(k, next keyturn.UnnamedKey) keyturn.UnnamedKey {
	if at := sinceOf(next.Marker); !at.IsZero() && (k.Until == nil || at.Before(*k.Until)) {
		k.Until = &at
	}
	return k
}

// rotationTakes is how long agents may take for a rotation that somebody else asked for.
const rotationTakes = time.Hour

// inUse reports whether a snapshot tells the id of a key: it is complete, and was made while the key was in use.
func inUse(k keyturn.UnnamedKey, s keyturn.Snapshot) bool {
	from := k.From
	if k.Observed {
		from = from.Add(rotationTakes)
	}
	return s.Complete && s.KeyID != "" && s.CreatedAt.After(from) && (k.Until == nil || s.CreatedAt.Before(*k.Until))
}

// sinceOf is when a key came into use, as far as its id tells.
func sinceOf(key string) time.Time {
	at, _ := keyturn.KeyMarkerTime(key)
	return at
}
