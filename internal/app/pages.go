package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/proxied"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/internal/web"
)

// validatePages checks what the pages are configured with.
func (c Config) validatePages() error {
	if _, err := proxied.Parse(c.TrustedProxies); err != nil {
		return fmt.Errorf("trusted_proxies: %w", err)
	}
	if c.SessionIdle < 0 || c.SessionMax < 0 || c.OIDCSessionMax < 0 {
		return errors.New("session_idle, session_max and oidc_session_max can't be negative")
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("public_url is %q: write the address of the pages without a path, such as https://keyturn.example.com", c.PublicURL)
		}
	}
	if c.OIDCIssuer == "" {
		if c.OIDCClientID != "" || c.OIDCClientSecret != "" || len(c.OIDCRoles) > 0 {
			return errors.New("oidc_client_id, oidc_client_secret and oidc_roles need oidc_issuer")
		}
		return nil
	}
	switch {
	case c.OIDCClientID == "":
		return errors.New("oidc_issuer needs oidc_client_id: the client that the provider knows this server by")
	case c.PublicURL == "":
		return errors.New("oidc_issuer needs public_url: the provider sends people back there, to /sign-in/callback")
	case len(c.OIDCRoles) == 0:
		return errors.New("oidc_issuer needs oidc_roles, such as [\"platform-team=admin\", \"on-call=operator\"]: nobody could sign in")
	}
	_, err := groupRoles(c.OIDCRoles)
	return err
}

// groupRoles reads GROUP=ROLE. A group's name may hold an equals sign, as those of directories do.
func groupRoles(list []string) (map[string]keyturn.Role, error) {
	roles := make(map[string]keyturn.Role, len(list))
	for _, entry := range list {
		i := strings.LastIndex(entry, "=")
		if i < 1 || !slices.Contains([]string{"viewer", "operator", "admin"}, entry[i+1:]) {
			return nil, fmt.Errorf("oidc_roles: %q is not GROUP=ROLE: the roles are viewer, operator and admin", entry)
		}
		role := keyturn.Role(entry[i+1:])
		if had := roles[entry[:i]]; had != "" && had != role {
			return nil, fmt.Errorf("oidc_roles: the group %q has two roles", entry[:i])
		}
		roles[entry[:i]] = role
	}
	return roles, nil
}

// openPages makes the pages, which ask the API in this process, and puts them beside it.
func (s *Server) openPages(apiHandler http.Handler, checks []api.Check, version string) (http.Handler, error) {
	ready := make([]web.Check, len(checks))
	for i, c := range checks {
		ready[i] = web.Check{Name: c.Name, Run: c.Run, Advice: c.Advice}
	}
	cfg := web.Config{
		API: apiHandler, Store: s.store, Ready: ready, Logger: s.log.Named("web"), Version: version,
		PublicURL: s.cfg.PublicURL, SessionIdle: s.cfg.SessionIdle, SessionMax: s.cfg.SessionMax,
		OIDC: s.oidc(), OIDCSessionMax: s.cfg.OIDCSessionMax,
	}
	site, err := web.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("making the pages: %w", err)
	}
	s.site = site
	mux := http.NewServeMux()
	for _, path := range []string{"/api/", "/hooks/", "/openapi.json", "/healthz", "/readyz", "/metrics"} {
		mux.Handle(path, apiHandler)
	}
	mux.Handle("/", site)
	return mux, nil
}

// behindProxies finds out who asks, if the configuration names proxies.
func (s *Server) behindProxies(next http.Handler) http.Handler {
	trusted, _ := proxied.Parse(s.cfg.TrustedProxies) // validated
	return proxied.Handler(trusted, next)
}

// oidc is the provider that names people; nil: there is none.
func (s *Server) oidc() *web.OIDC {
	c := s.cfg
	if c.OIDCIssuer == "" {
		return nil
	}
	roles, _ := groupRoles(c.OIDCRoles) // validated
	out := &web.OIDC{
		Issuer: c.OIDCIssuer, ClientID: c.OIDCClientID, GroupsClaim: c.OIDCGroupsClaim, Roles: roles,
		PublicURL: strings.TrimSuffix(c.PublicURL, "/"),
	}
	if c.OIDCClientSecret != "" {
		out.Secret = func() (string, error) { return secret.Resolve(c.OIDCClientSecret) }
	}
	return out
}

// SignInURL is a link to the pages that signs the bearer of the token in, once and within ten minutes.
func (s *Server) SignInURL(ctx context.Context, token string) (string, error) {
	if s.site == nil {
		return "", errors.New("this server has no pages: it needs the role api")
	}
	path, err := s.site.SignInPath(ctx, token)
	return s.URL() + path, err
}
