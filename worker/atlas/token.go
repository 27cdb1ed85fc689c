package atlas

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// renewEarly is how long before its end a token is replaced: https://www.mongodb.com/docs/atlas/api/service-accounts/generate-oauth2-token/
	// gives them an hour. A token that lasts for less is replaced after three quarters of its life.
	renewEarly = 10 * time.Minute
	// tokenMargin is how long before its end a token is not used any more.
	tokenMargin = 30 * time.Second
	tokenLimit  = 64 << 10 // bytes of an answer with a token
	// freshToken is how long a token that Atlas has just given out is not replaced because a role is missing.
	freshToken = time.Minute
	// hurried is the part of a request's time that the renewal of a token may take whose predecessor still is good.
	hurried = 4
)

// tokens is a transport that logs in as a service account (OAuth 2.0, client credentials). One token serves all
// requests until shortly before its end.
type tokens struct {
	c          *Client
	base       http.RoundTripper
	id, secret string

	mu     sync.Mutex
	held   *token        // nil: none
	flight chan struct{} // closed when the fetching of a new one has ended; nil: nobody fetches
}

type token struct {
	value   string
	madeAt  time.Time
	renewAt time.Time
	endsAt  time.Time
}

// tokenError reports that no token could be had. The request itself was not sent.
type tokenError struct {
	status int // 0: there was no answer, and err says why
	header http.Header
	code   string // OAuth's word: invalid_client
	err    error
}

func (e *tokenError) Error() string {
	if e.err != nil {
		return "asking for an access token: " + e.err.Error()
	}
	text := "asking for an access token: the server answered " + strconv.Itoa(e.status)
	if e.code != "" {
		text += " " + e.code
	}
	return text
}

func (e *tokenError) Unwrap() error { return e.err }

// CloseIdleConnections closes those of the base.
func (t *tokens) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip sends the request with a token. A token that is refused may have been revoked: one more is fetched,
// once. A request that was refused for its credentials was not carried out.
func (t *tokens) RoundTrip(req *http.Request) (*http.Response, error) {
	held, err := t.token(req.Context(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := t.send(req, held)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !t.blames(resp, held) {
		return resp, err
	}
	again, err := t.token(req.Context(), held)
	if err != nil {
		discard(resp)
		return nil, err
	}
	discard(resp)
	return t.send(req, again)
}

// blames reports whether another token may help against a 401. Atlas gives out only so many: none is asked for because
// of an address that is not on the access list, or, time and again, of a role that is missing.
func (t *tokens) blames(resp *http.Response, held *token) bool {
	body, err := io.ReadAll(io.LimitReader(resp.Body, smallLimit))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(body), resp.Body}
	var p problem
	if err != nil || p.parse(body) != nil {
		return true
	}
	m := meanings()[p.ErrorCode]
	fresh := t.c.now().Before(held.madeAt.Add(freshToken))
	return !m.target && !(m.role && fresh && resp.Header.Get("WWW-Authenticate") == "")
}

func (t *tokens) send(req *http.Request, with *token) (*http.Response, error) {
	out := req.WithContext(req.Context())
	out.Header = make(http.Header, len(req.Header)+1)
	maps.Copy(out.Header, req.Header)
	out.Header.Set("Authorization", "Bearer "+with.value)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, fmt.Errorf("rewinding the request's body: %w", err)
		}
		out.Body = body
	}
	return t.base.RoundTrip(out)
}

// token returns one that can be used, and none that refused is. It waits only if there is none.
func (t *tokens) token(ctx context.Context, refused *token) (*token, error) {
	for {
		t.mu.Lock()
		held, now := t.held, t.c.now()
		usable := held != nil && held != refused && now.Before(held.endsAt)
		flight := t.flight
		lead := flight == nil
		if usable && (now.Before(held.renewAt) || !lead) {
			t.mu.Unlock()
			return held, nil
		}
		if lead {
			flight = make(chan struct{})
			t.flight = flight
		}
		t.mu.Unlock()
		if !lead {
			select {
			case <-flight:
				continue
			case <-ctx.Done():
				return nil, &tokenError{err: context.Cause(ctx)}
			}
		}
		made, err := t.renew(ctx, flight, usable)
		if err != nil && usable { // the old one still does
			t.c.log.Warn("renewing the access token; the old one is used on", zapTarget(t.c.target.Name), zapError(err))
			return held, nil
		}
		return made, err
	}
}

// renew fetches a token for all that wait on the flight. Usable: the old one still is good, so that the caller's request
// must not wait for long.
func (t *tokens) renew(ctx context.Context, flight chan struct{}, usable bool) (*token, error) {
	most := t.c.target.Timeouts.Request.Std()
	if usable {
		most /= hurried
	}
	made, err := t.fetch(ctx, most)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.held = made
	case t.held != nil: // not every request shall try anew
		t.held.renewAt = t.c.now().Add(tokenMargin)
	}
	t.flight = nil
	close(flight)
	return made, err
}

// fetch asks for a token.
func (t *tokens) fetch(ctx context.Context, most time.Duration) (*token, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	asked := t.c.now()
	resp, err := t.base.RoundTrip(t.request(ctx))
	if err != nil {
		return nil, &tokenError{err: err}
	}
	defer discard(resp)
	body, err := io.ReadAll(io.LimitReader(resp.Body, tokenLimit))
	if err != nil {
		return nil, &tokenError{err: fmt.Errorf("reading the answer: %w", err)}
	}
	var answer struct {
		Token     string `json:"access_token"`
		ExpiresIn any    `json:"expires_in"` // seconds; some servers write numbers as text
		Error     string `json:"error"`
		ErrorCode string `json:"errorCode"`
	}
	decodeErr := json.Unmarshal(body, &answer)
	if resp.StatusCode != http.StatusOK {
		code := answer.Error
		if answer.ErrorCode != "" {
			code = answer.ErrorCode
		}
		return nil, &tokenError{status: resp.StatusCode, header: resp.Header, code: t.c.clean(code)}
	}
	if decodeErr != nil || answer.Token == "" {
		return nil, &tokenError{err: errors.New("the answer holds no access_token")} // and is not shown: it might
	}
	life := time.Hour
	if seconds, err := strconv.ParseFloat(fmt.Sprint(answer.ExpiresIn), 64); err == nil && seconds > 0 && seconds <= (24*time.Hour).Seconds() {
		life = time.Duration(seconds * float64(time.Second))
	}
	margin := min(tokenMargin, life/10)
	return &token{value: answer.Token, madeAt: asked, endsAt: asked.Add(life - margin), renewAt: asked.Add(life - min(renewEarly, life/4) - margin)}, nil
}

// request: https://www.mongodb.com/docs/atlas/api/service-accounts/generate-oauth2-token/
func (t *tokens) request(ctx context.Context) *http.Request {
	u := t.c.base
	u.Path = strings.TrimSuffix(u.Path, pathV2) + tokenPath
	const form = "grant_type=client_credentials"
	return (&http.Request{
		Method: http.MethodPost, URL: &u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"User-Agent": {t.c.agent}, "Accept": {"application/json"},
			"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"Basic " + t.basic()},
		},
		Body: io.NopCloser(strings.NewReader(form)), ContentLength: int64(len(form)),
	}).WithContext(untraced{ctx})
}

// basic is what it logs in with. RFC 6749 §2.3.1: both are form-encoded before they are joined.
func (t *tokens) basic() string {
	return base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(t.id) + ":" + url.QueryEscape(t.secret)))
}

// untraced is a context without the hooks of httptrace: the question for a token is not the caller's request.
type untraced struct{ context.Context }

func (c untraced) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return nil
	}
	return v
}

// hide takes tokens out of a text.
func (t *tokens) hide(s string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held != nil {
		s = strings.ReplaceAll(s, t.held.value, "***")
	}
	return s
}
