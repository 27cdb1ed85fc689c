package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// tagsMost is how many tags a key may have.
const tagsMost = 50

// Make finds the key that was made for the order, or makes one like the key in use, and moves the aliases to it.
// The tag of the task is put on in the same call that makes the key: there is no moment at which it has none.
func (c *Client) Make(ctx context.Context, order keyturn.KMSOrder) (keyturn.KMSKey, error) {
	if c.spec.Strategy != keyturn.StrategyNewKey {
		return keyturn.KMSKey{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeConfig, Err: fmt.Errorf(
			"making a key for %s: spec.kms.aws.strategy is %s", order.Unit, c.spec.Strategy)}
	}
	r, err := c.locate(order.Current)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	old, err := c.metadata(ctx, r, order.Current.ID)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	if err := notAModel(old, order.Current.ID); err != nil {
		return keyturn.KMSKey{}, err
	}
	aliases, err := c.aliases(ctx, r, old) // before anything is made: who may not read them makes no key in vain
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	aliases = besides(aliases, order.Current.ID)
	arn, found, err := c.find(ctx, r, order)
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	var made *types.KeyMetadata
	if found {
		made, err = c.metadata(ctx, r, arn)
	} else {
		made, err = c.create(ctx, r, order, old)
	}
	if err != nil {
		return keyturn.KMSKey{}, err
	}
	key := describe(made, order.Current.ID)
	if err := ready(made, key); err != nil {
		return keyturn.KMSKey{}, err
	}
	if err := c.moveAliases(ctx, r, aliases, made); err != nil {
		return keyturn.KMSKey{}, mayHeal(err, found)
	}
	return key, nil
}

// notAModel refuses keys of which no second one like it can be made.
func notAModel(old *types.KeyMetadata, id string) error {
	reason := ""
	switch {
	case old.KeySpec != "" && old.KeySpec != types.KeySpecSymmetricDefault, old.KeyUsage != "" && old.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		reason = fmt.Sprintf("it is no symmetric key for encryption (%s, %s)", old.KeySpec, old.KeyUsage)
	case old.KeyManager == types.KeyManagerTypeAws:
		reason = "AWS manages it: put a customer managed key into use first"
	case old.Origin != "" && old.Origin != types.OriginTypeAwsKms:
		reason = fmt.Sprintf("its material comes from elsewhere (origin %s): make the new key yourself, and set spec.kms.aws.strategy to provided", old.Origin)
	default:
		return nil
	}
	return &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeUnusable, Err: fmt.Errorf("making a key like %s: %s", id, reason)}
}

// create makes the key. AWS knows no idempotency token for it: the call is sent once.
func (c *Client) create(ctx context.Context, r *region, order keyturn.KMSOrder, old *types.KeyMetadata) (*types.KeyMetadata, error) {
	id := sdk.ToString(old.KeyId)
	if sdk.ToString(old.Arn) != "" {
		id = *old.Arn
	}
	policy, err := c.policy(ctx, r, id)
	if err != nil {
		return nil, err
	}
	tags, err := c.tags(ctx, r, id)
	if err != nil {
		return nil, err
	}
	if tags, err = c.tagsFor(order, tags); err != nil {
		return nil, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeConfig, Err: fmt.Errorf("making a key like %s: %w", id, err)}
	}
	in := &awskms.CreateKeyInput{Policy: sdk.String(policy), Tags: tags}
	if sdk.ToString(old.Description) != "" {
		in.Description = old.Description
	}
	if sdk.ToBool(old.MultiRegion) {
		in.MultiRegion = old.MultiRegion
	}
	var out *awskms.CreateKeyOutput
	what := call{doing: "making a key like", what: id, permission: "kms:CreateKey and kms:TagResource", change: true}
	err = c.do(ctx, r, what, func(ctx context.Context, opts ...func(*awskms.Options)) (err error) {
		out, err = r.api.CreateKey(ctx, in, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	made := out.KeyMetadata
	if made == nil || sdk.ToString(made.KeyId) == "" {
		return nil, &keyturn.SystemError{Kind: keyturn.KindAmbiguous, Code: kms.CodeServer, Err: fmt.Errorf("making a key like %s: AWS's answer has no key in it", id)}
	}
	if sdk.ToString(made.Arn) == "" {
		made.Arn = made.KeyId
	}
	r.remember(order.Task, *made.Arn)
	c.log.Info("key made", zap.String("provider", "aws"), zap.String("key", *made.Arn), zap.String("like", id),
		zap.Stringer("task", order.Task), zap.String("unit", order.Unit))
	return made, nil
}

// policy reads the key policy, in a form that fits another key: where it names the old key itself it says "*", which
// in the policy of a key means that key. https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
func (c *Client) policy(ctx context.Context, r *region, id string) (string, error) {
	var out *awskms.GetKeyPolicyOutput
	what := call{doing: "reading the policy of", what: "key " + id, permission: "kms:GetKeyPolicy"}
	err := c.do(ctx, r, what, func(ctx context.Context, opts ...func(*awskms.Options)) (err error) {
		out, err = r.api.GetKeyPolicy(ctx, &awskms.GetKeyPolicyInput{KeyId: sdk.String(id), PolicyName: sdk.String("default")}, opts...)
		return err
	})
	if err != nil {
		return "", err
	}
	policy := sdk.ToString(out.Policy)
	if !strings.Contains(policy, id) {
		return policy, nil
	}
	return withoutKey(policy, id), nil
}

func withoutKey(policy, arn string) string {
	var doc map[string]any
	if json.Unmarshal([]byte(policy), &doc) != nil {
		return policy // AWS will say what is wrong with it
	}
	statements, ok := doc["Statement"].([]any)
	if !ok {
		statements = []any{doc["Statement"]}
	}
	for _, s := range statements {
		if s, ok := s.(map[string]any); ok {
			s["Resource"] = starFor(s["Resource"], arn)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(doc) != nil {
		return policy
	}
	return strings.TrimSpace(b.String())
}

func starFor(resource any, arn string) any {
	switch v := resource.(type) {
	case string:
		if v == arn {
			return "*"
		}
	case []any:
		for i := range v {
			v[i] = starFor(v[i], arn)
		}
	}
	return resource
}

// tagsFor returns the tags of the new key: those of the old one, those of the spec, and ours.
func (c *Client) tagsFor(order keyturn.KMSOrder, old []types.Tag) ([]types.Tag, error) {
	var out []types.Tag
	for _, t := range old {
		name := sdk.ToString(t.TagKey)
		_, replaced := c.spec.Tags[name]
		if replaced || name == kms.TagTask || name == kms.TagUnit || strings.HasPrefix(strings.ToLower(name), "aws:") { // reserved by AWS
			continue
		}
		out = append(out, t)
	}
	for name, value := range c.spec.Tags {
		if name != kms.TagTask && name != kms.TagUnit {
			out = append(out, types.Tag{TagKey: sdk.String(name), TagValue: sdk.String(value)})
		}
	}
	out = append(out,
		types.Tag{TagKey: sdk.String(kms.TagTask), TagValue: sdk.String(order.Task.String())},
		types.Tag{TagKey: sdk.String(kms.TagUnit), TagValue: sdk.String(order.Unit)})
	if len(out) > tagsMost {
		return nil, fmt.Errorf("it would have %d tags, and AWS allows %d: remove some from the key in use or from spec.kms.aws.tags", len(out), tagsMost)
	}
	return out, nil
}

// ready refuses a key that was made and can't be used.
func ready(made *types.KeyMetadata, key keyturn.KMSKey) error {
	switch {
	case key.Usable():
		return nil
	case made.KeyState == types.KeyStateCreating || made.KeyState == types.KeyStateUpdating:
		return &keyturn.SystemError{Kind: keyturn.KindTransient, Code: kms.CodePending, Err: fmt.Errorf("key %s is being made", key.ID)}
	default:
		return &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeUnusable, Err: fmt.Errorf("the key that was made can't be used: %s", key.Reason)}
	}
}

// aliases returns the names of those that move: the alias of the spec, or else all of the old key.
func (c *Client) aliases(ctx context.Context, r *region, old *types.KeyMetadata) ([]string, error) {
	if c.spec.Alias != "" {
		return []string{c.spec.Alias}, nil
	}
	return c.aliasesOf(ctx, r, old)
}

// besides leaves out the alias that names the key in use: led to another key before Atlas knows of that, it would take away from
// Atlas the key that its data is encrypted with.
func besides(aliases []string, current string) []string {
	return slices.DeleteFunc(aliases, func(name string) bool { return current == name || strings.HasSuffix(current, ":"+name) })
}

func (c *Client) aliasesOf(ctx context.Context, r *region, old *types.KeyMetadata) ([]string, error) {
	var names []string
	id := sdk.ToString(old.KeyId)
	pages := awskms.NewListAliasesPaginator(r.api, &awskms.ListAliasesInput{KeyId: sdk.String(id)})
	for pages.HasMorePages() {
		var page *awskms.ListAliasesOutput
		err := c.do(ctx, r, call{doing: "listing the aliases of", what: "key " + id, permission: "kms:ListAliases on *"}, func(ctx context.Context, opts ...func(*awskms.Options)) (err error) {
			page, err = pages.NextPage(ctx, opts...)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, a := range page.Aliases {
			name := sdk.ToString(a.AliasName)
			if sdk.ToString(a.TargetKeyId) == id && strings.HasPrefix(name, "alias/") && !strings.HasPrefix(name, "alias/aws/") { // AWS's own
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// moveAliases makes aliases lead to the new key. It may be repeated.
func (c *Client) moveAliases(ctx context.Context, r *region, names []string, made *types.KeyMetadata) error {
	for _, name := range names {
		err := c.moveAlias(ctx, r, name, sdk.ToString(made.KeyId))
		if se, ok := errors.AsType[*keyturn.SystemError](err); ok && se.Code == kms.CodeNotFound && c.spec.Alias != "" {
			err = c.createAlias(ctx, r, name, sdk.ToString(made.KeyId))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) moveAlias(ctx context.Context, r *region, name, to string) error {
	what := call{doing: "moving " + name + " to", what: "key " + to, permission: "kms:UpdateAlias, on the alias and both keys,", harmless: true}
	return c.do(ctx, r, what, func(ctx context.Context, opts ...func(*awskms.Options)) error {
		_, err := r.api.UpdateAlias(ctx, &awskms.UpdateAliasInput{AliasName: sdk.String(name), TargetKeyId: sdk.String(to)}, opts...)
		return err
	})
}

func (c *Client) createAlias(ctx context.Context, r *region, name, to string) error {
	what := call{doing: "making " + name + " for", what: "key " + to, permission: "kms:CreateAlias, on the alias and the key,", harmless: true}
	return c.do(ctx, r, what, func(ctx context.Context, opts ...func(*awskms.Options)) error {
		_, err := r.api.CreateAlias(ctx, &awskms.CreateAliasInput{AliasName: sdk.String(name), TargetKeyId: sdk.String(to)}, opts...)
		return err
	})
}

// mayHeal is for what goes wrong once the key is there: the same order comes again, and finds it. Permissions on
// a key that is new may need a while, or someone grants them meanwhile; and AWS may show a new key only a little
// later, so that nobody may look for it at once.
func mayHeal(err error, found bool) error {
	se := keyturn.AsSystemError(err, keyturn.KindAmbiguous)
	if found && se.Kind == keyturn.KindTransient {
		return err
	}
	healed := *se
	healed.Kind = keyturn.KindAmbiguous
	return &healed
}
