// Package hook verifies and reads the calls of others: alert webhooks of MongoDB's control planes, Azure
// Event Grid, AWS EventBridge, Prometheus Alertmanager and all that send Standard Webhooks. It decides
// nothing and keeps nothing.
package hook

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // MongoDB signs with HMAC-SHA1, which its collisions don't break
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyturn/keyturn"
)

// ErrNotVerified means that the caller did not show that it knows the secret. It never says what was wrong.
var ErrNotVerified = errors.New("the request is not signed as the hook demands")

// Verify answers ErrNotVerified unless the request was made with one of the secrets. Comparisons take the
// same time whatever is compared.
func Verify(source keyturn.HookSource, r *http.Request, body []byte, secrets []string) error {
	verified := false
	for _, secret := range secrets {
		if secret != "" && verifyOne(source, r, body, secret) {
			verified = true
		}
	}
	if !verified {
		return ErrNotVerified
	}
	return nil
}

func verifyOne(source keyturn.HookSource, r *http.Request, body []byte, secret string) bool {
	switch {
	case source.MongoDB():
		return signedByMongoDB(r.Header.Get("X-MMS-Signature"), body, secret)
	case source == keyturn.SourceStandard:
		verifier, err := standardwebhooks.NewWebhook(secret)
		return err == nil && verifier.Verify(body, r.Header) == nil // not older or newer than 5 minutes
	default:
		return hasToken(source, r, secret)
	}
}

// signedByMongoDB checks the base64 of the HMAC-SHA1 of the body, which alert webhooks have in
// X-MMS-Signature when they were given a key: https://www.mongodb.com/docs/ops-manager/current/tutorial/third-party-service-integrations/
func signedByMongoDB(signature string, body []byte, secret string) bool {
	got, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(got) == 0 {
		return false
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write(body)
	return hmac.Equal(got, mac.Sum(nil))
}

// hasToken looks for the secret where senders without signatures can put one.
func hasToken(source keyturn.HookSource, r *http.Request, secret string) bool {
	candidates := []string{r.Header.Get("X-Keyturn-Token"), r.Header.Get("X-Api-Key")}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		candidates = append(candidates, strings.TrimSpace(token))
	}
	if _, password, ok := r.BasicAuth(); ok {
		candidates = append(candidates, password)
	}
	if source == keyturn.SourceEventGrid { // it can always write queries, headers not everywhere
		candidates = append(candidates, first(r.URL, "code"))
	}
	found := false
	want := sha256.Sum256([]byte(secret))
	for _, c := range candidates {
		got := sha256.Sum256([]byte(c))
		if hmac.Equal(got[:], want[:]) {
			found = true
		}
	}
	return found
}

func first(u *url.URL, name string) string { return u.Query().Get(name) }
