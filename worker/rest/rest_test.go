package rest_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/rest"
)

func TestRetryAfter_ReadsSecondsAndDates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "NaN": 0, "2": 2 * time.Second, " 1.5 ": 1500 * time.Millisecond, "1e300": time.Hour, "+Inf": time.Hour,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
		now.Add(48 * time.Hour).Format(http.TimeFormat): time.Hour,
	} {
		if got := rest.RetryAfter(http.Header{"Retry-After": {value}}, now, time.Hour); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}

func TestPrintable_IsOneShortLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"a\r\nb\x1b[c": "a  b [", "": "", "äöü": "äöü"} {
		if got := rest.Printable(text, 6); strings.TrimSuffix(got, "…") != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	if got := rest.Printable(strings.Repeat("ä", 9), 6); got != "ääääää…" {
		t.Errorf("got %q", got)
	}
}

func TestBase_CutsWhatIsKnownAndQuotesNoPassword(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://om:8443/": "https://om:8443", "http://h/base/api/v1//": "http://h/base", "https://h/api/v2": "https://h/api/v2",
		"https://ann:secret@h": "credentials", "https://ann:sec ret@h:x": "such as https://example", "h": "such as https://example",
		"ftp://h": "such as https://example", "https://h/?a=b": "a query", "https://h/#a": "a fragment",
	} {
		u, err := rest.Base(text, "https://example", "/api/v1")
		got := u.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || strings.Contains(got, "sec") || err == nil && got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestTransport_NamesTheFileThatIsWrong(t *testing.T) {
	t.Parallel()
	target := keyturn.Target{TLS: keyturn.TargetTLS{CAFile: filepath.Join(t.TempDir(), "none.pem")}}
	if _, err := rest.Transport(target, 1, time.Second); err == nil || !strings.Contains(err.Error(), "spec.tls.caFile") {
		t.Errorf("got %v", err)
	}
	target = keyturn.Target{Limits: keyturn.Limits{Concurrency: 3}}
	tr, err := rest.Transport(target, 2, time.Second)
	if err != nil || tr.MaxConnsPerHost != 5 || tr.IdleConnTimeout != time.Second || tr.Protocols.HTTP2() {
		t.Errorf("got %+v, %v", tr, err)
	}
}
