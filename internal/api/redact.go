package api

import (
	"encoding/json"
	"strings"
)

// redacted stands where a secret would be.
const redacted = "(redacted)"

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
				v[name] = redacted
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
