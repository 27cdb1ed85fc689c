package opsmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/digest"
	"github.com/keyturn/keyturn/worker/rest"
)

const (
	problemLimit  = 64 << 10       // bytes of an error's body
	detailLimit   = 200            // runes of it that get into an error text
	retryAfterMax = 24 * time.Hour // a longer Retry-After is a mistake
)

// problem is the body of an error.
// https://www.mongodb.com/docs/ops-manager/v7.0/core/api/#errors
type problem struct {
	Detail    string `json:"detail"`
	ErrorCode string `json:"errorCode"`
	Reason    string `json:"reason"`
}

// known reports whether an Ops Manager wrote it.
func (p problem) known() bool { return p.ErrorCode != "" || p.Reason != "" }

// fail returns e, with a text that says what was being done.
func (c *Client) fail(q question, e keyturn.SystemError, cause error) *keyturn.SystemError {
	e.Err = fmt.Errorf("%s %s: %w", q.doing, q.subject, cause)
	return &e
}

// unreachable deals with a question that got no answer.
func (c *Client) unreachable(ctx context.Context, q question, err error) *keyturn.SystemError {
	if ce, ok := errors.AsType[*digest.ChallengeError](err); ok && ce.Status != 0 {
		return c.unchallenged(q, ce)
	}
	// We gave up, for reasons of our own. A deadline that passes is none: callers bound calls by the target's
	// timeout, and a target that hangs is in trouble.
	if errors.Is(ctx.Err(), context.Canceled) {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Code: "canceled"}, err)
	}
	code, err := rest.NoAnswer(c.target, err)
	return c.fail(q, keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: code}, err)
}

// unchallenged deals with a server that did not ask for the credentials, so
// that the request was never sent.
func (c *Client) unchallenged(q question, ce *digest.ChallengeError) *keyturn.SystemError {
	e := keyturn.SystemError{Kind: keyturn.KindTransient, Code: "http_" + strconv.Itoa(ce.Status)}
	switch {
	case ce.Status == http.StatusTooManyRequests:
		e.Code, e.Target, e.RetryAfter = "rate_limited", true, rest.RetryAfter(ce.Header, c.now(), retryAfterMax)
	case ce.Status >= http.StatusInternalServerError:
		e.Target, e.RetryAfter = rest.Outage(ce.Status), rest.RetryAfter(ce.Header, c.now(), retryAfterMax)
	default:
		e.Kind, e.Target, e.Code = keyturn.KindPermanent, true, "not_ops_manager"
		return c.fail(q, e, fmt.Errorf("%w: is spec.url (%s) an Ops Manager?", ce, c.target.URL))
	}
	return c.fail(q, e, ce)
}

// refusal says what an answer other than the one that was hoped for means.
// change: the request may have changed something.
func (c *Client) refusal(q question, resp *http.Response, change bool) *keyturn.SystemError {
	status := resp.StatusCode
	p := c.problem(resp, q.body)
	e := keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "http_" + strconv.Itoa(status)}
	hint := ""
	switch {
	case status == http.StatusTooManyRequests:
		e.Kind, e.Target, e.Code, e.RetryAfter = keyturn.KindTransient, true, "rate_limited", rest.RetryAfter(resp.Header, c.now(), retryAfterMax)
	case status >= http.StatusInternalServerError:
		e.Kind, e.Target, e.RetryAfter = keyturn.KindTransient, rest.Outage(status), rest.RetryAfter(resp.Header, c.now(), retryAfterMax)
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == rest.StatusClientGaveUp:
		e.Kind = keyturn.KindTransient
	case status == http.StatusUnauthorized:
		e.Target, e.Code, hint = unauthorized(resp.Header, p)
	case status >= 400:
		e.Code, hint = clientError(status, p)
		if !p.known() {
			hint = strings.TrimPrefix(hint+"; no error of an Ops Manager: is spec.url ("+c.target.URL+") one?", "; ")
		}
	case status >= 300:
		e.Target, e.Code = true, "redirect"
		hint = fmt.Sprintf("redirects are not followed: set spec.url to where %q leads", c.clean(resp.Header.Get("Location")))
	default:
		e.Code = "unexpected_status"
	}
	if change && (e.Kind == keyturn.KindTransient && status != http.StatusTooManyRequests || e.Code == "unexpected_status") {
		e.Kind = keyturn.KindAmbiguous
	}
	return c.fail(q, e, errors.New(describe(status, p, hint)))
}

// unauthorized tells the two meanings of a 401 apart: credentials that are
// wrong, which get another challenge, and a role that is missing.
func unauthorized(h http.Header, p problem) (target bool, code, hint string) {
	switch p.ErrorCode {
	case "USER_UNAUTHORIZED", "NOT_IN_GROUP":
		return false, "not_permitted", "the API key lacks the role, or is not in the project"
	case "IP_ADDRESS_NOT_ON_ACCESS_LIST":
		return true, "forbidden", "add this machine's address to the API key's access list"
	}
	if h.Get("WWW-Authenticate") != "" || !p.known() {
		return true, "unauthorized", "the credentials are wrong: check spec.credentials, and that the API key still exists"
	}
	return false, "not_permitted", "the API key lacks the role, or is not in the project"
}

func clientError(status int, p problem) (code, hint string) {
	switch status {
	case http.StatusForbidden:
		if p.ErrorCode == "IP_ADDRESS_NOT_ON_ACCESS_LIST" {
			return "forbidden", "add this machine's address to the API key's access list"
		}
		return "forbidden", ""
	case http.StatusNotFound:
		return "not_found", "it is not there (any more)"
	case http.StatusConflict:
		if p.ErrorCode == "AUTOMATION_CONFIG_CONCURRENT_MODIFICATION" {
			return concurrentModification, "somebody else changed the automation config at the same time"
		}
		return "conflict", ""
	default:
		return "http_" + strconv.Itoa(status), ""
	}
}

// describe writes "answered 403 IP_ADDRESS_NOT_ON_ACCESS_LIST: the detail (what to do)".
func describe(status int, p problem, hint string) string {
	var b strings.Builder
	b.WriteString("the server answered " + strconv.Itoa(status))
	if p.ErrorCode != "" {
		b.WriteString(" " + p.ErrorCode)
	}
	if p.Detail != "" {
		b.WriteString(": " + p.Detail)
	}
	if hint != "" {
		b.WriteString(" (" + hint + ")")
	}
	return b.String()
}

// problem reads the body of an error, if it is one of Ops Manager's. sent is the body of the request.
func (c *Client) problem(resp *http.Response, sent []byte) problem {
	var p problem
	body, err := io.ReadAll(io.LimitReader(resp.Body, problemLimit))
	if err != nil || json.Unmarshal(body, &p) != nil {
		return problem{}
	}
	p.Detail, p.ErrorCode = c.clean(c.hush(p.Detail, sent)), c.clean(p.ErrorCode)
	return p
}

// clean makes a server's text fit for an error's.
func (c *Client) clean(s string) string {
	return rest.Printable(strings.ReplaceAll(s, c.secret, "***"), detailLimit)
}
