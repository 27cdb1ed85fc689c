package gcp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/googleapis/gax-go/v2"
	"go.uber.org/zap"
	"google.golang.org/api/iterator"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// Make finds the version that was made for the order, or makes one.
//
// Versions carry no labels, so what was made is known by its number and date: it is newer than the one in use, and
// not older than the task. Somebody else's version that fits is as good: it is a fresh version of the right key.
func (c *Client) Make(ctx context.Context, order keyturn.KMSOrder) (keyturn.KMSKey, error) {
	if c.spec.Strategy != keyturn.StrategyNewVersion {
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeConfig, Err: fmt.Errorf(
			"making a key version for %s: spec.kms.gcp.strategy is %s", order.Unit, c.spec.Strategy)}
	}
	current, err := parse(order.Current.ID)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	found, err := c.find(ctx, current, order)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	if found == nil {
		if found, err = c.create(ctx, current, order); err != nil {
			return keyturn.KMSKey{}, err
		}
	}
	key := describe(found)
	switch {
	case key.Usable():
		return key, nil
	case found.GetState() == kmspb.CryptoKeyVersion_PENDING_GENERATION:
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindTransient, Code: kms.CodePending, Err: errors.New(key.Reason)}
	default:
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeUnusable, Err: fmt.Errorf(
			"the version that was made can't be used: %s", key.Reason)}
	}
}

// Find finds the version that was made for the order. It changes nothing.
func (c *Client) Find(ctx context.Context, order keyturn.KMSOrder) (keyturn.KMSKey, bool, error) {
	current, err := parse(order.Current.ID)
	if err != nil {
		return keyturn.KMSKey{}, false, err
	}
	found, err := c.find(ctx, current, order)
	if err != nil || found == nil {
		return keyturn.KMSKey{}, false, err
	}
	return describe(found), true, nil
}

// find returns the oldest version that may have been made for the order, those that can be used, or soon can,
// before all others; nil: there is none. The oldest, so that the answer does not change while others are made.
func (c *Client) find(ctx context.Context, current version, order keyturn.KMSOrder) (*kmspb.CryptoKeyVersion, error) {
	since := order.Task.CreatedAt().Add(-kms.Skew)
	var found *kmspb.CryptoKeyVersion
	err := c.versions(ctx, current.key, func(v *kmspb.CryptoKeyVersion) {
		name, err := parse(v.GetName())
		older := v.GetCreateTime() != nil && v.GetCreateTime().AsTime().Before(since)
		if err != nil || name.number <= current.number || older || c.isOfAnother(v, order.Task) {
			return
		}
		if found == nil || rank(v) < rank(found) || rank(v) == rank(found) && number(v) < number(found) {
			found = v
		}
	})
	return found, err
}

// madeMost is how many versions are remembered. Tasks end: what is forgotten is only looked for by its date.
const madeMost = 4096

func (c *Client) remember(v *kmspb.CryptoKeyVersion, task keyturn.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.made) >= madeMost {
		clear(c.made)
	}
	c.made[v.GetName()] = task
}

// isOfAnother reports that this process made the version for another task: of a unit that uses the same key.
func (c *Client) isOfAnother(v *kmspb.CryptoKeyVersion, task keyturn.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	of, known := c.made[v.GetName()]
	return known && of != task
}

func rank(v *kmspb.CryptoKeyVersion) int {
	switch v.GetState() {
	case kmspb.CryptoKeyVersion_ENABLED:
		return 0
	case kmspb.CryptoKeyVersion_PENDING_GENERATION:
		return 1
	default:
		return 2
	}
}

func number(v *kmspb.CryptoKeyVersion) int64 {
	name, err := parse(v.GetName())
	if err != nil {
		return 0
	}
	return name.number
}

// create makes a version. Google knows no idempotency token for it: the call is sent once.
func (c *Client) create(ctx context.Context, current version, order keyturn.KMSOrder) (*kmspb.CryptoKeyVersion, error) {
	var made *kmspb.CryptoKeyVersion
	what := call{doing: "making a version of", what: "key " + current.key, permission: "cloudkms.cryptoKeyVersions.create", change: true}
	err := c.do(ctx, what, func(ctx context.Context, opts ...gax.CallOption) (err error) {
		made, err = c.api.CreateCryptoKeyVersion(ctx, &kmspb.CreateCryptoKeyVersionRequest{Parent: current.key, CryptoKeyVersion: &kmspb.CryptoKeyVersion{}}, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	if name, err := parse(made.GetName()); err != nil || name.key != current.key {
		return nil, &keyturn.SystemError{Kind: keyturn.KindAmbiguous, Code: kms.CodeServer, Err: fmt.Errorf(
			"making a version of key %s: Google's answer has no version of it", current.key)}
	}
	c.remember(made, order.Task)
	c.log.Info("key version made", zap.String("provider", "gcp"), zap.String("key", made.GetName()),
		zap.Stringer("task", order.Task), zap.String("unit", order.Unit))
	return made, nil
}

// versions calls yield for each version of a key.
func (c *Client) versions(ctx context.Context, key string, yield func(*kmspb.CryptoKeyVersion)) error {
	what := call{doing: "listing the versions of", what: "key " + key, permission: "cloudkms.cryptoKeyVersions.list"}
	return c.do(ctx, what, func(ctx context.Context, opts ...gax.CallOption) error {
		api, err := c.within(ctx)
		if err != nil {
			return err
		}
		it := api.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{Parent: key, PageSize: 1000}, opts...)
		for {
			v, err := it.Next()
			if errors.Is(err, iterator.Done) {
				return nil
			}
			if err != nil {
				return err
			}
			yield(v)
		}
	})
}

// Newest returns the newest version of the same key that can be used. It may be the current one.
func (c *Client) Newest(ctx context.Context, current keyturn.KMSRef) (keyturn.KMSKey, error) {
	name, err := parse(current.ID)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	var newest *kmspb.CryptoKeyVersion
	err = c.versions(ctx, name.key, func(v *kmspb.CryptoKeyVersion) {
		if v.GetState() == kmspb.CryptoKeyVersion_ENABLED && (newest == nil || number(newest) < number(v)) {
			newest = v
		}
	})
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	if newest == nil {
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeUnusable, Err: fmt.Errorf(
			"key %s has no version that is enabled: make or enable one", name.key)}
	}
	return describe(newest), nil
}

// Describe looks at one version.
func (c *Client) Describe(ctx context.Context, key keyturn.KMSRef) (keyturn.KMSKey, error) {
	name, err := parse(key.ID)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	var v *kmspb.CryptoKeyVersion
	what := call{doing: "looking at", what: "key version " + name.String(), permission: "cloudkms.cryptoKeyVersions.get"}
	err = c.do(ctx, what, func(ctx context.Context, opts ...gax.CallOption) (err error) {
		v, err = c.api.GetCryptoKeyVersion(ctx, &kmspb.GetCryptoKeyVersionRequest{Name: name.String()}, opts...)
		return err
	})
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	if _, err := parse(v.GetName()); err != nil {
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindTransient, Code: kms.CodeServer, Err: fmt.Errorf(
			"looking at key version %s: Google's answer has no version in it", name)}
	}
	return describe(v), nil
}

// Disable disables one version of a key. It never destroys, and may be repeated.
func (c *Client) Disable(ctx context.Context, key keyturn.KMSRef) error {
	name, err := parse(key.ID)
	if err != nil {
		return err
	}
	what := call{doing: "disabling", what: "key version " + name.String(), permission: "cloudkms.cryptoKeyVersions.update"}
	return c.do(ctx, what, func(ctx context.Context, opts ...gax.CallOption) error {
		_, err := c.api.UpdateCryptoKeyVersion(ctx, &kmspb.UpdateCryptoKeyVersionRequest{
			CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: name.String(), State: kmspb.CryptoKeyVersion_DISABLED},
			UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		}, opts...)
		return err
	})
}

func describe(v *kmspb.CryptoKeyVersion) keyturn.KMSKey {
	key := keyturn.KMSKey{ID: v.GetName(), Version: v.GetName(), State: v.GetState().String(), Reason: unusable(v)}
	if v.GetCreateTime() != nil {
		key.CreatedAt = v.GetCreateTime().AsTime()
	}
	return key
}

// unusable says why Atlas could not use the version, and what to do; empty: it could.
// https://cloud.google.com/kms/docs/key-states
func unusable(v *kmspb.CryptoKeyVersion) string {
	switch state := v.GetState(); state {
	case kmspb.CryptoKeyVersion_ENABLED:
		return ""
	case kmspb.CryptoKeyVersion_PENDING_GENERATION:
		return fmt.Sprintf("key version %s is being made", v.GetName())
	case kmspb.CryptoKeyVersion_DISABLED:
		return fmt.Sprintf("key version %s is disabled: enable it", v.GetName())
	case kmspb.CryptoKeyVersion_DESTROY_SCHEDULED:
		on := ""
		if v.GetDestroyTime() != nil {
			on = " on " + v.GetDestroyTime().AsTime().Format(time.DateOnly)
		}
		return fmt.Sprintf("key version %s is going to be destroyed%s: restore and enable it", v.GetName(), on)
	case kmspb.CryptoKeyVersion_DESTROYED:
		return fmt.Sprintf("key version %s is destroyed", v.GetName())
	case kmspb.CryptoKeyVersion_GENERATION_FAILED, kmspb.CryptoKeyVersion_IMPORT_FAILED:
		return fmt.Sprintf("key version %s could not be made: Google says %s %s", v.GetName(), v.GetGenerationFailureReason(), v.GetImportFailureReason())
	default:
		return fmt.Sprintf("key version %s is in state %s", v.GetName(), state)
	}
}
