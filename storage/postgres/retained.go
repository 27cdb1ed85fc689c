package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/storage/postgres/internal/db"
)

// KeyJobs returns the jobs of every target, or of one.
func (s *Store) KeyJobs(ctx context.Context, target string, soon time.Duration) ([]keyturn.KeyJob, error) {
	rows, err := s.q.KeyJobs(ctx, s.pool, db.KeyJobsParams{Target: target, Soon: micros(soon), Now: s.clock()})
	if err != nil {
		return nil, fmt.Errorf("listing the looks at snapshots and keys: %w", err)
	}
	out := make([]keyturn.KeyJob, len(rows))
	for i, r := range rows {
		out[i] = keyturn.KeyJob{
			Target: r.Target, Kind: keyturn.KeyJobKind(r.Kind), Turn: r.Turn, CreatedAt: r.CreatedAt.UTC(), AskedAt: utc(r.AskedAt), DoneAt: utc(r.DoneAt),
			NotBefore: utc(r.NotBefore), HeldUntil: utc(r.HoldUntil), Taken: r.Taken, Busy: r.Busy, Trouble: r.Trouble,
		}
		if len(r.Result) > 0 {
			if err := json.Unmarshal(r.Result, &out[i].Result); err != nil {
				return nil, fmt.Errorf("reading the result of the audit of target %s: %w", r.Target, err)
			}
		}
	}
	return out, nil
}

// ClaimKeyJob takes a job as it was read, until the lease ends, and returns it as it is then.
func (s *Store) ClaimKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, lease time.Duration) (keyturn.KeyJob, error) {
	n, err := s.q.ClaimKeyJob(ctx, s.pool, db.ClaimKeyJobParams{
		Target: job.Target, Kind: string(job.Kind), Owner: clean(owner), Lease: micros(lease), Turn: job.Turn, Now: s.clock(),
	})
	if err == nil && n == 0 {
		err = keyturn.ErrNotFound
	}
	if err != nil {
		return job, fmt.Errorf("claiming the %s of target %s: %w", job.Kind, job.Target, err)
	}
	job.Turn++
	return job, nil
}

// RenewKeyJob renews the claim, and answers whether a rotation works on the target or it is held.
func (s *Store) RenewKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, lease time.Duration) (bool, error) {
	busy, err := s.q.RenewKeyJob(ctx, s.pool, db.RenewKeyJobParams{
		Target: job.Target, Kind: string(job.Kind), Owner: clean(owner), Lease: micros(lease), Turn: job.Turn, Now: s.clock(),
	})
	if err != nil {
		return false, fmt.Errorf("renewing the %s of target %s: %w", job.Kind, job.Target, notFound(err))
	}
	return busy, nil
}

// EndKeyJob gives the claim back.
func (s *Store) EndKeyJob(ctx context.Context, job keyturn.KeyJob, owner string, end keyturn.KeyJobEnd) error {
	arg := db.EndKeyJobParams{
		Trouble: clean(end.Trouble), Done: end.Done, Retry: micros(end.Retry), Target: job.Target, Kind: string(job.Kind), Owner: clean(owner),
		Turn: job.Turn, Now: s.clock(),
	}
	if end.Result != nil {
		var err error
		if arg.Result, err = json.Marshal(end.Result); err != nil {
			return fmt.Errorf("writing the result of the audit of target %s: %w", job.Target, err)
		}
	}
	n, err := s.q.EndKeyJob(ctx, s.pool, arg)
	if err == nil && n == 0 {
		err = keyturn.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("ending the %s of target %s: %w", job.Kind, job.Target, err)
	}
	return nil
}

// AskKeyJob makes a job due now.
func (s *Store) AskKeyJob(ctx context.Context, target string, kind keyturn.KeyJobKind) error {
	err := s.audited(ctx, func(on db.DBTX) (bool, error) {
		n, err := s.q.AskKeyJob(ctx, on, db.AskKeyJobParams{Now: s.clock(), Target: target, Kind: string(kind)})
		if err == nil && n == 0 {
			err = keyturn.ErrNotFound
		}
		return true, err
	})
	if err != nil {
		return fmt.Errorf("asking for the %s of target %s: %w", kind, target, err)
	}
	return nil
}

// BeginSnapshotLooks begins looks at the snapshots of units, in the order of the units.
func (s *Store) BeginSnapshotLooks(ctx context.Context, units []string) ([]keyturn.SnapshotLook, error) {
	rows, err := retry(ctx, func() ([]db.BeginSnapshotLooksRow, error) {
		return s.q.BeginSnapshotLooks(ctx, s.pool, db.BeginSnapshotLooksParams{Units: units, Now: s.clock()})
	})
	if err != nil {
		return nil, fmt.Errorf("beginning to look at the snapshots of %d units: %w", len(units), err)
	}
	out := make([]keyturn.SnapshotLook, len(rows))
	for i, r := range rows {
		out[i] = keyturn.SnapshotLook{Unit: r.UnitID, Number: r.Began}
	}
	slices.SortFunc(out, func(a, b keyturn.SnapshotLook) int { return cmp.Compare(a.Unit, b.Unit) })
	return out, nil
}

// SaveSnapshots records snapshots that looks have seen.
func (s *Store) SaveSnapshots(ctx context.Context, seen []keyturn.SeenSnapshot) error {
	var arg db.SaveSnapshotsParams
	type key struct{ unit, id string }
	had := make(map[key]bool, len(seen))
	for _, n := range slices.Backward(seen) { // the last word counts
		k := key{n.Unit, clean(n.ID)}
		if had[k] || k.id == "" {
			continue
		}
		had[k] = true
		arg.Units, arg.Ids, arg.Clusters = append(arg.Units, n.Unit), append(arg.Ids, k.id), append(arg.Clusters, clean(n.ClusterName))
		arg.Keys, arg.Created, arg.Expires = append(arg.Keys, clean(n.KeyID)), append(arg.Created, n.CreatedAt), append(arg.Expires, unixMicros(n.ExpiresAt))
		arg.Complete, arg.Keep, arg.Looks = append(arg.Complete, n.Complete), append(arg.Keep, n.Keep), append(arg.Looks, n.Look)
	}
	_, err := retry(ctx, func() (struct{}, error) { return struct{}{}, s.q.SaveSnapshots(ctx, s.pool, arg) })
	if err != nil {
		return fmt.Errorf("saving %d snapshots: %w", len(seen), err)
	}
	return nil
}

// unixMicros is a time as statements over many rows take it; 0: none.
func unixMicros(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return t.UnixMicro()
}

// EndSnapshotLooks ends looks, and forgets snapshots that are gone.
func (s *Store) EndSnapshotLooks(ctx context.Context, looks []keyturn.SnapshotLook) error {
	arg := db.EndSnapshotLooksParams{Now: s.clock()}
	for _, l := range looks {
		arg.Units, arg.Numbers, arg.Troubles = append(arg.Units, l.Unit), append(arg.Numbers, l.Number), append(arg.Troubles, clean(l.Trouble))
	}
	_, err := retry(ctx, func() (struct{}, error) { return struct{}{}, s.q.EndSnapshotLooks(ctx, s.pool, arg) })
	if err != nil {
		return fmt.Errorf("ending the look at the snapshots of %d units: %w", len(looks), err)
	}
	return nil
}

// RetainedPage lists the keys of the history, by id and target.
func (s *Store) RetainedPage(ctx context.Context, f keyturn.KeyFilter) ([]keyturn.KeyRef, string, error) {
	limit := limitOf(f.Page)
	arg := db.RetainedPageParams{Key: f.Key, Target: f.Target, Old: f.Old, ByUnit: f.Unit != "", Max: int32Of(limit + 1)}
	arg.AfterTarget, arg.AfterKey, _ = strings.Cut(f.Page.After, " ")
	if arg.ByUnit {
		var err error
		if arg.Units, err = s.q.UnitsCalled(ctx, s.pool, f.Unit); err != nil {
			return nil, "", fmt.Errorf("finding the units called %s: %w", f.Unit, err)
		}
	}
	rows, err := s.q.RetainedPage(ctx, s.pool, arg)
	if err != nil {
		return nil, "", fmt.Errorf("listing keys: %w", err)
	}
	out := make([]keyturn.KeyRef, len(rows))
	for i, r := range rows {
		out[i] = keyturn.KeyRef{Target: r.Target, KeyID: r.KeyID}
	}
	out, next := cut(out, limit, func(k keyturn.KeyRef) string { return k.Target + " " + k.KeyID })
	return out, next, nil
}

func pairs(keys []keyturn.KeyRef) (targets, ids []string) {
	targets, ids = make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		targets[i], ids[i] = k.Target, k.KeyID
	}
	return targets, ids
}

// KeyUses returns who used the keys when, those of one key together and the oldest first.
func (s *Store) KeyUses(ctx context.Context, keys []keyturn.KeyRef) ([]keyturn.KeyUse, error) {
	targets, ids := pairs(keys)
	rows, err := s.q.KeyUses(ctx, s.pool, db.KeyUsesParams{Targets: targets, Keys: ids})
	if err != nil {
		return nil, fmt.Errorf("finding who used %d keys: %w", len(keys), err)
	}
	out := make([]keyturn.KeyUse, len(rows))
	for i, r := range rows {
		out[i] = keyturn.KeyUse{
			KeyID: r.KeyID, From: r.UsedFrom.UTC(), Until: utc(r.UsedUntil), Origin: keyturn.Origin(r.Origin), Before: utc(r.Before), InUse: r.InUse,
			Busy: r.Busy, Parked: r.Parked, Replacing: r.Replacing, LookedAt: utc(r.LookedAt), Trouble: r.Trouble,
			Unit: keyturn.Unit{
				ID: r.UnitID, Target: r.Target, System: keyturn.System(r.System), ProjectID: r.ProjectID, ProjectName: r.ProjectName,
				ClusterID: r.ClusterID, ClusterName: r.ClusterName, Component: keyturn.Component(r.Component), Name: r.Name,
			},
		}
	}
	return out, nil
}

// KeyNeeds sums up what needs each of the keys, in their order.
func (s *Store) KeyNeeds(ctx context.Context, keys []keyturn.KeyRef, windows []keyturn.NeedWindow) ([]keyturn.KeyNeed, error) {
	var arg db.KeyNeedsParams
	arg.Targets, arg.Keys = pairs(keys)
	for i := range keys {
		arg.Numbers = append(arg.Numbers, int32Of(i))
	}
	for _, w := range windows {
		arg.WindowKeys, arg.Units = append(arg.WindowKeys, int32Of(w.Key)), append(arg.Units, w.Unit)
		arg.Froms, arg.Tos = append(arg.Froms, w.From), append(arg.Tos, w.To)
	}
	rows, err := s.q.KeyNeeds(ctx, s.pool, arg)
	if err != nil {
		return nil, fmt.Errorf("counting the snapshots that need %d keys: %w", len(keys), err)
	}
	out := make([]keyturn.KeyNeed, len(keys))
	for _, r := range rows {
		until := r.Until.UTC()
		out[r.N] = keyturn.KeyNeed{
			Named: int(r.Named), ByTime: int(r.ByTime), Endless: int(r.Endless), Clusters: int(r.Clusters), Until: &until,
		}
	}
	return out, nil
}

// NeedingSnapshots returns snapshots that need a key, those that are kept for longest first.
func (s *Store) NeedingSnapshots(ctx context.Context, key keyturn.KeyRef, windows []keyturn.NeedWindow, limit int) ([]keyturn.Snapshot, error) {
	arg := db.NeedingSnapshotsParams{Target: key.Target, Key: key.KeyID, Max: int32Of(limit)}
	for _, w := range windows {
		arg.Units, arg.Froms, arg.Tos = append(arg.Units, w.Unit), append(arg.Froms, w.From), append(arg.Tos, w.To)
	}
	rows, err := s.q.NeedingSnapshots(ctx, s.pool, arg)
	if err != nil {
		return nil, fmt.Errorf("finding the snapshots that need key %s: %w", key.KeyID, err)
	}
	out := make([]keyturn.Snapshot, len(rows))
	for i, r := range rows {
		out[i] = keyturn.Snapshot{
			ID: r.ID, Unit: r.UnitID, ClusterName: r.ClusterName, KeyID: r.KeyID, CreatedAt: r.CreatedAt.UTC(), ExpiresAt: utc(r.ExpiresAt),
			Complete: r.Complete, Keep: r.Keep,
		}
	}
	return out, nil
}

// KeyStates returns what was last seen of keys.
func (s *Store) KeyStates(ctx context.Context, keys []keyturn.KeyRef) (map[keyturn.KeyRef]keyturn.KeyState, error) {
	targets, ids := pairs(keys)
	rows, err := s.q.KeyStates(ctx, s.pool, db.KeyStatesParams{Targets: targets, Keys: ids})
	if err != nil {
		return nil, fmt.Errorf("reading the states of %d keys: %w", len(keys), err)
	}
	out := make(map[keyturn.KeyRef]keyturn.KeyState, len(rows))
	for _, r := range rows {
		out[keyturn.KeyRef{Target: r.Target, KeyID: r.KeyID}] = keyStateOf(r)
	}
	return out, nil
}

func keyStateOf(r db.KeyState) keyturn.KeyState {
	return keyturn.KeyState{
		Target: r.Target, KeyID: r.KeyID, State: keyturn.KeyLife(r.State), Name: r.Name, InitialAt: utc(r.InitialAt), ActivationAt: utc(r.ActivationAt),
		DeactivationAt: utc(r.DeactivationAt), CompromiseAt: utc(r.CompromiseAt), DestroyAt: utc(r.DestroyAt), Orphan: r.Orphan, Detail: r.Detail,
		SeenAt: r.SeenAt.UTC(),
	}
}

// BadKeys returns keys behind after of which somebody may have to be told.
func (s *Store) BadKeys(ctx context.Context, after keyturn.KeyRef, limit int) ([]keyturn.KeyState, error) {
	rows, err := s.q.BadKeys(ctx, s.pool, db.BadKeysParams{AfterTarget: after.Target, AfterKey: after.KeyID, Max: int32Of(limit)})
	if err != nil {
		return nil, fmt.Errorf("looking for keys that are in a bad state: %w", err)
	}
	out := make([]keyturn.KeyState, len(rows))
	for i, r := range rows {
		out[i] = keyStateOf(r)
	}
	return out, nil
}

// KeysToAudit returns ids of keys behind after that a target's history or snapshots name.
func (s *Store) KeysToAudit(ctx context.Context, target, after string, limit int) ([]string, error) {
	ids, err := s.q.KeysToAudit(ctx, s.pool, db.KeysToAuditParams{Target: target, After: after, Max: int32Of(limit)})
	if err != nil {
		return nil, fmt.Errorf("listing the keys of target %s: %w", target, err)
	}
	return ids, nil
}

// KnownKeysAmong returns which of the keys a target's history or snapshots name.
func (s *Store) KnownKeysAmong(ctx context.Context, target string, keys []string) ([]string, error) {
	arg := db.KnownKeysAmongParams{Target: target}
	for _, k := range keys {
		arg.Keys = append(arg.Keys, clean(k))
	}
	ids, err := s.q.KnownKeysAmong(ctx, s.pool, arg)
	if err != nil {
		return nil, fmt.Errorf("looking for %d keys in the history: %w", len(keys), err)
	}
	return ids, nil
}

// SaveKeyStates records what a server said of keys in an audit.
func (s *Store) SaveKeyStates(ctx context.Context, target string, audit int64, states []keyturn.KeyState) error {
	arg := db.SaveKeyStatesParams{Target: target, Audit: audit, Now: s.clock()}
	had := make(map[string]bool, len(states))
	for _, k := range states {
		if had[k.KeyID] {
			continue
		}
		had[k.KeyID] = true
		arg.Keys, arg.States, arg.Names = append(arg.Keys, clean(k.KeyID)), append(arg.States, string(k.State)), append(arg.Names, clean(k.Name))
		arg.Initials, arg.Activations = append(arg.Initials, unixMicros(k.InitialAt)), append(arg.Activations, unixMicros(k.ActivationAt))
		arg.Deactivations, arg.Compromises = append(arg.Deactivations, unixMicros(k.DeactivationAt)), append(arg.Compromises, unixMicros(k.CompromiseAt))
		arg.Destroys, arg.Orphans, arg.Details = append(arg.Destroys, unixMicros(k.DestroyAt)), append(arg.Orphans, k.Orphan), append(arg.Details, clean(k.Detail))
	}
	_, err := retry(ctx, func() (struct{}, error) { return struct{}{}, s.q.SaveKeyStates(ctx, s.pool, arg) })
	if err != nil {
		return fmt.Errorf("saving the states of %d keys: %w", len(states), err)
	}
	return nil
}

// EndKeyAudit forgets orphans that an audit did not find.
func (s *Store) EndKeyAudit(ctx context.Context, target string, audit int64) error {
	if err := s.q.EndKeyAudit(ctx, s.pool, db.EndKeyAuditParams{Target: target, Audit: audit}); err != nil {
		return fmt.Errorf("ending the audit of target %s: %w", target, err)
	}
	return nil
}
