// Package rest is what adapters of HTTP APIs have in common: the connections to a target, and what those of its
// answers mean that do not depend on whose API it is.
package rest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/fence"
)

// StatusClientGaveUp is nginx's: the request may have got through.
const StatusClientGaveUp = 499

// Base reads a target's spec.url. known are paths that may be at its end, as a browser or the API's documentation shows
// them; they are cut off. Errors quote no password.
func Base(text, example string, known ...string) (url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return url.URL{}, errors.New("not a URL such as " + example) // err may quote a password
	case u.User != nil:
		return url.URL{}, errors.New("must not contain credentials: they belong in spec.credentials")
	case u.RawQuery != "" || u.Fragment != "":
		return url.URL{}, fmt.Errorf("%q must not have a query or a fragment", text)
	}
	path := strings.TrimRight(u.Path, "/")
	for _, end := range known {
		path = strings.TrimSuffix(path, end)
	}
	return url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}, nil
}

// Transport returns a transport for as many requests at once as the target allows, and some more. HTTP/1.1 only: one
// connection of HTTP/2 would tie the fate of all changes in flight together. idle closes connections that are not used.
func Transport(target keyturn.Target, more int, idle time.Duration) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := target.TLS.CAFile; file != "" {
		pem, err := os.ReadFile(file) //nolint:gosec // the operator names it
		if err != nil {
			return nil, fmt.Errorf("reading spec.tls.caFile: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("spec.tls.caFile: %s holds no certificate in PEM form", file)
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	conns := target.Limits.Concurrency + more
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         fence.Dial((&net.Dialer{Timeout: 10 * time.Second}).DialContext),
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 10 * time.Second,
		Protocols:           protocols,
		MaxIdleConns:        conns,
		MaxIdleConnsPerHost: conns,
		MaxConnsPerHost:     conns,
		IdleConnTimeout:     idle,
	}, nil
}

// NoAnswer finds a short word for a network error of a target, and adds what to do about it.
func NoAnswer(target keyturn.Target, err error) (code string, explained error) {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "tls", fmt.Errorf("%w: set spec.tls.caFile to the certificate of the authority that signed the server's", err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "tls", fmt.Errorf("%w: check spec.url and the server's certificate", err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return "tls", fmt.Errorf("%w: spec.url (%s) says https, but the server does not speak it", err, target.URL)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "timeout", fmt.Errorf("no answer from %s within spec.timeouts.request (%s): %w", target.URL, target.Timeouts.Request, err)
	}
	return "network", fmt.Errorf("no answer from %s: %w", target.URL, err)
}

// Outage reports a status that speaks of the whole system, not of the request.
func Outage(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// RetryAfter reads the header of that name: seconds, or a date (RFC 9110 §10.2.3). It answers from 0, which is also what
// there is if it makes no sense, to most.
func RetryAfter(h http.Header, now time.Time, most time.Duration) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	var d time.Duration
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		d = time.Duration(min(max(seconds, 0), most.Seconds()) * float64(time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), most)
}

// Printable makes a server's text fit for an error's: one line of at most so many runes. It hides no secret.
func Printable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
