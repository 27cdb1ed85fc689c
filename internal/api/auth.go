package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// secretPrefix marks Keyturn's tokens, so that scanners for leaked secrets find them.
const secretPrefix = "kt_"

// secretLen is the length of a token: the prefix and 32 random bytes as unpadded base64url.
const secretLen = len(secretPrefix) + 43

// newSecret returns a fresh token and what is stored of it.
func newSecret() (secret string, hash [32]byte) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand aborts the program instead
	secret = secretPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	return secret, hashSecret(secret)
}

// hashSecret is what is stored of a token. Plain SHA-256 is enough for 256 random bits.
func hashSecret(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

func plausibleSecret(s string) bool {
	return len(s) == secretLen && strings.HasPrefix(s, secretPrefix)
}

// tokenCaller begins the names of callers that are bearers of a token.
const tokenCaller = "token:"

type (
	callerKey struct{}
	bearerKey struct{} // of the token's id, if there is one
)

// requestedBy names the caller in what is written down.
func requestedBy(ctx context.Context) string {
	c, _ := ctx.Value(callerKey{}).(keyturn.Caller)
	return c.Name
}

// authorize lets only those with at least the role through: bearers of a token, and people whom the
// pages of this process name in the request's context.
func (s *server) authorize(role keyturn.Role) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if person, ok := keyturn.CallerOf(ctx.Context()); ok {
			if !person.Role.Covers(role) {
				s.refuse(ctx, http.StatusForbidden, "this needs the role "+string(role)+", and "+person.Name+" has the role "+string(person.Role))
				return
			}
			next(huma.WithValue(ctx, callerKey{}, person))
			return
		}
		secret, ok := bearer(ctx.Header("Authorization"))
		if !ok {
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="keyturn"`)
			s.refuse(ctx, http.StatusUnauthorized, "no token was sent; send one as \"Authorization: Bearer kt_…\"")
			return
		}
		token, err := s.tokens.lookup(ctx.Context(), secret)
		switch {
		case errors.Is(err, keyturn.ErrNotFound):
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="keyturn", error="invalid_token"`)
			s.refuse(ctx, http.StatusUnauthorized, "the token is unknown, revoked or expired; make another with `keyturn token create`, or on the server's machine with `keyturn token recover`")
		case err != nil:
			s.Logger.Error("looking up a token", zap.Error(err), zap.String("request_id", requestID(ctx.Context())))
			ctx.SetHeader("Retry-After", "1")
			detail := "tokens can't be checked, because the database does not answer; try again"
			if away, ok := errors.AsType[*keyturn.UnavailableError](err); ok {
				detail = "tokens can't be checked: " + away.Advice
			}
			s.refuse(ctx, http.StatusServiceUnavailable, detail)
		case !token.Role.Covers(role):
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="keyturn", error="insufficient_scope", scope="`+string(role)+`"`)
			s.refuse(ctx, http.StatusForbidden, "this needs the role "+string(role)+", and the token "+token.Name+" has the role "+string(token.Role))
		default:
			caller := keyturn.Caller{Name: tokenCaller + token.Name, Role: token.Role, Remote: ctx.RemoteAddr()}
			next(huma.WithValue(huma.WithValue(ctx, callerKey{}, caller), bearerKey{}, token.ID))
		}
	}
}

func (s *server) refuse(ctx huma.Context, status int, detail string) {
	if err := huma.WriteErr(s.huma, ctx, status, detail); err != nil {
		s.Logger.Debug("writing an error", zap.Error(err))
	}
}

func bearer(header string) (string, bool) {
	scheme, secret, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	secret = strings.TrimSpace(secret)
	return secret, secret != ""
}

const (
	// tokenTTL is how long a revoked token may still work at another replica.
	tokenTTL = 5 * time.Second
	// tokenCacheSize bounds the memory; there are rarely more tokens in use than this.
	tokenCacheSize = 1024
)

// tokenCache spares the database one query a request. Only tokens that exist
// are kept, so that guesses can't fill it.
type tokenCache struct {
	store TokenStore
	now   func() time.Time

	mu      sync.Mutex
	entries map[[32]byte]cachedToken
	// purges counts the purges: a lookup that began before one must not be kept.
	purges int
}

type cachedToken struct {
	token keyturn.Token
	until time.Time
}

func newTokenCache(store TokenStore, now func() time.Time) *tokenCache {
	return &tokenCache{store: store, now: now, entries: make(map[[32]byte]cachedToken)}
}

// lookup answers ErrNotFound for what is no valid token.
func (c *tokenCache) lookup(ctx context.Context, secret string) (keyturn.Token, error) {
	if !plausibleSecret(secret) {
		return keyturn.Token{}, keyturn.ErrNotFound
	}
	hash, now := hashSecret(secret), c.now()
	c.mu.Lock()
	entry, ok := c.entries[hash]
	purges := c.purges
	c.mu.Unlock()
	if ok && now.Before(entry.until) {
		return entry.token, nil
	}
	token, err := c.store.TokenByHash(ctx, hash)
	if err != nil {
		return keyturn.Token{}, err
	}
	c.keep(hash, token, now, purges)
	return token, nil
}

func (c *tokenCache) keep(hash [32]byte, token keyturn.Token, now time.Time, purges int) {
	until := now.Add(tokenTTL)
	if token.ExpiresAt != nil && token.ExpiresAt.Before(until) {
		until = *token.ExpiresAt
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if purges != c.purges {
		return
	}
	if len(c.entries) >= tokenCacheSize {
		clear(c.entries)
	}
	c.entries[hash] = cachedToken{token: token, until: until}
}

// purge forgets everything, after a token was revoked.
func (c *tokenCache) purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.purges++
	clear(c.entries)
}
