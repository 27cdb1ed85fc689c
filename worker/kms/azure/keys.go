package azure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// expiresSoon is how much life a key must have left: Atlas refuses one that expires earlier.
// https://www.mongodb.com/docs/atlas/reference/api-errors/ (AZURE_KEY_VAULT_KEY_EXPIRING)
const expiresSoon = 48 * time.Hour

// found is a version of a key, as lists and answers show it.
type found struct {
	version    string
	attributes azkeys.KeyAttributes
	tags       map[string]*string
}

// Make finds the version that was made for the order, or makes one, and tags it.
//
// A vault takes tags only after it made the version, which may inherit those of the version before. So a version is
// known by its tags if they name the task and the version itself; one that no task has tagged that way is also taken
// if it is newer than the one in use and not older than the task: it is a fresh version of the right key, whoever
// made it.
func (c *Client) Make(ctx context.Context, order keyturn.KMSOrder) (keyturn.KMSKey, error) {
	if c.spec.Strategy != keyturn.StrategyNewVersion {
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeConfig, Err: fmt.Errorf(
			"making a key version for %s: spec.kms.azure.strategy is %s", order.Unit, c.spec.Strategy)}
	}
	current, err := parse(order.Current.ID)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	v, err := c.find(ctx, current, order)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	made := v == nil
	if made {
		if v, err = c.create(ctx, current, order); err != nil {
			return keyturn.KMSKey{}, err
		}
	}
	if !v.isOf(order.Task) {
		if err := c.tag(ctx, current, v, order); err != nil {
			return keyturn.KMSKey{}, mayHeal(err, made)
		}
	}
	key := c.describe(current, v)
	if !key.Usable() {
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeUnusable, Err: fmt.Errorf(
			"the version that was made can't be used: %s; the rotation policy of the key decides how long its versions live", key.Reason)}
	}
	return key, nil
}

// Find finds the version that was made for the order. It changes nothing.
func (c *Client) Find(ctx context.Context, order keyturn.KMSOrder) (keyturn.KMSKey, bool, error) {
	current, err := parse(order.Current.ID)
	if err != nil {
		return keyturn.KMSKey{}, false, err
	}
	v, err := c.find(ctx, current, order)
	if err != nil || v == nil {
		return keyturn.KMSKey{}, false, err
	}
	return c.describe(current, v), true, nil
}

// find returns the version of the order; nil: there is none. Of several the oldest, so that the answer does not
// change while others are made.
func (c *Client) find(ctx context.Context, current version, order keyturn.KMSOrder) (*found, error) {
	versions, err := c.versions(ctx, current)
	if err != nil {
		return nil, err
	}
	since := order.Task.CreatedAt().Add(-kms.Skew)
	for _, v := range versions {
		if v.version == current.version && v.created().After(since) {
			since = v.created()
		}
	}
	var best *found
	for _, v := range versions {
		mine := v.isOf(order.Task)
		if v.version == current.version || !mine && (v.isTagged() || v.created().Before(since)) {
			continue
		}
		if best == nil || c.rank(v, order) < c.rank(best, order) || c.rank(v, order) == c.rank(best, order) && v.created().Before(best.created()) {
			best = v
		}
	}
	return best, nil
}

// rank orders what may be the version of an order: what is tagged with it comes first, what can't be used last.
func (c *Client) rank(v *found, order keyturn.KMSOrder) int {
	switch {
	case v.isOf(order.Task):
		return 0
	case c.unusable(v) == "":
		return 1
	default:
		return 2
	}
}

func (v *found) tagOf(name string) string {
	if v.tags[name] == nil {
		return ""
	}
	return *v.tags[name]
}

// isTagged reports whether a task's tags were put on this very version.
func (v *found) isTagged() bool {
	of := v.tagOf(kms.TagVersion)
	return v.tagOf(kms.TagTask) != "" && (of == v.version || of == "")
}

func (v *found) isOf(task keyturn.ID) bool {
	return v.isTagged() && v.tagOf(kms.TagTask) == task.String()
}

func (v *found) created() time.Time {
	if v.attributes.Created == nil {
		return time.Time{}
	}
	return *v.attributes.Created
}

// create makes a version. Azure knows no idempotency token for it: the call is sent once.
func (c *Client) create(ctx context.Context, current version, order keyturn.KMSOrder) (*found, error) {
	var made azkeys.RotateKeyResponse
	what := call{doing: "making a version of", what: "key " + current.vault + "/keys/" + current.name, permission: "keys/rotate", change: true}
	err := c.do(ctx, current, what, func(ctx context.Context, vault *azkeys.Client) (err error) {
		made, err = vault.RotateKey(ctx, current.name, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	v := read(made.KeyBundle)
	if v == nil || v.version == current.version {
		return nil, &keyturn.SystemError{Kind: keyturn.KindAmbiguous, Code: kms.CodeServer, Err: fmt.Errorf(
			"making a version of key %s/keys/%s: Azure's answer has no new version of it", current.vault, current.name)}
	}
	c.log.Info("key version made", zap.String("provider", "azure"), zap.String("key", current.withVersion(v.version)),
		zap.Stringer("task", order.Task), zap.String("unit", order.Unit))
	return v, nil
}

// read takes out of an answer what we need; nil: there is no version in it.
func read(b azkeys.KeyBundle) *found {
	if b.Key == nil || b.Key.KID == nil || b.Key.KID.Version() == "" {
		return nil
	}
	v := &found{version: b.Key.KID.Version(), tags: b.Tags}
	if b.Attributes != nil {
		v.attributes = *b.Attributes
	}
	return v
}

// tag puts the task's tags on a version. It may be repeated. A vault that refuses them, for want of the permission or
// otherwise, leaves the version without: it is known by its date.
func (c *Client) tag(ctx context.Context, current version, v *found, order keyturn.KMSOrder) error {
	tags := map[string]*string{}
	maps.Copy(tags, v.tags)
	tags[kms.TagTask], tags[kms.TagUnit], tags[kms.TagVersion] = to.Ptr(order.Task.String()), to.Ptr(order.Unit), to.Ptr(v.version)
	id := current.withVersion(v.version)
	what := call{doing: "tagging", what: "key version " + id, permission: "keys/update"}
	err := c.do(ctx, current, what, func(ctx context.Context, vault *azkeys.Client) error {
		_, err := vault.UpdateKey(ctx, current.name, v.version, azkeys.UpdateKeyParameters{Tags: tags}, nil)
		return err
	})
	if se, ok := errors.AsType[*keyturn.SystemError](err); ok && se.Kind == keyturn.KindPermanent {
		c.log.Warn("a key version stays without tags", zap.String("key", id), zap.Error(err))
		return nil
	}
	return err
}

// mayHeal is for what goes wrong once the version is there. One that was made just now may be shown only a little
// later, so that nobody may look for it at once.
func mayHeal(err error, made bool) error {
	if !made {
		return err
	}
	healed := *keyturn.AsSystemError(err, keyturn.KindAmbiguous)
	healed.Kind = keyturn.KindAmbiguous
	return &healed
}

// versions lists the versions of a key.
func (c *Client) versions(ctx context.Context, of version) ([]*found, error) {
	var list []*found
	what := call{doing: "listing the versions of", what: "key " + of.vault + "/keys/" + of.name, permission: "keys/list"}
	err := c.do(ctx, of, what, func(ctx context.Context, vault *azkeys.Client) error {
		for pages := vault.NewListKeyPropertiesVersionsPager(of.name, nil); pages.More(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, p := range page.Value {
				if p == nil || p.KID == nil || p.KID.Version() == "" {
					continue
				}
				v := &found{version: p.KID.Version(), tags: p.Tags}
				if p.Attributes != nil {
					v.attributes = *p.Attributes
				}
				list = append(list, v)
			}
		}
		return nil
	})
	return list, err
}

// Newest returns the newest version of the same key that can be used. It may be the current one.
func (c *Client) Newest(ctx context.Context, current keyturn.KMSRef) (keyturn.KMSKey, error) {
	of, err := parse(current.ID)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	versions, err := c.versions(ctx, of)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	var newest *found
	for _, v := range versions {
		if c.unusable(v) == "" && (newest == nil || v.created().After(newest.created())) {
			newest = v
		}
	}
	if newest == nil {
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeUnusable, Err: fmt.Errorf(
			"key %s/keys/%s has no version that can be used: make or enable one", of.vault, of.name)}
	}
	return c.describe(of, newest), nil
}

// Describe looks at one version.
func (c *Client) Describe(ctx context.Context, key keyturn.KMSRef) (keyturn.KMSKey, error) {
	of, err := parse(key.ID)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	var got azkeys.GetKeyResponse
	err = c.do(ctx, of, call{doing: "looking at", what: "key version " + of.String(), permission: "keys/get"}, func(ctx context.Context, vault *azkeys.Client) (err error) {
		got, err = vault.GetKey(ctx, of.name, of.version, nil)
		return err
	})
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	v := read(got.KeyBundle)
	if v == nil {
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindTransient, Code: kms.CodeServer, Err: fmt.Errorf(
			"looking at key version %s: Azure's answer has no version in it", of)}
	}
	return c.describe(of, v), nil
}

// Disable disables one version of a key. It never deletes, and may be repeated.
func (c *Client) Disable(ctx context.Context, key keyturn.KMSRef) error {
	of, err := parse(key.ID)
	if err != nil {
		return err
	}
	what := call{doing: "disabling", what: "key version " + of.String(), permission: "keys/update"}
	return c.do(ctx, of, what, func(ctx context.Context, vault *azkeys.Client) error {
		_, err := vault.UpdateKey(ctx, of.name, of.version, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}, nil)
		return err
	})
}

// describe names the version in the form of the identifier that it goes with.
func (c *Client) describe(of version, v *found) keyturn.KMSKey {
	id := of.withVersion(v.version)
	key := keyturn.KMSKey{ID: id, Version: id, State: "enabled", CreatedAt: v.created().UTC(), NotBefore: utc(v.attributes.NotBefore), ExpiresAt: utc(v.attributes.Expires)}
	if v.attributes.Enabled != nil && !*v.attributes.Enabled {
		key.State = "disabled"
	}
	if why := c.unusable(v); why != "" {
		key.Reason = "key version " + id + " " + why
	}
	return key
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return to.Ptr(t.UTC())
}

// unusable says why Atlas could not use the version, and what to do; empty: it could.
func (c *Client) unusable(v *found) string {
	now := c.now()
	switch a := v.attributes; {
	case a.Enabled != nil && !*a.Enabled:
		return "is disabled: enable it"
	case a.Expires != nil && !a.Expires.After(now):
		return "has expired on " + a.Expires.UTC().Format(time.DateTime)
	case a.Expires != nil && a.Expires.Before(now.Add(expiresSoon)):
		return "expires on " + a.Expires.UTC().Format(time.DateTime) + ": Atlas refuses keys that expire within 48 hours"
	case a.NotBefore != nil && a.NotBefore.After(now):
		return "can't be used before " + a.NotBefore.UTC().Format(time.DateTime)
	default:
		return ""
	}
}

// retryAfter reads the header of an answer.
func retryAfter(answer *azcore.ResponseError) time.Duration {
	if answer.RawResponse == nil {
		return 0
	}
	return kms.RetryAfter(answer.RawResponse.Header)
}
