package retain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// Keys lists the keys that histories or snapshots name, with what is known of who needs them.
func (k *Keeper) Keys(ctx context.Context, f keyturn.KeyFilter) ([]keyturn.RetainedKey, string, error) {
	list := k.cfg.Store.RetainedPage
	if f.Bad {
		list = k.badPage
	}
	names, next, err := list(ctx, f)
	if err != nil {
		return nil, "", err
	}
	keys, err := k.retained(ctx, names)
	return keys, next, err
}

// badPage lists keys that are gone or not active any more, and orphans, by target and key.
func (k *Keeper) badPage(ctx context.Context, f keyturn.KeyFilter) ([]keyturn.KeyRef, string, error) {
	const mostPage = 1000
	limit := f.Page.Limit
	if limit <= 0 || limit > mostPage {
		limit = mostPage
	}
	after := keyturn.KeyRef{Target: f.Target}
	if f.Page.After != "" {
		after.Target, after.KeyID, _ = strings.Cut(f.Page.After, " ")
	}
	states, err := k.cfg.Store.BadKeys(ctx, after, limit)
	if err != nil {
		return nil, "", err
	}
	var names []keyturn.KeyRef
	for _, s := range states {
		if f.Target != "" && s.Target != f.Target {
			return names, "", nil
		}
		names = append(names, keyturn.KeyRef{Target: s.Target, KeyID: s.KeyID})
	}
	if len(states) < limit {
		return names, "", nil
	}
	last := names[len(names)-1]
	return names, last.Target + " " + last.KeyID, nil
}

// retained judges keys, in the order of their names.
func (k *Keeper) retained(ctx context.Context, names []keyturn.KeyRef) ([]keyturn.RetainedKey, error) {
	if len(names) == 0 {
		return []keyturn.RetainedKey{}, nil
	}
	now, err := k.cfg.Store.Now(ctx)
	if err != nil {
		return nil, err
	}
	uses, err := k.uses(ctx, names)
	if err != nil {
		return nil, err
	}
	var windows []keyturn.NeedWindow
	for i, name := range names {
		windows = append(windows, windowsOf(uses[name], i)...)
	}
	needs, err := k.cfg.Store.KeyNeeds(ctx, names, windows)
	if err != nil {
		return nil, err
	}
	states, err := k.cfg.Store.KeyStates(ctx, names)
	if err != nil {
		return nil, err
	}
	keys := make([]keyturn.RetainedKey, len(names))
	for i, name := range names {
		keys[i] = keyturn.Judge(name, uses[name], needs[i], now)
		if state, ok := states[name]; ok {
			keys[i].State = &state
		}
	}
	return keys, k.addPolicies(ctx, keys)
}

func (k *Keeper) uses(ctx context.Context, names []keyturn.KeyRef) (map[keyturn.KeyRef][]keyturn.KeyUse, error) {
	uses, err := k.cfg.Store.KeyUses(ctx, names)
	if err != nil {
		return nil, err
	}
	by := make(map[keyturn.KeyRef][]keyturn.KeyUse, len(names))
	for _, u := range uses {
		name := keyturn.KeyRef{Target: u.Unit.Target, KeyID: u.KeyID}
		by[name] = append(by[name], u)
	}
	return by, nil
}

func windowsOf(uses []keyturn.KeyUse, key int) []keyturn.NeedWindow {
	windows := make([]keyturn.NeedWindow, len(uses))
	for i, u := range uses {
		from, to := u.Window()
		windows[i] = keyturn.NeedWindow{Key: key, Unit: u.Unit.ID, From: from, To: to}
	}
	return windows
}

// addPolicies says which policies select the units.
func (k *Keeper) addPolicies(ctx context.Context, keys []keyturn.RetainedKey) error {
	policies := map[string][]keyturn.Policy{}
	for i := range keys {
		key := &keys[i]
		of, ok := policies[key.Target]
		if !ok {
			var err error
			if of, err = k.cfg.Store.PoliciesOf(ctx, key.Target); err != nil {
				return err
			}
			policies[key.Target] = of
		}
		for n := range key.Units {
			for _, p := range of {
				if p.Select.Match(key.Uses[n].Unit) {
					key.Units[n].Policies = append(key.Units[n].Policies, p.Name)
				}
			}
		}
	}
	return nil
}

// needing returns a few snapshots that need a key, those that are kept for longest first.
func (k *Keeper) needing(ctx context.Context, key keyturn.RetainedKey, limit int) ([]keyturn.Snapshot, error) {
	name := keyturn.KeyRef{Target: key.Target, KeyID: key.KeyID}
	return k.cfg.Store.NeedingSnapshots(ctx, name, windowsOf(key.Uses, 0), limit)
}

// snapshotWords names a snapshot as a person finds it.
func snapshotWords(s keyturn.Snapshot) string {
	return fmt.Sprintf("%s %s (%s)", s.ClusterName, s.CreatedAt.UTC().Format(time.RFC3339), s.ID)
}

func unique(ids []string) []string {
	slices.Sort(ids)
	return slices.Compact(ids)
}
