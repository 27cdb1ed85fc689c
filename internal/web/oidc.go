package web

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.uber.org/zap"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/keyturn/keyturn"
)

const (
	// oidcTimeout bounds every call of the provider.
	oidcTimeout = 15 * time.Second
	// oidcPause is how long an issuer that could not be read is left alone.
	oidcPause = 2 * time.Second
	// oidcLife is how long somebody may take to sign in there.
	oidcLife = 10 * time.Minute
	// callbackPath is where the provider sends people back to.
	callbackPath = "/sign-in/callback"

	begunElsewhere = "This sign-in was begun elsewhere, or too long ago: begin again."
)

// OIDC says which OpenID Connect provider names people, and what its groups may do.
type OIDC struct {
	Issuer      string // such as https://login.example.com/realms/main
	ClientID    string
	Secret      func() (string, error) // read when it is needed; nil: a public client, with PKCE alone
	GroupsClaim string                 // of the ID token; default groups
	Roles       map[string]keyturn.Role
	PublicURL   string // where people reach these pages: the provider sends them back to /sign-in/callback there
}

// provider signs people in. What the issuer publishes is read when it is first needed, and again if that
// failed, so that the pages start without it.
type provider struct {
	OIDC
	client *http.Client

	one singleflight.Group

	mu       sync.Mutex
	found    *oidc.Provider
	failed   error // why it could not be read last
	failedAt time.Time
}

func newProvider(cfg OIDC) *provider {
	if cfg.GroupsClaim == "" {
		cfg.GroupsClaim = "groups"
	}
	return &provider{OIDC: cfg, client: &http.Client{Timeout: oidcTimeout, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
	}}}
}

func (p *provider) close() { p.client.CloseIdleConnections() }

// discover reads what the issuer publishes: once for all who wait for it, and after a failure not again at
// once, so that nobody who is not signed in keeps this server busy with an issuer that does not answer.
func (p *provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	found, failed, at := p.found, p.failed, p.failedAt
	p.mu.Unlock()
	if found != nil {
		return found, nil
	}
	if failed != nil && time.Since(at).Abs() < oidcPause {
		return nil, failed
	}
	result := p.one.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), oidcTimeout)
		defer cancel()
		// The provider keeps the context's values, not its end.
		found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.Issuer)
		if err != nil {
			err = fmt.Errorf("reading what oidc_issuer %s publishes: %w", p.Issuer, err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.found, p.failed, p.failedAt = found, err, time.Now()
		return found, err
	})
	select {
	case r := <-result:
		found, _ := r.Val.(*oidc.Provider)
		return found, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *provider) config(found *oidc.Provider) (*oauth2.Config, error) {
	cfg := &oauth2.Config{
		ClientID: p.ClientID, Endpoint: found.Endpoint(), RedirectURL: p.PublicURL + callbackPath,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}
	if p.Secret != nil {
		secret, err := p.Secret()
		if err != nil {
			return nil, fmt.Errorf("oidc_client_secret: %w", err)
		}
		cfg.ClientSecret = secret
	}
	return cfg, nil
}

// attempt is what must come back from the provider. It waits in the browser that began it: nobody else's
// answer can be slipped in.
type attempt struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Next     string `json:"next"`
}

func attemptCookie(r *http.Request) string { return cookieName(r) + "-oidc" }

// setAttempt keeps an attempt. The cookie must come with the provider's redirect, so it is not a strict one.
func setAttempt(w http.ResponseWriter, r *http.Request, value string) {
	age := int(oidcLife.Seconds())
	if value == "" {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // secure whenever the browser would keep it
		Name: attemptCookie(r), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: secure(r), SameSite: http.SameSiteLaxMode,
	})
}

// beginOIDC sends the browser to the provider.
func (s *Site) beginOIDC(w http.ResponseWriter, r *http.Request) {
	if s.oidc == nil {
		s.nowhere(w, r)
		return
	}
	data := signInData{Next: localPath(r.URL.Query().Get("next"))}
	if _, err := s.identify(r); err == nil { // the provider's answer comes without the cookie: the session could not be ended then
		redirect(w, r, data.Next)
		return
	}
	if !s.admit(w, r, data) {
		return
	}
	found, err := s.oidc.discover(r.Context())
	var cfg *oauth2.Config
	if err == nil {
		cfg, err = s.oidc.config(found)
	}
	if err != nil {
		s.Logger.Error("signing in by OpenID Connect", zap.Error(err))
		data.Problem = "The identity provider does not answer: sign in with a token, or try again."
		s.render(w, r, nil, s.signInView(http.StatusServiceUnavailable, data))
		return
	}
	a := attempt{State: newSecret(), Nonce: newSecret(), Verifier: oauth2.GenerateVerifier(), Next: data.Next}
	kept, err := json.Marshal(a)
	if err != nil {
		s.fail(w, r, nil, fmt.Errorf("beginning to sign in: %w", err))
		return
	}
	setAttempt(w, r, base64.RawURLEncoding.EncodeToString(kept))
	http.Redirect(w, r, cfg.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), http.StatusSeeOther)
}

// endOIDC takes what the provider answers, and begins the session.
func (s *Site) endOIDC(w http.ResponseWriter, r *http.Request) {
	if s.oidc == nil {
		s.nowhere(w, r)
		return
	}
	data := signInData{Next: "/"}
	if !s.admit(w, r, data) {
		return
	}
	a, ok := readAttempt(r)
	setAttempt(w, r, "")
	if !ok {
		// Nothing was guessed: any page can make a browser ask for this address, which must not count against it.
		data.Problem = begunElsewhere
		s.render(w, r, nil, s.signInView(http.StatusUnauthorized, data))
		return
	}
	if subtle.ConstantTimeCompare([]byte(a.State), []byte(r.URL.Query().Get("state"))) != 1 {
		s.limiter.failed(r.RemoteAddr)
		data.Problem = begunElsewhere
		s.render(w, r, nil, s.signInView(http.StatusUnauthorized, data))
		return
	}
	data.Next = localPath(a.Next)
	session, err := s.person(r, a)
	if err == nil {
		err = s.begin(w, r, session)
	}
	if refused, ok := errors.AsType[*apiError](err); ok {
		s.limiter.failed(r.RemoteAddr)
		data.Problem = refused.Detail
		s.render(w, r, nil, s.signInView(refused.Status, data))
		return
	}
	if err != nil {
		s.Logger.Error("signing in by OpenID Connect", zap.Error(err))
		data.Problem = "The identity provider could not be asked who you are: begin again."
		s.render(w, r, nil, s.signInView(http.StatusBadGateway, data))
		return
	}
	s.land(w, r, nil, data.Next)
}

func readAttempt(r *http.Request) (attempt, bool) {
	var a attempt
	cookie, err := r.Cookie(attemptCookie(r))
	if err != nil {
		return a, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || json.Unmarshal(raw, &a) != nil {
		return a, false
	}
	return a, a.State != "" && a.Nonce != "" && a.Verifier != ""
}

// person asks the provider who came back, and finds out what they may do.
func (s *Site) person(r *http.Request, a attempt) (keyturn.Session, error) {
	if code := r.URL.Query().Get("error"); code != "" {
		s.Logger.Info("the identity provider signed nobody in", zap.String("error", code), zap.String("remote", r.RemoteAddr))
		return keyturn.Session{}, &apiError{Status: http.StatusUnauthorized, Detail: "The identity provider did not sign you in."}
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(r.Context(), s.oidc.client), oidcTimeout)
	defer cancel()
	found, err := s.oidc.discover(ctx)
	if err != nil {
		return keyturn.Session{}, err
	}
	cfg, err := s.oidc.config(found)
	if err != nil {
		return keyturn.Session{}, err
	}
	token, err := cfg.Exchange(ctx, r.URL.Query().Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		if _, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			s.Logger.Info("the identity provider refused a code", zap.String("remote", r.RemoteAddr))
			return keyturn.Session{}, &apiError{Status: http.StatusUnauthorized, Detail: "The identity provider did not accept the answer that it gave: begin again."}
		}
		return keyturn.Session{}, fmt.Errorf("exchanging the code: %w", err)
	}
	raw, _ := token.Extra("id_token").(string)
	verified, err := found.VerifierContext(ctx, &oidc.Config{ClientID: s.oidc.ClientID, Now: s.Now}).Verify(ctx, raw)
	if err != nil {
		return keyturn.Session{}, fmt.Errorf("verifying the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(a.Nonce)) != 1 {
		return keyturn.Session{}, &apiError{Status: http.StatusUnauthorized, Detail: "The answer of the identity provider belongs to another sign-in: begin again."}
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return keyturn.Session{}, fmt.Errorf("reading the ID token: %w", err)
	}
	return s.oidc.session(verified.Subject, claims)
}

// session is the person that claims name, with the highest role of their groups.
func (p *provider) session(subject string, claims map[string]any) (keyturn.Session, error) {
	name := subject
	if preferred, ok := claims["preferred_username"].(string); ok && preferred != "" {
		name = preferred
	}
	verified, _ := claims["email_verified"].(bool)
	if email, ok := claims["email"].(string); ok && email != "" && verified {
		name = email
	}
	role := keyturn.Role("")
	for _, group := range groupsOf(claims[p.GroupsClaim]) {
		if given := p.Roles[group]; given != "" && !role.Covers(given) {
			role = given
		}
	}
	if role == "" {
		return keyturn.Session{}, &apiError{Status: http.StatusForbidden, Detail: "None of your groups may see these pages. Ask an administrator of Keyturn to add one of them to oidc_roles."}
	}
	return keyturn.Session{Name: "person:" + name, Role: role}, nil
}

// groupsOf reads a claim that is a list of names, or one name.
func groupsOf(claim any) []string {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, item := range v {
			if name, ok := item.(string); ok {
				out = append(out, name)
			}
		}
		return slices.Compact(out)
	default:
		return nil
	}
}
