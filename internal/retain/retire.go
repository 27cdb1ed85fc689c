package retain

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
)

const (
	// retireMost is how many units of a key are asked which key they use, and what their snapshots are, at once.
	retireMost = 200
	// retireKeys is how many keys of a unit are judged at once.
	retireKeys = 100
	// freshFor is how old what is known of snapshots may be when a key is judged by it.
	freshFor = 5 * time.Minute
)

// Retirement says which keys may be disabled. It asks the target, and changes nothing.
func (k *Keeper) Retirement(ctx context.Context, q keyturn.RetireQuery) ([]keyturn.Retirement, error) {
	names, err := k.named(ctx, q)
	if err != nil {
		return nil, err
	}
	out := make([]keyturn.Retirement, 0, len(names))
	for _, name := range names {
		r, _, err := k.retirement(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Retire disables the keys that may go. It answers ConflictError when none may.
func (k *Keeper) Retire(ctx context.Context, q keyturn.RetireQuery) ([]keyturn.Retirement, error) {
	names, err := k.named(ctx, q)
	if err != nil {
		return nil, err
	}
	out := make([]keyturn.Retirement, 0, len(names))
	disabled := 0
	for _, name := range names {
		r, sys, err := k.retirement(ctx, name)
		if err != nil {
			return nil, err
		}
		if r.Allowed(q.AcceptUnknown) {
			if err := k.disable(ctx, &r, sys, q); err != nil {
				return nil, err
			}
			disabled++
		}
		out = append(out, r)
	}
	if disabled == 0 && len(out) > 0 {
		return nil, &keyturn.ConflictError{Reason: refusal(out[0], q)}
	}
	return out, nil
}

// refusal says why a key is not disabled.
func refusal(r keyturn.Retirement, q keyturn.RetireQuery) string {
	switch {
	case len(r.Needs) > 0:
		return fmt.Sprintf("key %s stays: %s", r.Key.KeyID, r.Needs[0])
	case !r.Able:
		return r.Advice
	case len(r.Unknowns) > 0 && !q.AcceptUnknown:
		return fmt.Sprintf("key %s stays, because %s; what is unknown is accepted with --accept-unknown", r.Key.KeyID, r.Unknowns[0])
	default:
		return fmt.Sprintf("key %s stays", r.Key.KeyID)
	}
}

// named finds the keys that a query is about.
func (k *Keeper) named(ctx context.Context, q keyturn.RetireQuery) ([]keyturn.KeyRef, error) {
	names, _, err := k.cfg.Store.RetainedPage(ctx, keyturn.KeyFilter{Target: q.Target, Key: q.Name})
	if err != nil {
		return nil, err
	}
	if len(names) > 1 {
		return nil, &keyturn.ConflictError{Reason: fmt.Sprintf("%d targets have a key %s: name one with --target", len(names), q.Name)}
	}
	if len(names) == 1 {
		return names, nil
	}
	names, next, err := k.cfg.Store.RetainedPage(ctx, keyturn.KeyFilter{Target: q.Target, Unit: q.Name, Old: true, Page: keyturn.Page{Limit: retireKeys}})
	if err != nil {
		return nil, err
	}
	if next != "" {
		return nil, &keyturn.ConflictError{Reason: fmt.Sprintf("%s has more than %d old keys: name one", q.Name, retireKeys)}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no key %q in the history, and no unit of this name with an old key: %w", q.Name, keyturn.ErrNotFound)
	}
	return names, nil
}

// retirement judges one key by what its target says now.
func (k *Keeper) retirement(ctx context.Context, name keyturn.KeyRef) (keyturn.Retirement, worker.System, error) {
	var r keyturn.Retirement
	uses, err := k.cfg.Store.KeyUses(ctx, []keyturn.KeyRef{name})
	if err != nil {
		return r, nil, err
	}
	now, err := k.cfg.Store.Now(ctx)
	if err != nil {
		return r, nil, err
	}
	var doubts []string
	if len(uses) <= retireMost {
		if err := k.refresh(ctx, uses, now, freshFor); err != nil {
			doubts = append(doubts, "the snapshots can't be listed now: "+err.Error())
		}
	} else {
		doubts = append(doubts, fmt.Sprintf("%d units used it: too many to ask them all now", len(uses)))
	}
	keys, err := k.retained(ctx, []keyturn.KeyRef{name})
	if err != nil {
		return r, nil, err
	}
	r = keys[0].Retire(now)
	sys, _, err := k.system(ctx, name.Target)
	if err != nil {
		r.Unknowns = append(r.Unknowns, "the target can't be asked: "+err.Error())
		sys = nil
	}
	_, r.Able = sys.(worker.Retirer)
	if sys != nil {
		doubts = append(doubts, k.askTarget(ctx, &r, sys, uses)...)
	}
	r.Unknowns = append(r.Unknowns, doubts...)
	if err := k.elsewhere(ctx, &r); err != nil {
		return r, nil, err
	}
	if !r.Able {
		r.Advice = fmt.Sprintf("Keyturn disables no keys of target %s: when nothing needs key %s, deactivate it at its KMIP server or KMS, and destroy it only after "+
			"what could not be seen has expired too", name.Target, name.KeyID)
	}
	if len(r.Needs) > 0 && r.Key.Snapshots == 0 {
		r.Message = r.Needs[0]
	} else if len(r.Needs) == 0 && len(r.Unknowns) > 0 {
		r.Message = "no snapshot is known to need it, but " + r.Unknowns[0]
	}
	return r, sys, nil
}

// askTarget asks which keys the units use now, whatever the history says, and what else may need the key.
func (k *Keeper) askTarget(ctx context.Context, r *keyturn.Retirement, sys worker.System, uses []keyturn.KeyUse) []string {
	var units, doubts []string
	for _, u := range uses {
		units = append(units, u.Unit.ID)
	}
	units = unique(units)
	doubter, sees := sys.(worker.RetireDoubter)
	if r.Able && !sees && r.Key.System == keyturn.SystemAtlas {
		doubts = append(doubts, "whether clusters are paused, and still need it when they go on, is not known")
	}
	for _, unit := range units[:min(len(units), retireMost)] {
		current, err := k.current(ctx, sys, unit)
		switch {
		case err != nil:
			doubts = append(doubts, fmt.Sprintf("unit %s does not say which key it uses now: %s", unit, err))
		case current == r.Key.KeyID && !r.Key.InUse:
			r.Needs = append(r.Needs, "unit "+unit+" uses it now, whatever the history says")
		}
		if !sees {
			continue
		}
		more, err := doubter.RetireDoubts(ctx, unit, r.Key.KeyID)
		if err != nil {
			more = []string{fmt.Sprintf("what else of unit %s may need it can't be found out: %s", unit, err)}
		}
		doubts = append(doubts, more...)
	}
	return doubts
}

func (k *Keeper) current(ctx context.Context, sys worker.System, unit string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	return sys.Current(ctx, unit)
}

// elsewhere looks for units of other targets that use a key of a cloud's KMS, which several projects may share.
// The ids of a KMIP server mean nothing elsewhere.
func (k *Keeper) elsewhere(ctx context.Context, r *keyturn.Retirement) error {
	if r.Key.System != keyturn.SystemAtlas {
		return nil
	}
	users, err := k.cfg.Store.UsersOfKey(ctx, r.Key.KeyID, retireMost)
	if err != nil {
		return err
	}
	for _, unit := range users {
		if !slices.ContainsFunc(r.Key.Units, func(u keyturn.RetainedUse) bool { return u.Unit == unit }) {
			r.Needs = append(r.Needs, "it is in use by unit "+unit)
		}
	}
	return nil
}

// disable has a key disabled. That it is about to be is durable before: after a crash the same command does it
// again, which changes nothing more.
func (k *Keeper) disable(ctx context.Context, r *keyturn.Retirement, sys worker.System, q keyturn.RetireQuery) error {
	retirer, ok := sys.(worker.Retirer)
	if !ok || len(r.Key.Uses) == 0 {
		return &keyturn.ConflictError{Reason: refusal(*r, q)}
	}
	name := keyturn.KeyRef{Target: r.Key.Target, KeyID: r.Key.KeyID}
	asking := ctx
	if entry, ok := keyturn.AuditOf(ctx); ok {
		entry.Subject = name.String()
		asking = keyturn.WithAudit(ctx, entry)
	}
	if err := k.cfg.Store.AskRetirement(asking, name, q.By, q.Reason); err != nil {
		return err
	}
	last := r.Key.Uses[len(r.Key.Uses)-1]
	disableCtx, cancel := context.WithTimeout(ctx, callMost)
	defer cancel()
	if err := retirer.DisableKey(disableCtx, last.Unit.ID, name.KeyID); err != nil {
		return fmt.Errorf("disabling key %s: %w", name.KeyID, err)
	}
	at, err := k.cfg.Store.NoteRetired(context.WithoutCancel(ctx), name)
	if err != nil {
		return err
	}
	r.DisabledAt, r.Message = &at, "disabled; it can be enabled again in the KMS as long as nobody deletes it"
	return nil
}
