// Package client is a small typed client of Keyturn's HTTP API, for the
// commands. It knows the API by its JSON only and shares no code with the server.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds how much of an answer is read: a rotation of 100,000 units is about 50 MB.
const maxAnswer = 256 << 20

// Config says where the server is and who calls.
type Config struct {
	Server string // such as http://127.0.0.1:7390
	Token  string // empty: none is sent
	// UserAgent names the program.
	UserAgent string
	// Tries is how often a call that may be repeated is made; default 4.
	Tries int
	// Backoff is the wait before the second try; it doubles with each. Default 200 ms.
	Backoff time.Duration
	// Transport defaults to a clone of http.DefaultTransport.
	Transport http.RoundTripper
}

// Client calls one server. It is safe for concurrent use.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
}

// New checks the address of the server; it does not call it.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(cfg.Server, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of a server: write it as http://127.0.0.1:7390", cfg.Server)
	}
	if base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, fmt.Errorf("the server's address must have no user, query or fragment: write it as %s://%s", base.Scheme, base.Host)
	}
	if cfg.Tries <= 0 {
		cfg.Tries = 4
	}
	if cfg.Backoff <= 0 {
		cfg.Backoff = 200 * time.Millisecond
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport.(*http.Transport).Clone() //nolint:errcheck,forcetypeassert // it is one
	}
	return &Client{cfg: cfg, base: base, http: &http.Client{
		Transport: cfg.Transport,
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Server is the address that is called.
func (c *Client) Server() string { return c.base.String() }

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Problem is an error that the server answered with (RFC 9457).
type Problem struct {
	Status int            `json:"status"`
	Title  string         `json:"title"`
	Detail string         `json:"detail"`
	Errors []ProblemError `json:"errors"`

	retryAfter time.Duration
}

// ProblemError is one of several things that are wrong with a request.
type ProblemError struct {
	Message  string `json:"message"`
	Location string `json:"location"`
}

func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return fmt.Sprintf("the server answered %d %s", p.Status, http.StatusText(p.Status))
}

// UnreachableError says that no answer came.
type UnreachableError struct {
	Server string
	Err    error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no answer from the server at %s: %s", e.Server, cause(e.Err))
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// cause strips the layers that repeat the address.
func cause(err error) string {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if oe, ok := errors.AsType[*net.OpError](err); ok && oe.Err != nil {
		return oe.Err.Error()
	}
	return err.Error()
}

// Temporary reports whether the same call may succeed a little later: the
// server is being restarted, or a proxy before it has nobody to pass it to.
func Temporary(err error) bool {
	if p, ok := errors.AsType[*Problem](err); ok {
		switch p.Status {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
			return true
		default:
			return false
		}
	}
	_, ok := errors.AsType[*UnreachableError](err)
	return ok
}

// call is one call of the API.
type call struct {
	method string
	path   string // under /api/v1, escaped
	query  url.Values
	body   any
	// repeat allows the call to be made again when its answer did not come.
	repeat bool
}

// do makes the call and decodes the answer into out, unless out is nil.
func (c *Client) do(ctx context.Context, call call, out any) error {
	var body []byte
	if call.body != nil {
		var err error
		if body, err = json.Marshal(call.body); err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
	}
	backoff := c.cfg.Backoff
	for try := 1; ; try++ {
		err := c.once(ctx, call, body, out)
		if err == nil || ctx.Err() != nil || !call.repeat || !Temporary(err) || try >= c.cfg.Tries {
			return err
		}
		wait := backoff
		if p, ok := errors.AsType[*Problem](err); ok && p.retryAfter > 0 {
			wait = min(p.retryAfter, 10*time.Second)
		}
		if !sleep(ctx, wait) {
			return err
		}
		backoff *= 2
	}
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Client) once(ctx context.Context, call call, body []byte, out any) error {
	req, err := c.request(ctx, call, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return &UnreachableError{Server: c.Server(), Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &UnreachableError{Server: c.Server(), Err: err}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.problem(resp, raw)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the answer of %s is not what a Keyturn server says (%w): check --server", c.Server(), err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, call call, body []byte) (*http.Request, error) {
	address := c.base.String() + "/api/v1" + call.path
	if len(call.query) > 0 {
		address += "?" + call.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, call.method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	return req, nil
}

// problem reads the error in an answer.
func (c *Client) problem(resp *http.Response, raw []byte) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return fmt.Errorf("%s redirects to %s: call that with --server", c.Server(), resp.Header.Get("Location"))
	}
	p := &Problem{}
	if !strings.Contains(resp.Header.Get("Content-Type"), "problem+json") || json.Unmarshal(raw, p) != nil {
		// Not ours: a proxy, or another program on that port.
		p = &Problem{Detail: fmt.Sprintf("%s answered %s, and not as a Keyturn server does: check --server", c.Server(), resp.Status)}
	}
	p.Status = resp.StatusCode
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		p.retryAfter = time.Duration(seconds) * time.Second
	}
	return p
}
