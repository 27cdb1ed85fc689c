package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/proxied"
)

// touchEvery is how exactly the last use of a session is known: a write a minute and person at most.
const touchEvery = time.Minute

var errSignedOut = errors.New("nobody is signed in")

func secure(r *http.Request) bool { return proxied.Secure(r) }

// cookieName binds the session to this host under TLS. Without TLS a browser would not keep such a name.
func cookieName(r *http.Request) string {
	if secure(r) {
		return "__Host-keyturn"
	}
	return "keyturn"
}

// newSecret returns 256 random bits, as text.
func newSecret() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand aborts the program instead
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// hashOf is what is stored of a secret. Plain SHA-256 is enough for 256 random bits.
func hashOf(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// begin makes a session and hands its cookie out. The one that the browser had before ends: nobody could
// sign out of it any more.
func (s *Site) begin(w http.ResponseWriter, r *http.Request, session keyturn.Session) error {
	secret, life := newSecret(), s.SessionMax
	if session.Token.IsZero() { // no token ends it: whom the provider locks out is shut out when it ends
		life = s.OIDCSessionMax
	}
	session.Remote = hostOf(r.RemoteAddr)
	before, none := s.identify(r)
	entry := keyturn.AuditEntry{Actor: actorOf(session.Name), Action: "session.begin", Subject: session.Name, Remote: session.Remote}
	if err := s.Store.CreateSession(keyturn.WithAudit(r.Context(), entry), hashOf(secret), session, life); err != nil {
		return fmt.Errorf("signing %s in: %w", session.Name, err)
	}
	setCookie(w, r, cookieName(r), secret, life)
	if none == nil {
		if err := s.end(r, before); err != nil {
			s.Logger.Warn("a session goes on that nobody can end", zap.Error(err))
		}
	}
	return nil
}

// end ends a visitor's session.
func (s *Site) end(r *http.Request, v *visit) error {
	entry := keyturn.AuditEntry{Actor: actorOf(v.session.Name), Action: "session.end", Subject: v.session.Name, Remote: hostOf(r.RemoteAddr)}
	return s.Store.EndSession(keyturn.WithAudit(r.Context(), entry), v.hash)
}

// identify finds out who is signed in.
func (s *Site) identify(r *http.Request) (*visit, error) {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil || len(cookie.Value) != 43 {
		return nil, errSignedOut
	}
	v := &visit{Request: r, site: s, hash: hashOf(cookie.Value)}
	v.session, err = s.Store.SessionByHash(r.Context(), v.hash, s.SessionIdle)
	if errors.Is(err, keyturn.ErrNotFound) {
		return nil, errSignedOut
	}
	return v, err
}

// enter lets in who is signed in. Others are led to the sign-in, or told to sign in again.
func (s *Site) enter(w http.ResponseWriter, r *http.Request) (*visit, bool) {
	v, err := s.identify(r)
	switch {
	case errors.Is(err, errSignedOut):
		s.sendToSignIn(w, r)
		return nil, false
	case err != nil:
		s.Logger.Error("looking up a session", zap.Error(err))
		w.Header().Set("Retry-After", "1")
		detail := "sessions can't be looked up, because the database does not answer; try again"
		if away, ok := errors.AsType[*keyturn.UnavailableError](err); ok {
			detail = "sessions can't be looked up: " + away.Advice
		}
		s.fail(w, r, nil, &apiError{Status: http.StatusServiceUnavailable, Detail: detail})
		return nil, false
	}
	if s.Now().Sub(v.session.SeenAt) > touchEvery && r.Header.Get("HX-Request") == "" {
		if err := s.Store.TouchSession(r.Context(), v.hash); err != nil {
			s.Logger.Warn("a session may end early", zap.Error(err))
		}
	}
	return v, true
}

func (s *Site) sendToSignIn(w http.ResponseWriter, r *http.Request) {
	to := "/sign-in"
	if r.Method == http.MethodGet && r.URL.Path != "/" {
		to += "?next=" + url.QueryEscape(r.URL.RequestURI())
	}
	switch {
	case r.Header.Get("HX-Request") == "true":
		w.Header().Set("HX-Redirect", "/sign-in")
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "cross-site":
		s.land(w, r, nil, r.URL.RequestURI())
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		redirect(w, r, to)
	default:
		s.fail(w, r, nil, &apiError{Status: http.StatusUnauthorized, Detail: "your session has ended: sign in and do it again; nothing was changed"})
	}
}

// land shows a page that goes on to another one at once. A browser that comes from another site, by a link
// or from an identity provider, sends the session's cookie only with the request after that.
func (s *Site) land(w http.ResponseWriter, r *http.Request, session *keyturn.Session, to string) {
	s.render(w, r, session, &view{Title: "One moment", Template: "landing", Data: localPath(to)})
}

// still reports whether the visitor's session goes on. It does not count as a use.
func (v *visit) still(ctx context.Context) bool {
	_, err := v.site.Store.SessionByHash(ctx, v.hash, v.site.SessionIdle)
	return !errors.Is(err, keyturn.ErrNotFound)
}

func (s *Site) signOut(w http.ResponseWriter, r *http.Request) {
	v, err := s.identify(r)
	if err == nil {
		err = s.end(r, v)
	}
	if err != nil && !errors.Is(err, errSignedOut) {
		s.fail(w, r, nil, fmt.Errorf("signing out: %w", err))
		return
	}
	setCookie(w, r, cookieName(r), "", 0)
	w.Header().Set("Clear-Site-Data", `"cache"`)
	redirect(w, r, "/sign-in")
}
