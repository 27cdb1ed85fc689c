package atlas

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/fence"
)

const (
	smallLimit = 256 << 10 // bytes of the answer about one thing
	listLimit  = 64 << 20  // bytes of one page of a list
	// turnRequests is how many requests a Prepare pays for: its own, and the look and the PATCH that follow, which must not wait.
	turnRequests = 3
	// patience is how often a question is asked again after a 429, as long as the deadline allows.
	patience = 5
)

// The dates of the versions of resources: https://www.mongodb.com/docs/atlas/api/versioned-api-overview/
const (
	version2023 = "2023-01-01"
	version2024 = "2024-08-05" // of clusters: the first that also shows those whose shards differ
)

// question is a call, and what to say about it when it fails.
type question struct {
	operation string   // for metrics and notices: "get_key"
	doing     string   // "reading the encryption of unit"
	subject   string   // "atlas-prod.5196d3628d022db4cbc26d9e.aws"
	project   string   // whose rate limit it counts for; empty: the account's
	path      string   // below the base
	query     string   //
	versions  []string // of v2, the best first; nil: 2023-01-01
	limit     int64    // bytes of the answer; 0: smallLimit
	turns     int      // what it costs of spec.limits.requestsPerSecond; 0: one
	needs     string   // the role that it needs
}

func (q question) version() string {
	if len(q.versions) == 0 {
		return version2023
	}
	return q.versions[0]
}

// get asks, and decodes the answer. Errors are *keyturn.SystemError.
func (c *Client) get(ctx context.Context, q question, into any) error {
	for try := 0; ; try++ {
		if err := c.wait(ctx, q); err != nil {
			return err
		}
		err := c.ask(ctx, q, into)
		failure, ok := errors.AsType[*keyturn.SystemError](err)
		switch {
		case err == nil, !ok:
			return err
		case isVersionTrouble(failure) && len(q.versions) > 1:
			q.versions = q.versions[1:]
		case failure.Code == codeRateLimited && try < patience:
			if _, soon := c.buckets.wait(ctx, q.project, c.target.Timeouts.Request.Std()); !soon {
				return err
			}
		default:
			return err
		}
	}
}

// wait waits for the rate limits.
func (c *Client) wait(ctx context.Context, q question) error {
	if d, ok := c.buckets.wait(ctx, q.project, c.target.Timeouts.Request.Std()); !ok {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Waits: true, Code: codeRateLimited, RetryAfter: d},
			fmt.Errorf("the project's rate limit is used up for another %s", d.Round(time.Second)))
	}
	if c.limiter == nil {
		return nil
	}
	if err := c.limiter.WaitN(ctx, max(q.turns, 1)); err != nil {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Waits: true, Code: "requests_per_second"},
			fmt.Errorf("waiting for spec.limits.requestsPerSecond: %w", err))
	}
	return nil
}

func (c *Client) ask(ctx context.Context, q question, into any) error {
	limited, cancel := context.WithTimeout(ctx, c.target.Timeouts.Request.Std())
	defer cancel()
	resp, err := c.rt.RoundTrip(c.request(limited, http.MethodGet, q, nil))
	if err != nil {
		return c.unreachable(ctx, q, err)
	}
	defer discard(resp)
	c.seen(q, resp)
	if resp.StatusCode != http.StatusOK {
		return c.refusal(q, resp, false)
	}
	body, err := c.read(ctx, q, resp)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return c.garbled(q, body, err)
	}
	return nil
}

func (c *Client) seen(q question, resp *http.Response) {
	c.buckets.answered(q.project, resp.StatusCode, resp.Header)
	version := q.version()
	if c.target.API == "v1" {
		version = "1.0"
	}
	c.notices.look(q.operation, version, resp.Header)
}

func (c *Client) read(ctx context.Context, q question, resp *http.Response) ([]byte, error) {
	limit := q.limit
	if limit == 0 {
		limit = smallLimit
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Code: "truncated"}, errors.New("the answer was cut off"))
	}
	if err != nil {
		return nil, c.unreachable(ctx, q, err)
	}
	if int64(len(body)) > limit {
		return nil, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "too_large"}, fmt.Errorf("the answer is longer than %d bytes", limit))
	}
	return body, nil
}

// change sends a body, once, and not after ctx's deadline. An error of KindAmbiguous may have changed something.
func (c *Client) change(ctx context.Context, method string, q question, body []byte) error {
	if d := c.buckets.held(q.project); d > 0 { // the caller counts on it being over soon
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Waits: true, Code: codeRateLimited, RetryAfter: d},
			fmt.Errorf("the project's rate limit is used up for another %s", d.Round(time.Second)))
	}
	limited, cancel := context.WithTimeout(ctx, c.target.Timeouts.Request.Std())
	defer cancel()
	limited, lift := fence.Request(limited)
	defer lift()
	limited, sent := fence.Watch(limited)
	resp, err := c.rt.RoundTrip(c.request(limited, method, q, body))
	if err != nil {
		failure := c.unreachable(ctx, q, err)
		if _, unasked := errors.AsType[*tokenError](err); sent() && !unasked {
			failure.Kind = keyturn.KindAmbiguous
		}
		return failure
	}
	defer discard(resp)
	c.seen(q, resp)
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		return nil // whatever the body says: only GET tells
	default:
		return c.refusal(q, resp, true)
	}
}

// request builds a request. What has a body can be sent again by a transport that logs in.
func (c *Client) request(ctx context.Context, method string, q question, body []byte) *http.Request {
	u := new(url.URL)
	*u = c.base
	u.Path += q.path
	u.RawQuery = q.query
	accept := "application/json"
	if c.target.API != "v1" {
		accept = "application/vnd.atlas." + q.version() + "+json"
	}
	req := &http.Request{
		Method: method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		// An old answer would look like a key that did not turn.
		Header: http.Header{"User-Agent": {c.agent}, "Accept": {accept}, "Cache-Control": {"no-cache"}},
	}
	if body != nil {
		req.Header.Set("Content-Type", accept)
		req.ContentLength = int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	return req.WithContext(ctx)
}

// garbled deals with a 200 that can't be decoded: half an answer, or that of something that is not Atlas.
func (c *Client) garbled(q question, body []byte, err error) error {
	_, wrongType := errors.AsType[*json.UnmarshalTypeError](err)
	body = bytes.TrimSpace(body)
	if !wrongType && (len(body) == 0 || body[0] == '{') {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Code: "truncated"}, errors.New("the answer is no complete JSON"))
	}
	return c.foreign(q, "the answer is not what Atlas sends")
}

// foreign reports a server that is not Atlas.
func (c *Client) foreign(q question, what string) error {
	return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Target: true, Code: "not_atlas"},
		fmt.Errorf("%s: is spec.url (%s) Atlas?", what, c.target.URL))
}

// discard reads the rest of a body, within limits, so that the connection can be used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, smallLimit)
	_ = resp.Body.Close()
}

const (
	// perPage is the most that Atlas allows: https://www.mongodb.com/docs/atlas/api/atlas-admin-api-ref/#pagination
	perPage = 500
	// maxPages ends a listing that has no end.
	maxPages = 20_000
)

type page[T any] struct {
	Results    []T  `json:"results"` // nil: it is no list, if nothing was counted
	TotalCount *int `json:"totalCount"`
	Links      []struct {
		Rel string `json:"rel"`
	} `json:"links"`
}

// list returns all of a list, each thing once. It asks for the next page as long as the server says that there is
// one, or has counted more, but by its own URL: the server's may lead to an address that can't be reached from here.
func list[T any](ctx context.Context, c *Client, q question, id func(T) string) ([]T, error) {
	q.limit = listLimit
	var (
		all  = []T{}
		seen = make(map[string]struct{})
	)
	for n := 1; ; n++ {
		q.query = "itemsPerPage=" + strconv.Itoa(perPage) + "&pageNum=" + strconv.Itoa(n)
		var p page[T]
		if err := c.get(ctx, q, &p); err != nil {
			return nil, err
		}
		if p.Results == nil && (p.TotalCount == nil || *p.TotalCount > 0) && n == 1 {
			return nil, c.foreign(q, "the answer is no list")
		}
		before := len(all)
		for _, item := range p.Results {
			if _, dup := seen[id(item)]; !dup {
				seen[id(item)] = struct{}{}
				all = append(all, item)
			}
		}
		// What is neither counted nor linked is asked for until nothing new comes.
		untold := p.TotalCount == nil && len(p.Links) == 0
		more := untold || p.TotalCount != nil && *p.TotalCount > len(all)
		for _, l := range p.Links {
			more = more || l.Rel == "next"
		}
		switch {
		case len(p.Results) == 0 || !more || untold && len(all) == before:
			return all, nil
		case len(all) == before || n == maxPages:
			return nil, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "endless_list"},
				fmt.Errorf("page %d only repeats what came before and still there should be more: the list would be incomplete", n))
		}
	}
}
