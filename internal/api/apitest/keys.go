package apitest

import (
	"context"
	"fmt"
	"sync"

	"github.com/keyturn/keyturn"
)

// Keeper is an api.KeyKeeper that says what the test wants.
type Keeper struct {
	Known       []keyturn.RetainedKey
	Found       []keyturn.KeyAudit // by target
	Retirements []keyturn.Retirement
	Err         error // of everything but listings

	mu     sync.Mutex
	Asked  []string // targets whose audit was asked for
	Filter keyturn.KeyFilter
	Query  keyturn.RetireQuery
	Done   bool // the query was to disable keys
}

// Keys implements api.KeyKeeper.
func (k *Keeper) Keys(_ context.Context, f keyturn.KeyFilter) ([]keyturn.RetainedKey, string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Filter = f
	return k.Known, "", nil
}

// Audits implements api.KeyKeeper.
func (k *Keeper) Audits(_ context.Context, target string) ([]keyturn.KeyAudit, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.Found {
		if a.Target == target {
			return []keyturn.KeyAudit{a}, nil
		}
	}
	if target != "" {
		return nil, fmt.Errorf("target %s: %w", target, keyturn.ErrNotFound)
	}
	return k.Found, nil
}

// AskAudit implements api.KeyKeeper.
func (k *Keeper) AskAudit(_ context.Context, target string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Asked = append(k.Asked, target)
	return k.Err
}

// AskSnapshots implements api.KeyKeeper.
func (k *Keeper) AskSnapshots(context.Context, string) error { return k.Err }

// Retirement implements api.KeyKeeper.
func (k *Keeper) Retirement(_ context.Context, q keyturn.RetireQuery) ([]keyturn.Retirement, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Query = q
	return k.Retirements, k.Err
}

// Retire implements api.KeyKeeper.
func (k *Keeper) Retire(_ context.Context, q keyturn.RetireQuery) ([]keyturn.Retirement, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Query, k.Done = q, true
	return k.Retirements, k.Err
}
