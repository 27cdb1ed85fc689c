package retain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	factsPage = 500
	factsMost = 10000 // alerts of all kinds of keys
	// snapshotsNamed is how many snapshots a message names.
	snapshotsNamed = 3
	// orphanAge is how old a key must be to be told as orphan: one that a rotation has just made is in the
	// history soon.
	orphanAge = 24 * time.Hour
	// factsShare: looking through the keys takes at most one part in so many of the time, however many are in a bad
	// state. Keys that were deactivated after their time stay in one for ever.
	factsShare = 20
)

// remembered is what was last found of keys.
type remembered struct {
	mu    sync.Mutex
	facts []keyturn.AlertFact
	at    time.Time     // of their end
	took  time.Duration // 0: nothing was found yet, or at once
}

// AlertKinds are the kinds that Facts knows of.
func AlertKinds() []keyturn.AlertKind {
	return []keyturn.AlertKind{keyturn.AlertKeyMissing, keyturn.AlertKeyDeactivated, keyturn.AlertKeyOrphan}
}

// Facts returns what people must know of keys at KMIP servers: a source of alerts. Where finding that out takes long,
// it returns what it found before, for some twenty times as long.
func (k *Keeper) Facts(ctx context.Context, now time.Time) ([]keyturn.AlertFact, error) {
	r := &k.found
	r.mu.Lock()
	defer r.mu.Unlock()
	begin := k.cfg.Now()
	if age := begin.Sub(r.at); age >= 0 && age < (factsShare-1)*r.took {
		return slices.Clone(r.facts), nil
	}
	facts, err := k.factsNow(ctx, now)
	if err != nil {
		return nil, err
	}
	r.at = k.cfg.Now()
	r.facts, r.took = facts, max(0, r.at.Sub(begin))
	return slices.Clone(facts), nil
}

func (k *Keeper) factsNow(ctx context.Context, now time.Time) ([]keyturn.AlertFact, error) {
	targets, err := k.cfg.Targets.Targets(ctx)
	if err != nil {
		return nil, err
	}
	servers := map[string]string{}
	for _, t := range targets {
		if t.KMIP != nil {
			servers[t.Name] = t.KMIP.Address
		}
	}
	var facts []keyturn.AlertFact
	for after := (keyturn.KeyRef{}); len(facts) < factsMost; {
		states, err := k.cfg.Store.BadKeys(ctx, after, factsPage)
		if err != nil {
			return nil, err
		}
		some, err := k.judged(ctx, states, servers, now)
		if err != nil {
			return nil, err
		}
		facts = append(facts, some...)
		if len(states) < factsPage {
			break
		}
		last := states[len(states)-1]
		after = keyturn.KeyRef{Target: last.Target, KeyID: last.KeyID}
	}
	return facts[:min(len(facts), factsMost)], nil
}

// judged makes facts of keys in a bad state, those of targets that still have a server.
func (k *Keeper) judged(ctx context.Context, states []keyturn.KeyState, servers map[string]string, now time.Time) ([]keyturn.AlertFact, error) {
	var names []keyturn.KeyRef
	var strays []keyturn.KeyState
	for _, s := range states {
		switch _, ok := servers[s.Target]; {
		case !ok:
		case s.Orphan:
			strays = append(strays, s)
		default:
			names = append(names, keyturn.KeyRef{Target: s.Target, KeyID: s.KeyID})
		}
	}
	facts, err := k.strays(ctx, strays, servers, now)
	if err != nil {
		return nil, err
	}
	keys, err := k.retained(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		fact, ok, err := k.bad(ctx, key, servers[key.Target], now)
		if err != nil {
			return nil, err
		}
		if ok {
			facts = append(facts, fact)
		}
	}
	return facts, nil
}

func factOf(kind keyturn.AlertKind, target, key string) keyturn.AlertFact {
	return keyturn.AlertFact{Kind: kind, Subject: keyturn.KeyRef{Target: target, KeyID: key}.String(), Target: target}
}

// strays makes facts of orphans, which are in the order of their targets: of those that are still in no history.
func (k *Keeper) strays(ctx context.Context, orphans []keyturn.KeyState, servers map[string]string, now time.Time) ([]keyturn.AlertFact, error) {
	var facts []keyturn.AlertFact
	for begin := 0; begin < len(orphans); {
		target := orphans[begin].Target
		end := begin
		var ids []string
		for ; end < len(orphans) && orphans[end].Target == target; end++ {
			ids = append(ids, orphans[end].KeyID)
		}
		unknown, err := k.unknown(ctx, target, ids)
		if err != nil {
			return nil, err
		}
		for _, s := range orphans[begin:end] {
			if made := s.Made(); slices.Contains(unknown, s.KeyID) && made != nil && now.Sub(*made) >= orphanAge {
				facts = append(facts, orphan(s, servers[target], *made))
			}
		}
		begin = end
	}
	return facts, nil
}

func orphan(s keyturn.KeyState, server string, made time.Time) keyturn.AlertFact {
	f := factOf(keyturn.AlertKeyOrphan, s.Target, s.KeyID)
	f.Severity = keyturn.SeverityInfo
	f.Message = fmt.Sprintf("key %s (%s) is on KMIP server %s since %s and in no history of target %s: nobody is known to use it",
		s.KeyID, s.Name, server, made.UTC().Format(time.DateOnly), s.Target)
	return f
}

// bad judges a key that is gone or not active. Nobody needs to be told of a key that may go.
func (k *Keeper) bad(ctx context.Context, key keyturn.RetainedKey, server string, now time.Time) (keyturn.AlertFact, bool, error) {
	if key.State == nil {
		return keyturn.AlertFact{}, false, nil
	}
	mayGo := !key.InUse && key.Snapshots == 0 && key.SafeToRetireAt != nil && !key.SafeToRetireAt.After(now)
	kind, severity := keyturn.AlertKeyDeactivated, keyturn.SeverityWarning
	what := fmt.Sprintf("key %s of target %s is %s on KMIP server %s", key.KeyID, key.Target, key.State.State, server)
	lost := "can only be restored with it"
	switch {
	case key.State.State.Gone():
		kind, severity, lost = keyturn.AlertKeyMissing, keyturn.SeverityCritical, "can no longer be restored"
		if key.State.State == keyturn.KeyMissing {
			what = fmt.Sprintf("key %s of target %s is not on KMIP server %s any more", key.KeyID, key.Target, server)
		}
		if mayGo {
			severity = keyturn.SeverityInfo
		}
	case mayGo:
		return keyturn.AlertFact{}, false, nil
	case key.InUse || key.Snapshots > 0:
		severity = keyturn.SeverityCritical
	}
	f := factOf(kind, key.Target, key.KeyID)
	f.Severity = severity
	if len(key.Uses) > 0 {
		f.Project, f.Cluster = key.Uses[0].Unit.ProjectID, key.Uses[0].Unit.ClusterName
	}
	parts := []string{what}
	if key.InUse {
		parts = append(parts, "it is in use by "+usersOf(key))
	}
	words, err := k.lostWords(ctx, key, lost)
	if err != nil {
		return f, false, err
	}
	parts = append(parts, words)
	f.Message = strings.Join(parts, "; ")
	return f, true, nil
}

// lostWords says which snapshots a key's state is about.
func (k *Keeper) lostWords(ctx context.Context, key keyturn.RetainedKey, lost string) (string, error) {
	if key.Snapshots == 0 {
		if key.Sure == keyturn.SureUnknown && len(key.Reasons) > 0 {
			return "no snapshot is known to need it, but " + key.Reasons[0], nil
		}
		return "no known snapshot needs it", nil
	}
	some, err := k.needing(ctx, key, snapshotsNamed)
	if err != nil {
		return "", err
	}
	named := make([]string, len(some))
	for i, s := range some {
		named[i] = snapshotWords(s)
	}
	words := fmt.Sprintf("%s of %s %s: %s", counted(key.Snapshots, "snapshot"), counted(key.Clusters, "cluster"), lost, strings.Join(named, ", "))
	if more := key.Snapshots - len(some); more > 0 {
		words += fmt.Sprintf(" and %d more", more)
	}
	return words + fmt.Sprintf("; see: keyturn keys --key %s", key.KeyID), nil
}

func usersOf(key keyturn.RetainedKey) string {
	var users []string
	for _, u := range key.Units {
		if u.InUse {
			users = append(users, u.Unit)
		}
	}
	if len(users) == 0 {
		return "nobody"
	}
	if len(users) == 1 {
		return users[0]
	}
	return fmt.Sprintf("%s and %d more", users[0], len(users)-1)
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
