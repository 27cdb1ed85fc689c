package atlas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// strategy is how new keys of a provider come to be.
func (c *Client) strategy(p provider) keyturn.KeyStrategy {
	kms := c.target.KMS
	switch p.id {
	case keyturn.KMSProviderAWS:
		return cmp.Or(kms.AWS.Strategy, keyturn.StrategyNewKey)
	case keyturn.KMSProviderAzure:
		return cmp.Or(kms.Azure.Strategy, keyturn.StrategyNewVersion)
	default:
		return cmp.Or(kms.GCP.Strategy, keyturn.StrategyNewVersion)
	}
}

func (c *Client) inPlace(p provider) bool { return c.strategy(p) == keyturn.StrategyInPlace }

// id is the part of a key's name in the history that names it to Atlas: with strategy in-place "#" and the name of
// the material follow.
func id(key string) string {
	name, _, _ := strings.Cut(key, "#")
	return name
}

// Prepare finds the key in use. It refuses a unit that Atlas would refuse to change.
func (c *Client) Prepare(ctx context.Context, unit string, _ keyturn.ID) (keyturn.Intent, error) {
	const doing = "reading the key of unit"
	at, err := c.find(unit)
	if err != nil {
		return keyturn.Intent{}, err
	}
	now, err := c.ready(ctx, at, doing, turnRequests)
	if err != nil {
		return keyturn.Intent{}, err
	}
	key, _, err := c.inUse(ctx, at, now, doing)
	return keyturn.Intent{Before: key}, err
}

// ready asks for the unit's setting and refuses one that can't be changed.
func (c *Client) ready(ctx context.Context, at place, doing string, turns int) (setting, error) {
	now, err := c.setting(ctx, at, doing, turns)
	if err != nil {
		return setting{}, err
	}
	if code, reason := now.trouble(at.provider); reason != "" {
		return setting{}, c.refuse(at, doing, code, reason)
	}
	return now, nil
}

// inUse is the key in use as the history calls it, and with strategy in-place how AWS describes it.
func (c *Client) inUse(ctx context.Context, at place, now setting, doing string) (string, keyturn.KMSKey, error) {
	if !c.inPlace(at.provider) {
		return now.key, keyturn.KMSKey{}, nil
	}
	if isAlias(at.provider, now.key) {
		return "", keyturn.KMSKey{}, c.refuse(at, doing, "key_by_alias",
			fmt.Sprintf("the project names its key by an alias (%s), of which AWS makes no new material: name the key by its ARN in Atlas once", now.key))
	}
	service, err := c.service(at, doing)
	if err != nil {
		return "", keyturn.KMSKey{}, err
	}
	key, err := service.Describe(ctx, now.ref(now.key))
	if err != nil {
		return "", keyturn.KMSKey{}, c.kmsFailed(at, doing, err)
	}
	return cmp.Or(key.Version, now.key), key, nil
}

// Current returns the id of the key in use.
func (c *Client) Current(ctx context.Context, unit string) (string, error) {
	const doing = "reading the key of unit"
	at, err := c.find(unit)
	if err != nil {
		return "", err
	}
	now, err := c.setting(ctx, at, doing, 1)
	if err != nil {
		return "", err
	}
	if now.key == "" {
		// A unit that had a key has one; an answer without it is one to ask for again.
		return "", c.fail(at.question("", doing), keyturn.SystemError{Kind: keyturn.KindTransient, Code: "no_key"}, errors.New("the project names no key"))
	}
	key, _, err := c.inUse(ctx, at, now, doing)
	return key, err
}

// Make finds the key that was made for the order, or makes it, in the provider's key service.
func (c *Client) Make(ctx context.Context, unit string, order keyturn.KeyOrder, intent keyturn.Intent) (keyturn.Intent, error) {
	const doing = "making a key for unit"
	at, err := c.find(unit)
	if err != nil {
		return intent, err
	}
	now, err := c.ready(ctx, at, doing, turnRequests)
	if err != nil {
		return intent, err
	}
	if now.key != id(intent.Before) {
		return intent, c.moved(at, doing, intent, now.key)
	}
	switch c.strategy(at.provider) {
	case keyturn.StrategyInPlace:
		return intent, c.checkMaterial(ctx, at, now)
	case keyturn.StrategyProvided:
		intent.Want, err = c.provided(ctx, at, now, order.Provided)
		return intent, err
	}
	if order.Provided != "" {
		intent.Want, err = c.provided(ctx, at, now, order.Provided)
		return intent, err
	}
	service, err := c.service(at, doing)
	if err != nil {
		return intent, err
	}
	key, err := service.Make(ctx, keyturn.KMSOrder{Task: order.Task, Unit: unit, Current: now.ref(now.key)})
	if err != nil {
		return intent, c.kmsFailed(at, doing, err)
	}
	if !key.Usable() {
		return intent, c.fail(at.question("", doing), keyturn.SystemError{Kind: keyturn.KindTransient, Code: "key_not_ready"},
			fmt.Errorf("key %s can't be used yet: %s", key.ID, key.Reason))
	}
	intent.Want = key.ID
	return intent, nil
}

// checkMaterial refuses a key that AWS makes no more material for.
func (c *Client) checkMaterial(ctx context.Context, at place, now setting) error {
	const doing = "rotating the key of unit in place"
	_, key, err := c.inUse(ctx, at, now, doing)
	if err != nil {
		return err
	}
	if left := key.RotationsLeft; left != nil {
		if *left <= 0 {
			return c.refuse(at, doing, "no_rotations_left",
				fmt.Sprintf("AWS rotates key %s on demand no more often: write strategy: new-key at spec.kms.aws", now.key))
		}
		c.log.Info("rotating a key of AWS KMS in place", zapTarget(c.target.Name), zap.String("unit", at.unit), zap.Int("left", *left))
	}
	return nil
}

// provided finds the key that someone else has made: the one that was named, or the newest.
func (c *Client) provided(ctx context.Context, at place, now setting, named string) (string, error) {
	const doing = "finding the new key of unit"
	service := c.keys[at.provider.id]
	if named == "" {
		if service == nil {
			return "", c.refuse(at, doing, "no_key_named", "name the new key in the trigger: keyturn rotate POLICY --key "+at.unit+"=ID")
		}
		key, err := service.Newest(ctx, now.ref(now.key))
		if err != nil {
			return "", c.kmsFailed(at, doing, err)
		}
		if key.ID == now.key {
			return "", c.fail(at.question("", doing), keyturn.SystemError{Kind: keyturn.KindPermanent, Needless: true, Code: "no_newer_key"},
				fmt.Errorf("nobody has made a key that is newer than the one in use (%s): make it first, or name one: keyturn rotate POLICY --key %s=ID", now.key, at.unit))
		}
		named = key.ID
	}
	if reason := misnamed(at.provider, now, named); reason != "" {
		return "", c.refuse(at, doing, "bad_key", reason)
	}
	if service == nil {
		return named, nil
	}
	key, err := service.Describe(ctx, now.ref(named))
	switch {
	case err != nil: // whoever makes the keys need not let us see them: Atlas will say whether it can use it
		c.log.Info("the key that was named can't be looked at; Atlas decides whether it can be used", zapTarget(c.target.Name), zap.String("unit", at.unit), zapError(err))
	case !key.Usable():
		return "", c.refuse(at, doing, "key_not_usable", fmt.Sprintf("key %s can't be used: %s", named, key.Reason))
	}
	return named, nil
}

// misnamed says what is wrong with the name of a new key; empty: nothing that shows.
func misnamed(p provider, now setting, key string) string {
	switch {
	case !p.wellFormed(key):
		return fmt.Sprintf("%.200q is no key of %s: expected %s", key, p.name, p.example)
	case key == now.key:
		return "key " + key + " is in use already"
	case p.id == keyturn.KMSProviderAzure && vault(key) != vault(now.key):
		return fmt.Sprintf("the key is in vault %s, and must be in the project's: %s", vault(key), vault(now.key))
	case p.id != keyturn.KMSProviderAWS:
		return ""
	}
	region, arn := awsRegion(key)
	_, nowARN := awsRegion(now.key)
	switch {
	case arn && now.region != "" && now.region != "GLOBAL" && region != strings.ReplaceAll(strings.ToLower(now.region), "_", "-"):
		return fmt.Sprintf("the key is in region %s, and must be in the project's: %s", region, now.region)
	case !arn && nowARN:
		return "name the key by its full ARN, as the key in use is: a key of another AWS account is not found without (" + p.example + ")"
	}
	return ""
}

// awsRegion is the region in a key's ARN.
func awsRegion(key string) (region string, isARN bool) {
	parts := strings.Split(key, ":")
	if len(parts) != 6 || parts[0] != "arn" {
		return "", false
	}
	return parts[3], true
}

// isAlias reports a key of AWS that is named by a name that may be given to another one.
func isAlias(p provider, key string) bool {
	return p.id == keyturn.KMSProviderAWS && (strings.HasPrefix(key, "alias/") || strings.HasPrefix(key, "arn:") && strings.Contains(key, ":alias/"))
}

// vault is the host of a key identifier.
func vault(key string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(key, "https://"), "/")
	return strings.ToLower(host)
}

// Apply names the new key to the project: one PATCH, sent once, of nothing but the key. Right before it looks
// whether the key is still the one that it is to replace.
func (c *Client) Apply(ctx context.Context, unit string, intent keyturn.Intent) error {
	const doing = "changing the key of unit"
	at, err := c.find(unit)
	if err != nil {
		return err
	}
	// The look and the change share one request's time: whoever called counts on it being over then.
	ctx, cancel := context.WithTimeout(ctx, c.target.Timeouts.Request.Std())
	defer cancel()
	now, err := c.ready(ctx, at, doing, 0)
	if err != nil {
		return err
	}
	key, described, err := c.inUse(ctx, at, now, doing)
	if err != nil {
		return err
	}
	switch {
	case intent.ChangedBy(key) && (key == intent.Want || id(key) == id(intent.Before)): // one that was sent before has got through
		return c.fail(at.question("", doing), keyturn.SystemError{Kind: keyturn.KindAmbiguous, Code: "already_changed"}, fmt.Errorf("it shows key %s already", key))
	case key != intent.Before:
		return c.moved(at, doing, intent, key)
	}
	if c.inPlace(at.provider) && intent.Want == "" {
		return c.turnMaterial(ctx, at, now, described)
	}
	if intent.Want == "" {
		return c.refuse(at, doing, "no_key", "no key was made for it")
	}
	return c.put(ctx, at, now, intent.Want)
}

// turnMaterial makes AWS make new material for the key. Atlas need not be told.
func (c *Client) turnMaterial(ctx context.Context, at place, now setting, described keyturn.KMSKey) error {
	const doing = "rotating the key of unit in place"
	service, ok := c.keys[at.provider.id].(materialTurner)
	if !ok {
		return c.refuse(at, doing, "no_kms", "its key service can't rotate in place")
	}
	if described.Rotating {
		return c.fail(at.question("", doing), keyturn.SystemError{Kind: keyturn.KindAmbiguous, Code: "rotating"}, errors.New("AWS is rotating it already"))
	}
	if err := service.Rotate(ctx, now.ref(now.key)); err != nil {
		return c.kmsFailed(at, doing, err)
	}
	return nil
}

// moved refuses a change because somebody else was faster: the key that it would replace is not in use any more.
func (c *Client) moved(at place, doing string, intent keyturn.Intent, now string) error {
	return c.refuse(at, doing, "key_moved",
		fmt.Sprintf("somebody else has changed it meanwhile: expected %s, found %s; nothing was changed: rotate it again if it should be", intent.Before, now))
}

// refuse is the error of what Keyturn itself does not do.
func (c *Client) refuse(at place, doing, code, reason string) error {
	return c.fail(at.question("", doing), keyturn.SystemError{Kind: keyturn.KindPermanent, Code: code}, errors.New(reason))
}

func (c *Client) service(at place, doing string) (KeyService, error) {
	if s := c.keys[at.provider.id]; s != nil {
		return s, nil
	}
	return nil, c.refuse(at, doing, "no_kms", "there is no client of "+at.provider.name)
}

// kmsFailed passes an error of a key service on. Its trouble is not the target's: other providers go on.
func (c *Client) kmsFailed(at place, doing string, err error) error {
	e := *keyturn.AsSystemError(err, keyturn.KindAmbiguous)
	e.Target = false
	return c.fail(at.question("", doing), e, err)
}
