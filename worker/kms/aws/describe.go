package aws

import (
	"context"
	"fmt"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// rotationsMost is how often AWS makes new material for one key on demand.
// https://docs.aws.amazon.com/kms/latest/developerguide/rotating-keys-on-demand.html
const rotationsMost = 25

// Describe looks at one key.
func (c *Client) Describe(ctx context.Context, key keyturn.KMSRef) (keyturn.KMSKey, error) {
	r, err := c.locate(key)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	md, err := c.metadata(ctx, r, key.ID)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	out := describe(md, key.ID)
	if c.spec.Strategy == keyturn.StrategyInPlace {
		err = c.addRotations(ctx, r, md, &out)
	}
	return out, err
}

// Newest returns the key that the alias in the spec leads to, in the region of the current one.
func (c *Client) Newest(ctx context.Context, current keyturn.KMSRef) (keyturn.KMSKey, error) {
	r, err := c.locate(current)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	if c.spec.Alias == "" {
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeConfig, Err: fmt.Errorf(
			"which key follows %s? Name it in the trigger, or set spec.kms.aws.alias to the alias that leads to it", current.ID)}
	}
	md, err := c.metadata(ctx, r, c.spec.Alias)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	return describe(md, current.ID), nil
}

// metadata reads what AWS tells of a key, by its id, its ARN or an alias.
func (c *Client) metadata(ctx context.Context, r *region, id string) (*types.KeyMetadata, error) {
	var out *awskms.DescribeKeyOutput
	err := c.do(ctx, r, call{doing: "looking at", what: "key " + id, permission: "kms:DescribeKey"}, func(ctx context.Context, opts ...func(*awskms.Options)) (err error) {
		out, err = r.api.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: sdk.String(id)}, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	if out.KeyMetadata == nil || sdk.ToString(out.KeyMetadata.KeyId) == "" {
		return nil, &keyturn.SystemError{Kind: keyturn.KindTransient, Code: kms.CodeServer, Err: fmt.Errorf("looking at key %s: AWS's answer has no key in it", id)}
	}
	return out.KeyMetadata, nil
}

// describe names the key in the form of like: an ARN for an ARN or an alias, an id for an id.
func describe(md *types.KeyMetadata, like string) keyturn.KMSKey {
	id := sdk.ToString(md.KeyId)
	if (strings.HasPrefix(like, "arn:") || strings.HasPrefix(like, "alias/")) && sdk.ToString(md.Arn) != "" {
		id = sdk.ToString(md.Arn)
	}
	return keyturn.KMSKey{
		ID: id, Version: id, State: string(md.KeyState), Reason: unusable(md),
		CreatedAt: sdk.ToTime(md.CreationDate).UTC(), ExpiresAt: utc(md.ValidTo),
	}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// unusable says why Atlas could not use the key, and what to do; empty: it could.
// https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
func unusable(md *types.KeyMetadata) string {
	id := sdk.ToString(md.Arn)
	switch {
	case md.KeySpec != "" && md.KeySpec != types.KeySpecSymmetricDefault, md.KeyUsage != "" && md.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		return fmt.Sprintf("key %s is no symmetric key for encryption (%s, %s)", id, md.KeySpec, md.KeyUsage)
	case md.KeyState == types.KeyStateEnabled, md.KeyState == "": // it does not say: Atlas looks for itself
		return ""
	case md.KeyState == types.KeyStateDisabled:
		return fmt.Sprintf("key %s is disabled: enable it", id)
	case md.KeyState == types.KeyStatePendingDeletion, md.KeyState == types.KeyStatePendingReplicaDeletion:
		return fmt.Sprintf("key %s is going to be deleted%s: cancel the deletion and enable it", id, on(md.DeletionDate))
	case md.KeyState == types.KeyStatePendingImport:
		return fmt.Sprintf("key %s has no material yet: import it", id)
	case md.KeyState == types.KeyStateUnavailable:
		return fmt.Sprintf("key %s is unavailable: its key store is not connected", id)
	default:
		return fmt.Sprintf("key %s is in state %s", id, md.KeyState)
	}
}

func on(t *time.Time) string {
	if t == nil {
		return ""
	}
	return " on " + t.UTC().Format(time.DateOnly)
}

// addRotations adds what strategy in-place wants to know: which material the key has, since when, and how often
// it can get new one.
func (c *Client) addRotations(ctx context.Context, r *region, md *types.KeyMetadata, key *keyturn.KMSKey) error {
	id := sdk.ToString(md.KeyId)
	if sdk.ToString(md.Arn) != "" {
		id = *md.Arn
	}
	last, demanded, err := c.rotations(ctx, r, id)
	if err != nil {
		return err
	}
	left := max(0, rotationsMost-demanded)
	key.RotationsLeft = &left
	if last != nil {
		key.CreatedAt = last.UTC()
	}
	switch material := sdk.ToString(md.CurrentKeyMaterialId); {
	case material != "":
		key.Version = key.ID + "#" + material
	case last != nil:
		key.Version = key.ID + "#" + last.UTC().Format(time.RFC3339Nano)
	}
	key.Rotating, err = c.rotating(ctx, r, id)
	return err
}

// rotations returns when the last one was complete, and how many were made on demand.
func (c *Client) rotations(ctx context.Context, r *region, id string) (last *time.Time, demanded int, err error) {
	pages := awskms.NewListKeyRotationsPaginator(r.api, &awskms.ListKeyRotationsInput{KeyId: sdk.String(id)})
	what := call{doing: "listing the rotations of", what: "key " + id, permission: "kms:ListKeyRotations"}
	for pages.HasMorePages() {
		var page *awskms.ListKeyRotationsOutput
		err := c.do(ctx, r, what, func(ctx context.Context, opts ...func(*awskms.Options)) (err error) {
			page, err = pages.NextPage(ctx, opts...)
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		for _, e := range page.Rotations {
			if e.RotationType == types.RotationTypeOnDemand {
				demanded++
			}
			if e.RotationDate != nil && (last == nil || e.RotationDate.After(*last)) {
				last = e.RotationDate
			}
		}
	}
	return last, demanded, nil
}

// rotating reports whether a rotation on demand is under way.
func (c *Client) rotating(ctx context.Context, r *region, id string) (bool, error) {
	var out *awskms.GetKeyRotationStatusOutput
	err := c.do(ctx, r, call{doing: "asking for rotations of", what: "key " + id, permission: "kms:GetKeyRotationStatus"}, func(ctx context.Context, opts ...func(*awskms.Options)) (err error) {
		out, err = r.api.GetKeyRotationStatus(ctx, &awskms.GetKeyRotationStatusInput{KeyId: sdk.String(id)}, opts...)
		return err
	})
	if err != nil {
		return false, err
	}
	return out.OnDemandRotationStartDate != nil, nil
}

// Rotate asks AWS for new material for the key, once. AWS makes it in the background: Describe shows when it is there.
func (c *Client) Rotate(ctx context.Context, key keyturn.KMSRef) error {
	if c.spec.Strategy != keyturn.StrategyInPlace {
		return &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeConfig, Err: fmt.Errorf(
			"rotating key %s in place: spec.kms.aws.strategy is %s", key.ID, c.spec.Strategy)}
	}
	r, err := c.locate(key)
	if err != nil {
		return err
	}
	what := call{doing: "rotating", what: "key " + key.ID + " in place", permission: "kms:RotateKeyOnDemand", change: true}
	return c.do(ctx, r, what, func(ctx context.Context, opts ...func(*awskms.Options)) error {
		_, err := r.api.RotateKeyOnDemand(ctx, &awskms.RotateKeyOnDemandInput{KeyId: sdk.String(key.ID)}, opts...)
		return err
	})
}

// Disable disables a key. It never deletes, and may be repeated.
func (c *Client) Disable(ctx context.Context, key keyturn.KMSRef) error {
	r, err := c.locate(key)
	if err != nil {
		return err
	}
	what := call{doing: "disabling", what: "key " + key.ID, permission: "kms:DisableKey", harmless: true}
	return c.do(ctx, r, what, func(ctx context.Context, opts ...func(*awskms.Options)) error {
		_, err := r.api.DisableKey(ctx, &awskms.DisableKeyInput{KeyId: sdk.String(key.ID)}, opts...)
		return err
	})
}
