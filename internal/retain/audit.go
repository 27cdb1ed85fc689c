package retain

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/keyturn/keyturn"
)

// auditPage is how many keys are asked about, and saved, at a time.
const auditPage = 1000

// audit asks a target's KMIP server about every key that the target's history or its snapshots name.
func (k *Keeper) audit(ctx context.Context, job keyturn.KeyJob, target keyturn.Target) (keyturn.KeyAudit, error) {
	result := keyturn.KeyAudit{States: map[keyturn.KeyLife]int{}}
	server, err := k.cfg.Servers.KeyServer(target)
	if err != nil {
		return result, err
	}
	defer server.Close()
	if result.Server, err = server.Describe(ctx); err != nil {
		return result, err
	}
	if err := k.askAll(ctx, server, job, target.Name, &result); err != nil {
		return result, err
	}
	if result.Orphans, err = k.orphans(ctx, server, job, target); err != nil {
		return result, fmt.Errorf("looking for keys that are in no history: %w", err)
	}
	result.RoundTrips = server.RoundTrips()
	return result, k.cfg.Store.EndKeyAudit(ctx, target.Name, job.Turn)
}

// askAll asks about all keys, and saves what was said of the last ones while it asks about the next.
func (k *Keeper) askAll(ctx context.Context, server KeyServer, job keyturn.KeyJob, target string, result *keyturn.KeyAudit) (err error) {
	saved := make(chan error, 1)
	saved <- nil
	defer func() { err = errors.Join(err, <-saved) }()
	for after := ""; ; {
		ids, err := k.cfg.Store.KeysToAudit(ctx, target, after, auditPage)
		if err != nil || len(ids) == 0 {
			return err
		}
		states, err := server.Keys(ctx, ids)
		if err != nil {
			return err
		}
		if err := <-saved; err != nil {
			saved <- nil
			return err
		}
		go func() { saved <- k.cfg.Store.SaveKeyStates(ctx, target, job.Turn, states) }()
		for _, s := range states {
			result.States[s.State]++
		}
		result.Keys += len(states)
		after = ids[len(ids)-1]
	}
}

// orphans looks for keys that bear names of the estate and are in no history. A pattern without wildcards is
// a name that the server looks for itself.
func (k *Keeper) orphans(ctx context.Context, server KeyServer, job keyturn.KeyJob, target keyturn.Target) (int, error) {
	pattern := target.KMIP.NamePattern
	if pattern == "" {
		return 0, nil
	}
	name := ""
	if !hasWildcards(pattern) {
		name = pattern
	}
	ids, err := server.Locate(ctx, name)
	if err != nil {
		return 0, err
	}
	found := 0
	for part := range slices.Chunk(ids, auditPage) {
		unknown, err := k.unknown(ctx, target.Name, part)
		if err != nil {
			return 0, err
		}
		states, err := server.Keys(ctx, unknown)
		if err != nil {
			return 0, err
		}
		orphans := slices.DeleteFunc(states, func(s keyturn.KeyState) bool {
			matches, err := path.Match(pattern, s.Name)
			return err != nil || !matches || s.State.Gone() || s.State == keyturn.KeyUnclear
		})
		for i := range orphans {
			orphans[i].Orphan = true
		}
		if len(orphans) > 0 {
			if err := k.cfg.Store.SaveKeyStates(ctx, target.Name, job.Turn, orphans); err != nil {
				return 0, err
			}
		}
		found += len(orphans)
	}
	return found, nil
}

// unknown returns those of the keys that neither the history nor the snapshots of a target name.
func (k *Keeper) unknown(ctx context.Context, target string, keys []string) ([]string, error) {
	known, err := k.cfg.Store.KnownKeysAmong(ctx, target, keys)
	if err != nil {
		return nil, err
	}
	slices.Sort(known)
	return slices.DeleteFunc(slices.Clone(keys), func(id string) bool {
		_, ok := slices.BinarySearch(known, id)
		return ok
	}), nil
}

func hasWildcards(pattern string) bool {
	return slices.ContainsFunc([]rune(pattern), func(r rune) bool { return r == '*' || r == '?' || r == '[' || r == '\\' })
}
