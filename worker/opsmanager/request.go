package opsmanager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

const (
	// keyLimit and listLimit bound answers, in bytes.
	keyLimit  = 64 << 10
	listLimit = 64 << 20
	// keyTurns is how many requests a Prepare pays for: its own and the PUT that follows, which must not wait.
	keyTurns = 2
	// promised bounds what is made ready for an answer that says how long it is: it may never come.
	promised = 16 << 20
	// readSize is the most that is read of an answer at a time.
	readSize = 32 << 10
)

// question is a call, and what to say about it when it fails.
type question struct {
	operation string // for metrics
	doing     string // "reading the key of unit"
	subject   string // "om-prod.5196d3628d022db4cbc26d9e.5196e5b0e4b0fca9cc88334a"
	path      string // below the base
	query     string
	header    http.Header
	limit     int64
	turns     int          // what it costs of the rate limit; 0: nothing
	body      []byte       // of a PUT
	date      *time.Time   // is set to the server's clock, if the answer tells it
	seen      *http.Header // is set to the answer's header, if it is not nil
}

// get asks, and decodes the answer. Errors are *keyturn.SystemError.
func (c *Client) get(ctx context.Context, q question, into any) error {
	if err := c.wait(ctx, q); err != nil {
		return err
	}
	if c.observe == nil {
		return c.ask(ctx, q, into)
	}
	start := c.now()
	err := c.ask(ctx, q, into)
	c.observed(q, start, err)
	return err
}

func (c *Client) observed(q question, start time.Time, err error) {
	code := "ok"
	if err != nil {
		code = keyturn.AsSystemError(err, keyturn.KindAmbiguous).Code
	}
	c.observe(Call{Operation: q.operation, Code: code, Took: c.now().Sub(start)})
}

// wait waits for the rate limit.
func (c *Client) wait(ctx context.Context, q question) error {
	if c.limiter == nil || q.turns == 0 {
		return nil
	}
	if err := c.limiter.WaitN(ctx, q.turns); err != nil {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Waits: true, Code: "requests_per_second"},
			fmt.Errorf("waiting for spec.limits.requestsPerSecond: %w", err))
	}
	return nil
}

func (c *Client) ask(ctx context.Context, q question, into any) error {
	limited, cancel := c.limited(ctx)
	defer cancel()
	resp, err := c.rt.RoundTrip(c.request(limited, http.MethodGet, q))
	if err != nil {
		return c.unreachable(ctx, q, err)
	}
	defer discard(resp)
	if q.seen != nil {
		*q.seen = resp.Header
	}
	if resp.StatusCode != http.StatusOK {
		return c.refusal(q, resp, false)
	}
	if q.date != nil {
		*q.date, _ = http.ParseTime(resp.Header.Get("Date")) // zero if it does not tell
	}
	text, err := c.read(resp, q.limit)
	if err != nil {
		return c.cutOff(ctx, q, err)
	}
	if int64(len(text)) > q.limit {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "too_large"},
			fmt.Errorf("the answer is longer than %d bytes", q.limit))
	}
	if err := decode(text, into); err != nil {
		return c.garbled(q, []byte(text), err)
	}
	return nil
}

// read reads an answer, of which one byte more than limit will do, into memory that it has to itself.
func (c *Client) read(resp *http.Response, limit int64) (string, error) {
	var text strings.Builder
	if size := min(resp.ContentLength, limit, promised); size > 0 {
		text.Grow(int(size))
	}
	buf := c.buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer c.buffers.Put(buf)
	_, err := io.CopyBuffer(&text, io.LimitReader(resp.Body, limit+1), *buf)
	return text.String(), err
}

// limited bounds one call by the target's timeout. A caller's deadline that comes sooner will do: a
// context of our own costs more than the rest of a request's building.
func (c *Client) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := c.target.Timeouts.Request.Std()
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// request builds a request without parsing a URL again.
func (c *Client) request(ctx context.Context, method string, q question) *http.Request {
	u := new(url.URL)
	*u = c.base
	u.Path += q.path
	u.RawQuery = q.query
	req := &http.Request{
		Method: method, URL: u, Host: u.Host, Header: q.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if q.body != nil {
		req.ContentLength = int64(len(q.body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(q.body)), nil }
		req.Body = io.NopCloser(bytes.NewReader(q.body))
	}
	return req.WithContext(ctx)
}

// cutOff deals with a body that did not come to its end.
func (c *Client) cutOff(ctx context.Context, q question, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Code: "truncated"}, errors.New("the answer was cut off"))
	}
	return c.unreachable(ctx, q, err)
}

// garbled deals with a 200 that can't be decoded: half an answer, or that of
// something that is no Ops Manager.
func (c *Client) garbled(q question, body []byte, err error) error {
	_, wrongType := errors.AsType[*json.UnmarshalTypeError](err)
	body = bytes.TrimSpace(body)
	if !wrongType && (len(body) == 0 || body[0] == '{') {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Code: "truncated"},
			errors.New("the answer is no complete JSON"))
	}
	return c.foreign(q, "the answer is not what an Ops Manager sends")
}

// foreign reports a server that is no Ops Manager.
func (c *Client) foreign(q question, what string) error {
	return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Target: true, Code: "not_ops_manager"},
		fmt.Errorf("%s: is spec.url (%s) an Ops Manager?", what, c.target.URL))
}

// discard reads the rest of a body, within limits, so that the connection can be used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, keyLimit)
	_ = resp.Body.Close()
}
