package atlas

import (
	"context"
	"fmt"
	"strings"
)

// DisableKey disables a key in the provider's KMS. It refuses the key in use, and one that shares its id.
func (c *Client) DisableKey(ctx context.Context, unit, key string) error {
	const doing = "disabling a key of unit"
	at, err := c.find(unit)
	if err != nil {
		return err
	}
	now, err := c.ready(ctx, at, doing, 1)
	if err != nil {
		return err
	}
	switch {
	case id(key) == now.key && id(key) != key:
		return c.refuse(at, doing, "shared_key", fmt.Sprintf("%s is older material of the key in use: AWS keeps it as long as the key, and it can't be disabled by itself", key))
	case sameKey(id(key), now.key):
		return c.refuse(at, doing, "key_in_use", "key "+key+" is in use")
	case !at.provider.wellFormed(id(key)):
		return c.refuse(at, doing, "bad_key", fmt.Sprintf("%.200q is no key of %s: expected %s", key, at.provider.name, at.provider.example))
	}
	service, err := c.service(at, doing)
	if err != nil {
		return err
	}
	if isAlias(at.provider, now.key) {
		described, err := service.Describe(ctx, now.ref(now.key))
		if err != nil {
			return c.kmsFailed(at, doing, err)
		}
		if sameKey(id(key), described.ID) {
			return c.refuse(at, doing, "key_in_use", "key "+key+" is in use, by the name "+now.key)
		}
	}
	if err := service.Disable(ctx, now.ref(id(key))); err != nil {
		return c.kmsFailed(at, doing, err)
	}
	return nil
}

// sameKey compares keys in whatever form they are named: with AWS an ARN ends in the key's id.
func sameKey(a, b string) bool {
	return strings.EqualFold(a, b) || strings.HasSuffix(a, ":key/"+b) || strings.HasSuffix(b, ":key/"+a)
}

// RetireDoubts names the paused clusters of the unit: they take a new key only when they run again.
func (c *Client) RetireDoubts(ctx context.Context, unit, _ string) ([]string, error) {
	at, err := c.find(unit)
	if err != nil {
		return nil, err
	}
	clusters, err := c.clusters(ctx, at.project, "listing the clusters of unit", unit)
	if err != nil {
		return nil, err
	}
	var doubts []string
	for _, k := range clusters {
		if k.Provider != at.provider.cluster {
			continue
		}
		switch {
		case k.Paused:
			doubts = append(doubts, "cluster "+k.Name+" is paused: it may take the new key only when it runs again")
		case k.State != stateIdle:
			doubts = append(doubts, "cluster "+k.Name+" is "+k.State+": it may not be through with the last change")
		}
	}
	return doubts, nil
}
