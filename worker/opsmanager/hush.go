package opsmanager

import (
	"encoding/json"
	"slices"
	"strings"
)

// hushLeast is the length of the shortest text that is taken out of another: shorter ones are parts of many words.
const hushLeast = 3

// hush takes out of a server's text what may be a secret of the body that it answers, and what may be a part of
// that body. Servers quote what they refuse.
func (c *Client) hush(text string, body []byte) string {
	if text == "" || body == nil {
		return text
	}
	var config any
	if json.Unmarshal(body, &config) != nil {
		return ""
	}
	var found []string
	secrets(config, false, func(secret string) {
		if len(secret) >= hushLeast {
			found = append(found, secret)
		}
	})
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) }) // one may be a part of another
	for _, secret := range found {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return c.short(text)
}

// secrets calls yield for each text in a part of a config that is, or is inside of, a field that sounds secret.
func secrets(part any, secret bool, yield func(string)) {
	switch v := part.(type) {
	case map[string]any:
		for name, value := range v {
			secrets(value, secret || soundsSecret(name), yield)
		}
	case []any:
		for _, value := range v {
			secrets(value, secret, yield)
		}
	case string:
		if secret {
			yield(v)
		}
	}
}

func soundsSecret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"key", "pwd", "pass", "secret", "token", "cred", "salt"} {
		if strings.Contains(name, word) && !strings.Contains(name, "rotation") {
			return true
		}
	}
	return false
}
