package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/worker"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

// resourceReader is what the registry needs of the store.
type resourceReader interface {
	Resource(ctx context.Context, kind keyturn.ResourceKind, name string) (keyturn.Resource, error)
	ResourcesOf(ctx context.Context, kind keyturn.ResourceKind) ([]keyturn.Resource, error)
}

// systems keeps one client for each target, so that connections and nonces are
// reused, and makes a new one when the target's spec has changed.
type systems struct {
	store   resourceReader
	version string
	log     *zap.Logger

	mu sync.Mutex
	by map[string]*client
}

// system is a client of a control plane, whichever it is.
type system interface {
	worker.System
	Close() // the connections that are not in use
}

type client struct {
	sys     system
	target  keyturn.Target
	created time.Time // of the resource: one that was removed and made again is another
	secrets secrets
}

func newSystems(store resourceReader, version string, log *zap.Logger) *systems {
	return &systems{store: store, version: version, log: log, by: map[string]*client{}}
}

// Targets lists the targets that there are now.
func (s *systems) Targets(ctx context.Context) ([]keyturn.Target, error) {
	stored, err := s.store.ResourcesOf(ctx, keyturn.KindTarget)
	if err != nil {
		return nil, err
	}
	s.forget(stored)
	targets := make([]keyturn.Target, 0, len(stored))
	for _, r := range stored {
		t, err := resource.TargetOf(r)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// forget drops the clients of targets that were removed, also if another was
// made by the same name since: it may be elsewhere.
func (s *systems) forget(stored []keyturn.Resource) {
	created := make(map[string]time.Time, len(stored))
	for _, r := range stored {
		created[r.Name] = r.CreatedAt
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, held := range s.by {
		if at, ok := created[name]; !ok || !at.Equal(held.created) {
			held.sys.Close()
			delete(s.by, name)
		}
	}
}

// System returns the client of a target. The spec and its secrets are read anew
// when the caller has seen a newer generation, or none (0), as every plan has:
// a new API key in the same file is used from the next rotation on.
func (s *systems) System(ctx context.Context, target string, generation int64) (worker.System, keyturn.Target, error) {
	s.mu.Lock()
	held := s.by[target]
	s.mu.Unlock()
	if held != nil && generation > 0 && held.target.Generation == generation {
		return held.sys, held.target, nil
	}
	stored, err := s.store.Resource(ctx, keyturn.KindTarget, target)
	if errors.Is(err, keyturn.ErrNotFound) {
		return nil, keyturn.Target{}, &keyturn.SystemError{
			Kind: keyturn.KindPermanent, Code: "target_missing",
			Err: fmt.Errorf("target %s does not exist: apply it again, or remove the policies that name it", target),
		}
	}
	if err != nil {
		return nil, keyturn.Target{}, &keyturn.SystemError{Kind: keyturn.KindTransient, Code: "database", Err: fmt.Errorf("reading target %s: %w", target, err)}
	}
	t, err := resource.TargetOf(stored)
	if err != nil {
		return nil, keyturn.Target{}, unusable(err)
	}
	if held != nil && !held.created.Equal(stored.CreatedAt) {
		held = nil
	}
	made, err := s.make(ctx, t, stored.CreatedAt, held)
	if err != nil {
		return nil, keyturn.Target{}, unusable(fmt.Errorf("target %s: %w", target, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.by[target]
	if now != nil && now != made && now != held && now.created.Equal(made.created) && now.target.Generation >= t.Generation { // somebody was faster
		return now.sys, now.target, nil
	}
	if now != nil && now != made {
		now.sys.Close() // closes idle connections; calls under way end as they would
	}
	s.by[target] = made
	return made.sys, t, nil
}

// unusable: nobody can call the target until someone mends its spec or secrets.
func unusable(err error) error {
	return &keyturn.SystemError{Kind: keyturn.KindPermanent, Target: true, Code: "target_unusable", Err: err}
}

// make returns the client that is held if nothing has changed, or a new one.
func (s *systems) make(ctx context.Context, t keyturn.Target, created time.Time, held *client) (*client, error) {
	found, err := resolve(t)
	if err != nil {
		return nil, err
	}
	if held != nil && held.target.Generation == t.Generation && maps.Equal(held.secrets, found) {
		return held, nil
	}
	sys, err := s.open(ctx, t, found)
	if err != nil {
		return nil, err
	}
	return &client{sys: sys, target: t, created: created, secrets: found}, nil
}

func (s *systems) open(ctx context.Context, t keyturn.Target, found secrets) (system, error) {
	switch t.System {
	case keyturn.SystemOpsManager, keyturn.SystemCloudManager:
		return opsmanager.New(opsmanager.Config{
			Target: t, PublicKey: found[t.Credentials.PublicKey], PrivateKey: found[t.Credentials.PrivateKey], Logger: s.log, Version: s.version,
		})
	case keyturn.SystemAtlas:
		return s.openAtlas(ctx, t, found)
	default:
		return nil, fmt.Errorf("spec.system: this version can't call %q", t.System)
	}
}

// secrets are the secrets of a target by their references.
type secrets map[string]string

// resolve reads all secrets that a target names.
func resolve(t keyturn.Target) (secrets, error) {
	found := secrets{}
	for _, s := range []struct{ field, ref string }{
		{"credentials.publicKey", t.Credentials.PublicKey},
		{"credentials.privateKey", t.Credentials.PrivateKey},
		{"credentials.clientId", t.Credentials.ClientID},
		{"credentials.clientSecret", t.Credentials.ClientSecret},
		{"kms.aws.accessKeyId", t.KMS.AWS.AccessKeyID},
		{"kms.aws.secretAccessKey", t.KMS.AWS.SecretAccessKey},
		{"kms.aws.sessionToken", t.KMS.AWS.SessionToken},
		{"kms.azure.clientSecret", t.KMS.Azure.ClientSecret},
		{"kms.gcp.credentialsJson", t.KMS.GCP.CredentialsJSON},
	} {
		if s.ref == "" {
			continue
		}
		value, err := secret.Resolve(s.ref)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.field, err)
		}
		found[s.ref] = value
	}
	return found, nil
}
