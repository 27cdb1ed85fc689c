package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

// withoutAddresses leaves of the webhooks' URLs only the hosts, unless the caller is an admin, who could apply
// others: the URLs of Slack, Teams and the like let whoever knows them in. References stay.
func withoutAddresses(ctx context.Context, resources []keyturn.Resource) error {
	if caller, _ := ctx.Value(callerKey{}).(keyturn.Caller); caller.Role.Covers(keyturn.RoleAdmin) {
		return nil
	}
	for i := range resources {
		if resources[i].Kind != keyturn.KindWebhook {
			continue
		}
		var spec map[string]any
		if err := json.Unmarshal(resources[i].Spec, &spec); err != nil {
			return fmt.Errorf("reading webhook %s: %w", resources[i].Name, err)
		}
		whole, _ := spec["url"].(string)
		short := withoutPath(whole)
		if short == whole {
			continue
		}
		spec["url"] = short
		encoded, err := json.Marshal(spec)
		if err != nil {
			return fmt.Errorf("writing webhook %s: %w", resources[i].Name, err)
		}
		resources[i].Spec = encoded
	}
	return nil
}

func withoutPath(whole string) string {
	if resource.IsReference(whole) {
		return whole
	}
	u, err := url.Parse(whole)
	if err != nil || u.Host == "" {
		return resource.Redacted
	}
	host := u.Scheme + "://" + u.Host
	if whole == host || whole == host+"/" {
		return whole
	}
	return host + "/" + resource.Redacted
}

// withoutSecrets blots out the values of a JSON document whose names sound like a secret's. What systems keep
// with an intent holds none; this is in case one ever does. What is no JSON is left out.
func withoutSecrets(doc json.RawMessage) json.RawMessage {
	if len(doc) == 0 {
		return nil
	}
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return nil
	}
	out, err := json.Marshal(blot(v))
	if err != nil {
		return nil
	}
	return out
}

func blot(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if soundsSecret(name) {
				v[name] = resource.Redacted
			} else {
				v[name] = blot(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = blot(v[i])
		}
	}
	return v
}

func soundsSecret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"secret", "password", "passphrase", "token", "credential", "privatekey", "authorization"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
