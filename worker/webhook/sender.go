package webhook

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/secret"
	"github.com/keyturn/keyturn/worker/rest"
)

const (
	// answerMost is how much of an answer is read. One that is longer costs its connection.
	answerMost = 16 << 10
	// excerptMost is how much of it people are shown.
	excerptMost = 300
	shortSecret = 4 // characters; what is shorter is not looked for in answers
)

// Config is what a sender is made of.
type Config struct {
	Version string // of this program
	// AllowLoopback lets webhooks call this machine. It is for servers that are themselves reached from
	// this machine only.
	AllowLoopback bool
	Now           func() time.Time // default time.Now
}

// Sender sends deliveries. It is safe for concurrent use.
type Sender struct {
	agent   string
	now     func() time.Time
	clients clients
}

// New makes a sender.
func New(cfg Config) *Sender {
	s := &Sender{agent: "keyturn/" + cmp.Or(cfg.Version, "dev"), now: cfg.Now}
	if s.now == nil {
		s.now = time.Now
	}
	s.clients.loopback, s.clients.by = cfg.AllowLoopback, map[string]*client{}
	return s
}

// Close closes connections that nobody uses.
func (s *Sender) Close() { s.clients.close() }

// secrets are what a webhook's references stand for.
type secrets struct {
	url, key, previous, password string
}

func secretsOf(hook keyturn.Webhook) (out secrets, err error) {
	if out.url, err = resolve(hook.URL); err != nil {
		return out, fmt.Errorf("url: %w", err)
	}
	if out.key, err = optional(hook.Secret); err != nil {
		return out, fmt.Errorf("secret: %w", err)
	}
	if out.previous, err = optional(hook.PreviousSecret); err != nil {
		return out, fmt.Errorf("previousSecret: %w", err)
	}
	if hook.Email != nil {
		if out.password, err = optional(hook.Email.Password); err != nil {
			return out, fmt.Errorf("email.password: %w", err)
		}
	}
	return out, nil
}

func optional(ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	return secret.Resolve(ref)
}

// Send makes one attempt.
func (s *Sender) Send(ctx context.Context, hook keyturn.Webhook, d keyturn.Delivery) keyturn.SendResult {
	hook = hook.WithDefaults()
	known, err := secretsOf(hook)
	if err != nil {
		return unusable(err)
	}
	e, err := readEvent(d)
	if err != nil {
		return keyturn.SendResult{Err: err}
	}
	c, err := s.clients.of(hook)
	if err != nil {
		return unusable(err)
	}
	if hook.Format == keyturn.FormatEmail {
		return s.mail(ctx, hook, known, c, e)
	}
	req, err := s.request(ctx, hook, known, e)
	if err != nil {
		return unusable(err)
	}
	return s.do(req, c, known)
}

// unusable: nobody can be told until someone mends the webhook or its secrets.
func unusable(err error) keyturn.SendResult {
	return keyturn.SendResult{Err: fmt.Errorf("the webhook can't be used: %w", err), Whole: true}
}

// call is a request in the language of a receiver.
type call struct {
	path    string // appended to the webhook's URL
	query   string
	headers map[string]string
	body    []byte
}

func (s *Sender) request(ctx context.Context, hook keyturn.Webhook, known secrets, e event) (*http.Request, error) {
	made, err := s.render(hook, known, e)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(strings.TrimSpace(known.url))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("url: write http://HOST or https://HOST, without a user or password")
	}
	if made.path != "" {
		u = u.JoinPath(made.path)
		u.RawQuery = made.query
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(made.body))
	if err != nil {
		return nil, errors.New("url: it can't be called")
	}
	req.GetBody = nil // never sent twice by itself
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.agent)
	for name, value := range hook.Headers {
		if value, err = resolve(value); err != nil {
			return nil, fmt.Errorf("headers.%s: %w", name, err)
		}
		req.Header.Set(name, value)
	}
	for name, value := range made.headers {
		req.Header.Set(name, value)
	}
	return req, nil
}

func (s *Sender) render(hook keyturn.Webhook, known secrets, e event) (call, error) {
	switch hook.Format {
	case keyturn.FormatStandard:
		return standard(known, e, s.now())
	case keyturn.FormatSlack:
		return slack(e)
	case keyturn.FormatTeams:
		return teams(e)
	case keyturn.FormatPagerDuty:
		return pagerDuty(known, e)
	case keyturn.FormatAlertmanager:
		return alertmanager(e, s.now())
	case keyturn.FormatOpsgenie:
		return opsgenie(known, e)
	default:
		return call{}, fmt.Errorf("format %q is not known to this version", hook.Format)
	}
}

func (s *Sender) do(req *http.Request, c *client, known secrets) keyturn.SendResult {
	req, err := c.via(req)
	if err != nil {
		return unusable(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return keyturn.SendResult{Err: networkError(err), Whole: true}
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMost))
	if err == nil && len(body) < answerMost {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1)) // sees the end, so that the connection is used again
	}
	return s.answer(resp, string(body), hidden(req, known))
}

// networkError says what went wrong without the URL, which may be a secret.
func networkError(err error) error {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return refused
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return errors.New("no answer in time")
		}
		err = u.Err
	}
	return fmt.Errorf("no answer: %w", err)
}

func (s *Sender) answer(resp *http.Response, body string, hide []string) keyturn.SendResult {
	out := keyturn.SendResult{Status: resp.StatusCode, Answer: excerpt(body, hide)}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return out
	case code == http.StatusGone:
		out.Gone, out.Whole = true, true
		out.Err = errors.New("it answered 410 Gone: nothing more is sent until the webhook is changed or its deliveries are replayed")
		return out
	case code >= 300 && code < 400:
		out.Whole = true
		out.Err = fmt.Errorf("it answered %d, a redirect, which is not followed: write the URL where it leads to", code)
		return out
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusUnauthorized,
		code == http.StatusForbidden, code == http.StatusNotFound, code == http.StatusMethodNotAllowed, code == http.StatusProxyAuthRequired:
		out.Whole = true
	}
	out.RetryAfter = rest.RetryAfter(resp.Header, s.now(), keyturn.Day)
	out.Err = fmt.Errorf("it answered %d", resp.StatusCode)
	if out.Answer != "" {
		out.Err = fmt.Errorf("it answered %d: %s", resp.StatusCode, out.Answer)
	}
	return out
}

// hidden are what must not be shown if the receiver repeats it.
func hidden(req *http.Request, known secrets) []string {
	hide := []string{known.url, req.URL.String(), req.URL.RequestURI(), req.URL.EscapedPath(), req.URL.RawQuery, known.key, known.previous}
	for _, values := range req.Header {
		hide = append(hide, values...)
	}
	for part := range strings.SplitSeq(req.URL.Path, "/") {
		if len(part) >= 16 { // long parts of a path are often the secret itself
			hide = append(hide, part)
		}
	}
	return hide
}

// excerpt is the begin of an answer in one line, without secrets.
func excerpt(body string, hide []string) string {
	for _, h := range hide {
		if len(h) > shortSecret && h != "application/json" {
			body = strings.ReplaceAll(body, h, "(not shown)")
		}
	}
	body = strings.ToValidUTF8(body, "\uFFFD")
	line := strings.Join(strings.FieldsFunc(body, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if runes := []rune(line); len(runes) > excerptMost {
		return string(runes[:excerptMost]) + "…"
	}
	return line
}
