package atlas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/digest"
	"github.com/keyturn/keyturn/worker/rest"
)

const (
	detailLimit = 300 // runes of an error's body that get into an error text

	codeRateLimited  = "rate_limited"
	codeNotFound     = "not_found"
	codeUnauthorized = "unauthorized"
	codeVersion      = "api_version"
)

// problem is the body of an error: https://www.mongodb.com/docs/atlas/api/api-errors/
type problem struct {
	Detail    string `json:"detail"`
	ErrorCode string `json:"errorCode"`
	Reason    string `json:"reason"`
	Bad       struct {
		Fields []struct {
			Field       string `json:"field"`
			Description string `json:"description"`
		} `json:"fields"`
	} `json:"badRequestDetail"`
}

// parse reads it from an answer. A field of another type than is documented keeps no other from being read.
func (p *problem) parse(body []byte) error {
	err := json.Unmarshal(body, p)
	if _, odd := errors.AsType[*json.UnmarshalTypeError](err); odd {
		return nil
	}
	return err
}

// known reports whether Atlas wrote it.
func (p problem) known() bool { return p.ErrorCode != "" || p.Reason != "" }

// fail returns e, with a text that says what was being done.
func (c *Client) fail(q question, e keyturn.SystemError, cause error) *keyturn.SystemError {
	e.Err = fmt.Errorf("%s %s: %w", q.doing, q.subject, cause)
	return &e
}

// unreachable deals with a question that got no answer.
func (c *Client) unreachable(ctx context.Context, q question, err error) *keyturn.SystemError {
	if te, ok := errors.AsType[*tokenError](err); ok && te.status != 0 {
		return c.untrusted(q, te)
	}
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

// untrusted deals with a service account that got no token.
func (c *Client) untrusted(q question, te *tokenError) *keyturn.SystemError {
	e := keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "http_" + strconv.Itoa(te.status)}
	switch {
	case te.status == http.StatusTooManyRequests:
		e.Code, e.RetryAfter = codeRateLimited, rest.RetryAfter(te.header, c.now(), retryAfterMax)
		return c.fail(q, e, te)
	case te.status >= http.StatusInternalServerError:
		e.RetryAfter = rest.RetryAfter(te.header, c.now(), retryAfterMax)
		return c.fail(q, e, te)
	case te.status == http.StatusUnauthorized || te.code == "invalid_client" || te.code == "invalid_grant":
		e.Kind, e.Code = keyturn.KindPermanent, codeUnauthorized
		return c.fail(q, e, fmt.Errorf("%w: the service account's id or secret is wrong, or the secret has expired (none lasts longer than a year): "+
			"make a new secret for it in Atlas and put it where spec.credentials.clientSecret points", te))
	case te.status == http.StatusForbidden:
		e.Kind, e.Code = keyturn.KindPermanent, codeUnauthorized
		return c.fail(q, e, fmt.Errorf("%w: the service account may not log in: check in Atlas that it was not disabled", te))
	default:
		e.Kind, e.Code = keyturn.KindPermanent, "not_atlas"
		return c.fail(q, e, fmt.Errorf("%w: is spec.url (%s) Atlas?", te, c.target.URL))
	}
}

// unchallenged deals with a server that did not ask for the credentials of an API key, so that the request was never sent.
func (c *Client) unchallenged(q question, ce *digest.ChallengeError) *keyturn.SystemError {
	e := keyturn.SystemError{Kind: keyturn.KindTransient, Target: true, Code: "http_" + strconv.Itoa(ce.Status)}
	switch {
	case ce.Status == http.StatusTooManyRequests:
		e.Code, e.RetryAfter = codeRateLimited, rest.RetryAfter(ce.Header, c.now(), retryAfterMax)
	case ce.Status >= http.StatusInternalServerError:
		e.Target, e.RetryAfter = rest.Outage(ce.Status), rest.RetryAfter(ce.Header, c.now(), retryAfterMax)
	default:
		e.Kind, e.Code = keyturn.KindPermanent, "not_atlas"
		return c.fail(q, e, fmt.Errorf("%w: is spec.url (%s) Atlas?", ce, c.target.URL))
	}
	return c.fail(q, e, ce)
}

// isVersionTrouble reports a refusal of the version that was asked for.
func isVersionTrouble(e *keyturn.SystemError) bool { return e.Code == codeVersion }

// refusal says what an answer other than the one that was hoped for means. change: the request was one that changes something.
func (c *Client) refusal(q question, resp *http.Response, change bool) *keyturn.SystemError {
	status := resp.StatusCode
	p := c.problem(resp)
	e := keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "http_" + strconv.Itoa(status)}
	hint := ""
	m, listed := meanings()[p.ErrorCode]
	switch {
	case status == http.StatusTooManyRequests:
		e.Kind, e.Target, e.Waits, e.Code, e.RetryAfter = keyturn.KindTransient, q.project == "", true, codeRateLimited, rest.RetryAfter(resp.Header, c.now(), retryAfterMax)
	case status == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "", status >= http.StatusInternalServerError:
		e.Kind, e.Target, e.RetryAfter = keyturn.KindTransient, rest.Outage(status), rest.RetryAfter(resp.Header, c.now(), retryAfterMax)
	case isVersionAnswer(status, p):
		e.Code, hint = codeVersion, c.versionHint(q, status)
	case listed && status >= 400:
		e.Kind, e.Target, e.Code, hint = m.kind, m.target, strings.ToLower(p.ErrorCode), m.hint
		if m.role {
			hint = c.roleHint(q)
		}
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.Target, e.Code, hint = c.forbidden(q, status, resp.Header, p)
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == rest.StatusClientGaveUp:
		e.Kind = keyturn.KindTransient
	case status == http.StatusNotFound:
		e.Code, hint = codeNotFound, "it is not there (any more)"
	case status >= 400:
	case status >= 300:
		e.Target, e.Code = true, "redirect"
		hint = fmt.Sprintf("redirects are not followed: set spec.url to where %q leads", c.clean(resp.Header.Get("Location")))
	default:
		e.Code = "unexpected_status"
	}
	if status >= 400 && status < 500 && !p.known() {
		hint = strings.TrimPrefix(hint+"; no error of Atlas's: is spec.url ("+c.target.URL+") right?", "; ")
	}
	if change && (status >= http.StatusInternalServerError || e.Code == "unexpected_status" ||
		status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == rest.StatusClientGaveUp) {
		e.Kind = keyturn.KindAmbiguous
	}
	return c.fail(q, e, errors.New(describe(status, p, hint)))
}

// isVersionAnswer: https://www.mongodb.com/docs/atlas/api/versioned-api-overview/
func isVersionAnswer(status int, p problem) bool {
	return status == http.StatusNotAcceptable || status == http.StatusGone || status == http.StatusUnsupportedMediaType || p.ErrorCode == "INVALID_VERSION_DATE"
}

func (c *Client) versionHint(q question, status int) string {
	if c.target.API == "v1" {
		return "version 1 of the API is not served (any more): write api: v2 in the target's spec"
	}
	if status == http.StatusGone {
		return fmt.Sprintf("version %s of it has ended: update Keyturn", q.version())
	}
	return fmt.Sprintf("it is not served in version %s: update Keyturn, or check that spec.url leads to Atlas", q.version())
}

// forbidden tells the meanings of a 401 and a 403 apart: credentials that are wrong, an address that is not on the
// access list, and a role that is missing.
func (c *Client) forbidden(q question, status int, h http.Header, p problem) (target bool, code, hint string) {
	if said := strings.ToLower(p.Detail); strings.Contains(said, "ip address") && (strings.Contains(said, "not allowed") || strings.Contains(said, "access list")) {
		return true, "ip_address_not_on_access_list", accessListHint
	}
	if status == http.StatusUnauthorized && (h.Get("WWW-Authenticate") != "" || !p.known() || c.tokens != nil) {
		if c.tokens != nil {
			return true, codeUnauthorized, "Atlas gave out an access token and refuses it: check that the service account still belongs to this organization"
		}
		return true, codeUnauthorized, "the credentials are wrong: check spec.credentials, and that the API key still exists"
	}
	return false, "not_permitted", c.roleHint(q)
}

// who is what logs in.
func (c *Client) who() string {
	if c.tokens != nil {
		return "service account"
	}
	return "API key"
}

func (c *Client) roleHint(q question) string {
	if q.needs == "" {
		return "the " + c.who() + " may not do this"
	}
	return fmt.Sprintf("the %s needs the role %s in this project: give it to it in Atlas under Project Access", c.who(), q.needs)
}

// describe writes "answered 403 IP_ADDRESS_NOT_ON_ACCESS_LIST: the detail (what to do)".
func describe(status int, p problem, hint string) string {
	var b strings.Builder
	b.WriteString("Atlas answered " + strconv.Itoa(status))
	if p.ErrorCode != "" {
		b.WriteString(" " + p.ErrorCode)
	}
	if p.Detail != "" {
		b.WriteString(": " + p.Detail)
	}
	for _, f := range p.Bad.Fields {
		b.WriteString("; " + f.Field + ": " + f.Description)
	}
	if hint != "" {
		b.WriteString(" (" + hint + ")")
	}
	return b.String()
}

// problem reads the body of an error, if it is one of Atlas's.
func (c *Client) problem(resp *http.Response) problem {
	var p problem
	body, err := io.ReadAll(io.LimitReader(resp.Body, smallLimit))
	if err != nil || p.parse(body) != nil {
		return problem{}
	}
	p.Detail, p.ErrorCode = c.clean(p.Detail), c.clean(p.ErrorCode)
	p.Bad.Fields = p.Bad.Fields[:min(len(p.Bad.Fields), 5)]
	for i, f := range p.Bad.Fields {
		p.Bad.Fields[i].Field, p.Bad.Fields[i].Description = c.clean(f.Field), c.clean(f.Description)
	}
	return p
}

// clean makes a server's text fit for an error's.
func (c *Client) clean(s string) string {
	for _, secret := range c.secrets {
		s = strings.ReplaceAll(s, secret, "***")
	}
	if c.tokens != nil {
		s = c.tokens.hide(s)
	}
	return printable(s)
}

func printable(s string) string { return rest.Printable(s, detailLimit) }
