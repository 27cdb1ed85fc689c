package kms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/rest"
)

const (
	textLimit     = 300            // runes of a server's text that get into an error's
	retryAfterMax = 24 * time.Hour // a longer Retry-After is a mistake
)

// Call is what was being done when something went wrong.
type Call struct {
	Doing  string // "making a key like"
	What   string // the key, in words for a person
	Flight *Flight
}

// Fail returns an error of a kind and code, with a text that begins with what was being done.
func (c Call) Fail(kind keyturn.ErrorKind, code string, err error) *keyturn.SystemError {
	return &keyturn.SystemError{Kind: kind, Code: code, Err: fmt.Errorf("%s %s: %w", c.Doing, c.What, err)}
}

// Unclear returns the error of an answer that does not say whether it was done: a 500, a proxy's 502.
func (c Call) Unclear(code string, err error) *keyturn.SystemError {
	if c.Flight.Sent() {
		return c.Fail(keyturn.KindAmbiguous, code, err)
	}
	return c.Fail(keyturn.KindTransient, code, err)
}

// Unanswered returns the error of a call that got no answer, or one that broke off. caHint says which setting names
// the authorities.
func (c Call) Unanswered(ctx context.Context, err error, caHint string) *keyturn.SystemError {
	if errors.Is(err, ErrLate) {
		return c.Fail(keyturn.KindTransient, CodeLate, ErrLate)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if status := c.Flight.Status(); status != 0 {
		return c.Unclear(CodeServer, fmt.Errorf("the answer, status %d, can't be read: %w", status, Root(err)))
	}
	if c.Flight.Sent() {
		return c.Fail(keyturn.KindAmbiguous, CodeUnanswered, fmt.Errorf("it was sent and not answered: %w", err))
	}
	code := CodeNetwork
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		code = CodeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		code, err = CodeTimeout, fmt.Errorf("no answer in time: %w", err)
	case isTLS(err):
		code, err = CodeTLS, fmt.Errorf("%w: %s", err, caHint)
	default:
		err = fmt.Errorf("no answer: %w", err)
	}
	return c.Fail(keyturn.KindTransient, code, err)
}

// Root returns the innermost error: without what libraries say of their own insides.
func Root(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

func isTLS(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	return verification || unknown || record || errors.Is(err, http.ErrSchemeMismatch)
}

// Clean makes a server's text fit for an error's: one line, not too long, without the secrets.
func Clean(text string, secrets ...string) string {
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return strings.TrimSpace(rest.Printable(text, textLimit))
}

// RetryAfter reads the header; 0: there is none that makes sense.
func RetryAfter(h http.Header) time.Duration { return rest.RetryAfter(h, time.Now(), retryAfterMax) }
