package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// signInData is what the sign-in shows.
type signInData struct {
	Next    string
	Problem string
	Code    string // of a link that signs in once; empty: a token is asked for
	Person  string // whom the code signs in
	OIDC    bool   // there is an identity provider
}

func (s *Site) signInView(status int, data signInData) *view {
	data.OIDC = s.oidc != nil
	return &view{Title: "Sign in", Template: "sign-in", Status: status, Data: data}
}

func (s *Site) showSignIn(w http.ResponseWriter, r *http.Request) {
	next := localPath(r.URL.Query().Get("next"))
	if _, err := s.identify(r); err == nil {
		redirect(w, r, next)
		return
	}
	s.render(w, r, nil, s.signInView(0, signInData{Next: next}))
}

// signIn begins a session for the bearer of a token. The API says whose it is.
func (s *Site) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	data := signInData{Next: localPath(r.PostFormValue("next"))}
	if !s.admit(w, r, data) {
		return
	}
	session, err := s.sessionOf(r.Context(), r.PostFormValue("token"))
	if refused, ok := errors.AsType[*apiError](err); ok && refused.Status == http.StatusUnauthorized {
		s.limiter.failed(r.RemoteAddr)
		s.Logger.Info("somebody could not sign in", zap.String("remote", r.RemoteAddr))
		data.Problem = "This token is unknown, revoked or expired."
		s.render(w, r, nil, s.signInView(http.StatusUnauthorized, data))
		return
	}
	if err == nil {
		err = s.begin(w, r, session)
	}
	if err != nil {
		s.fail(w, r, nil, err)
		return
	}
	redirect(w, r, data.Next)
}

// sessionOf asks the API whose a token is.
func (s *Site) sessionOf(ctx context.Context, token string) (keyturn.Session, error) {
	header := http.Header{"Authorization": {"Bearer " + strings.TrimSpace(token)}}
	rec, err := s.ask(ctx, http.MethodGet, "/whoami", http.NoBody, header)
	if err != nil {
		return keyturn.Session{}, err
	}
	var who struct {
		Name    string       `json:"name"`
		Role    keyturn.Role `json:"role"`
		TokenID keyturn.ID   `json:"tokenId"`
	}
	if err := rec.read("/whoami", &who); err != nil {
		return keyturn.Session{}, err
	}
	return keyturn.Session{Token: who.TokenID, Name: who.Name, Role: who.Role}, nil
}

// admit refuses who has tried too often.
func (s *Site) admit(w http.ResponseWriter, r *http.Request, data signInData) bool {
	wait := s.limiter.wait(r.RemoteAddr)
	if wait <= 0 {
		return true
	}
	seconds := int(wait.Seconds()) + 1
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	data.Problem = "There were too many attempts: try again in " + strconv.Itoa(seconds) + " seconds."
	s.render(w, r, nil, s.signInView(http.StatusTooManyRequests, data))
	return false
}

// codes sign somebody in once, without a token in an address or a shell's history.
type codes struct {
	now func() time.Time

	mu   sync.Mutex
	open map[[32]byte]issued
}

type issued struct {
	session keyturn.Session
	until   time.Time
}

const (
	codeLife = 10 * time.Minute
	maxCodes = 100
)

// SignInPath returns a path of the site that signs the bearer of the token in, once and within ten minutes:
// without the token in an address, which would stay in histories. Only this process knows the path.
func (s *Site) SignInPath(ctx context.Context, token string) (string, error) {
	session, err := s.sessionOf(ctx, token)
	if err != nil {
		return "", fmt.Errorf("making a link that signs in: %w", err)
	}
	code, c := newSecret(), &s.codes
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil || len(c.open) >= maxCodes {
		c.open = map[[32]byte]issued{}
	}
	c.open[hashOf(code)] = issued{session: session, until: c.now().Add(codeLife)}
	return "/sign-in/code?code=" + url.QueryEscape(code), nil
}

// find returns what a code stands for. Taken, it is gone.
func (c *codes) find(code string, take bool) (keyturn.Session, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hash := hashOf(code)
	found, ok := c.open[hash]
	if !ok || !c.now().Before(found.until) {
		delete(c.open, hash)
		return keyturn.Session{}, false
	}
	if take {
		delete(c.open, hash)
	}
	return found.session, true
}

// showCode asks before the code is used up: a program that looks at links must not do it.
func (s *Site) showCode(w http.ResponseWriter, r *http.Request) {
	code := r.URL.Query().Get("code")
	if _, err := s.identify(r); err == nil {
		redirect(w, r, "/")
		return
	}
	data := signInData{Next: "/", Code: code}
	session, ok := s.codes.find(code, false)
	data.Person = session.Name
	if !ok {
		data.Code, data.Problem = "", "This link was used already, or is too old. Sign in with a token instead."
	}
	s.render(w, r, nil, s.signInView(0, data))
}

func (s *Site) signInByCode(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	data := signInData{Next: "/"}
	if !s.admit(w, r, data) {
		return
	}
	session, ok := s.codes.find(r.PostFormValue("code"), true)
	if !ok {
		s.limiter.failed(r.RemoteAddr)
		data.Problem = "This link was used already, or is too old. Sign in with a token instead."
		s.render(w, r, nil, s.signInView(http.StatusUnauthorized, data))
		return
	}
	if err := s.begin(w, r, session); err != nil {
		s.fail(w, r, nil, err)
		return
	}
	redirect(w, r, "/")
}

// public registers what needs nobody to be signed in.
func (s *Site) public(pattern string, handler http.HandlerFunc) { s.mux.HandleFunc(pattern, handler) }

// actorOf is the name in the audit: a token's is its own, as in the API.
func actorOf(name string) string { return strings.TrimPrefix(name, "token:") }

func hostOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}
