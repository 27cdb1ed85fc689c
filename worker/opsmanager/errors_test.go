package opsmanager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

func kindOf(err error) keyturn.ErrorKind {
	if e, ok := errors.AsType[*keyturn.SystemError](err); ok {
		return e.Kind
	}
	return ""
}

// want is what an error must say.
type want struct {
	kind       keyturn.ErrorKind
	target     bool
	code       string
	retryAfter time.Duration
	text       string // a part of it
}

func (w want) check(t *testing.T, what string, err error) {
	t.Helper()
	e, ok := errors.AsType[*keyturn.SystemError](err)
	if !ok {
		t.Errorf("%s: error %v, want %+v", what, err, w)
		return
	}
	got := want{e.Kind, e.Target, e.Code, e.RetryAfter, w.text}
	if got != w {
		t.Errorf("%s: %+v, want %+v (%v)", what, got, w, err)
	}
	text := err.Error()
	if !strings.Contains(text, w.text) {
		t.Errorf("%s: error %q does not say %q", what, text, w.text)
	}
	if strings.Contains(text, privateKey) || strings.Contains(text, "Digest") || strings.Contains(text, "\n") || len(text) > 700 {
		t.Errorf("%s: error %q has what it must not", what, text)
	}
}

const (
	transient = keyturn.KindTransient
	permanent = keyturn.KindPermanent
	ambiguous = keyturn.KindAmbiguous
)

func TestAnswersThatAreErrors(t *testing.T) {
	t.Parallel()
	om := func(status int, code, detail string) string {
		text, _ := json.Marshal(object{"error": status, "errorCode": code, "detail": detail, "reason": "x", "parameters": []any{1, "a"}})
		return string(text)
	}
	tests := map[string]struct {
		status   int
		body     string
		header   string
		get, put want
	}{
		"server error": {
			500, om(500, "UNEXPECTED_ERROR", "boom"), "",
			want{transient, false, "http_500", 0, "500 UNEXPECTED_ERROR: boom"},
			want{ambiguous, false, "http_500", 0, "turning the key of unit " + unitID},
		},
		"bad gateway":     {502, "<html>", "", want{transient, true, "http_502", 0, "502"}, want{ambiguous, true, "http_502", 0, "502"}},
		"unavailable":     {503, "", "Retry-After: 7", want{transient, true, "http_503", 7 * time.Second, "503"}, want{ambiguous, true, "http_503", 7 * time.Second, "503"}},
		"gateway timeout": {504, "", "Retry-After: nonsense", want{transient, true, "http_504", 0, "504"}, want{ambiguous, true, "http_504", 0, "504"}},
		"rate limit": {
			429, om(429, "RATE_LIMITED", "limited"), "Retry-After: 3",
			want{transient, true, "rate_limited", 3 * time.Second, "RATE_LIMITED"},
			want{transient, true, "rate_limited", 3 * time.Second, "RATE_LIMITED"},
		},
		"rate limit until a date": {
			429, "", "Retry-After: Sun, 01 Mar 2026 02:00:30 GMT",
			want{transient, true, "rate_limited", 30 * time.Second, ""},
			want{transient, true, "rate_limited", 30 * time.Second, ""},
		},
		"rate limit for a year": {
			429, "", "Retry-After: 1e99",
			want{transient, true, "rate_limited", 24 * time.Hour, ""},
			want{transient, true, "rate_limited", 24 * time.Hour, ""},
		},
		"role is missing": {
			401, om(401, "USER_UNAUTHORIZED", "no"), "",
			want{permanent, false, "not_permitted", 0, "lacks the role"},
			want{permanent, false, "not_permitted", 0, "lacks the role"},
		},
		"not in the project": {
			401, om(401, "NOT_IN_GROUP", "no"), `WWW-Authenticate: Digest realm="x", nonce="y", qop="auth"`,
			want{permanent, false, "not_permitted", 0, "NOT_IN_GROUP"},
			want{permanent, false, "not_permitted", 0, "NOT_IN_GROUP"},
		},
		"asks for a password": {
			401, om(401, "", ""), `WWW-Authenticate: Basic realm="x"`,
			want{permanent, true, "unauthorized", 0, "spec.credentials"},
			want{permanent, true, "unauthorized", 0, "spec.credentials"},
		},
		"address": {
			403, om(403, "IP_ADDRESS_NOT_ON_ACCESS_LIST", "IP address 10.0.0.1 is not allowed"), "",
			want{permanent, false, "forbidden", 0, "access list"},
			want{permanent, false, "forbidden", 0, "access list"},
		},
		"gone": {
			404, om(404, "CLUSTER_NOT_FOUND", "No cluster c1"), "",
			want{permanent, false, "not_found", 0, "CLUSTER_NOT_FOUND: No cluster c1"},
			want{permanent, false, "not_found", 0, "not there"},
		},
		"conflict": {
			409, om(409, "CANNOT_GET_BACKUP_CONFIG_INVALID_STATE", "not monitored"), "",
			want{permanent, false, "conflict", 0, "not monitored"},
			want{permanent, false, "conflict", 0, "not monitored"},
		},
		"bad request":     {400, "<html>bad</html>", "", want{permanent, false, "http_400", 0, "is spec.url"}, want{permanent, false, "http_400", 0, "is spec.url"}},
		"request timeout": {408, "", "", want{transient, false, "http_408", 0, "408"}, want{ambiguous, false, "http_408", 0, "408"}},
		"redirect": {
			307, "", "Location: https://elsewhere.example.com/x",
			want{permanent, true, "redirect", 0, "https://elsewhere.example.com/x"},
			want{permanent, true, "redirect", 0, "spec.url"},
		},
		"odd success": {206, keyBody, "", want{permanent, false, "unexpected_status", 0, "206"}, want{ambiguous, false, "unexpected_status", 0, "206"}},
		"a secret, a long text, control characters": {
			500, om(500, "X", privateKey+"\n\x1b"+strings.Repeat("ä", 5000)), "",
			want{transient, false, "http_500", 0, "X: ***  ää"},
			want{ambiguous, false, "http_500", 0, "ää…"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			var headers []string
			if tt.header != "" {
				headers = append(headers, tt.header)
			}
			f.on("GET "+keyPath, tt.status, tt.body, headers...)
			f.on("PUT "+keyPath, tt.status, tt.body, headers...)
			c := f.client(t, func(cfg *opsmanager.Config) {
				cfg.Now = func() time.Time { return time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC) }
			})
			_, err := c.Prepare(t.Context(), unitID, keyturn.ID{})
			tt.get.check(t, "Prepare", err)
			_, err = c.Current(t.Context(), unitID)
			tt.get.check(t, "Current", err)
			tt.put.check(t, "Apply", c.Apply(t.Context(), unitID, keyturn.Intent{}))
			if n := f.seen()["PUT "+keyPath]; n != 1 && tt.status != http.StatusUnauthorized {
				t.Errorf("%d PUTs", n)
			}
		})
	}
}

func TestBodiesThatAreNoAnswer(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body             string
		prepare, current want
	}{
		"HTML":       {"<html>Welcome</html>", want{permanent, true, "not_ops_manager", 0, "an Ops Manager?"}, want{permanent, true, "not_ops_manager", 0, "an Ops Manager?"}},
		"text":       {"OK", want{permanent, true, "not_ops_manager", 0, ""}, want{permanent, true, "not_ops_manager", 0, ""}},
		"a list":     {"[]", want{permanent, true, "not_ops_manager", 0, ""}, want{permanent, true, "not_ops_manager", 0, ""}},
		"wrong type": {`{"encryptionKeyUUID":7}`, want{permanent, true, "not_ops_manager", 0, ""}, want{permanent, true, "not_ops_manager", 0, ""}},
		"half":       {keyBody[:40], want{transient, false, "truncated", 0, ""}, want{transient, false, "truncated", 0, ""}},
		"empty":      {"", want{transient, false, "truncated", 0, ""}, want{transient, false, "truncated", 0, ""}},
		"no key":     {`{"clusterId":"c1"}`, want{permanent, false, "no_key", 0, "encryptionKeyUUID"}, want{transient, false, "no_key", 0, ""}},
		"endless":    {`{"a":"` + strings.Repeat("x", 65<<10) + `"}`, want{permanent, false, "too_large", 0, ""}, want{permanent, false, "too_large", 0, ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.on("GET "+keyPath, http.StatusOK, tt.body)
			c := f.client(t)
			_, err := c.Prepare(t.Context(), unitID, keyturn.ID{})
			tt.prepare.check(t, "Prepare", err)
			_, err = c.Current(t.Context(), unitID)
			tt.current.check(t, "Current", err)
		})
	}
}

func TestConnectionsThatBreakAfterTheRequest(t *testing.T) {
	t.Parallel()
	cut := func(bytes string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, bytes)
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			_ = conn.Close()
		}
	}
	t.Run("before the answer", func(t *testing.T) {
		t.Parallel()
		for _, bytes := range []string{"", "HTTP/1.1 20", "HTTP/1.1 201 Created\r\nContent-Le"} {
			f := newFake(t)
			f.handle("GET "+keyPath, cut(bytes))
			f.handle("PUT "+keyPath, cut(bytes))
			c := f.client(t)
			_, err := c.Current(t.Context(), unitID)
			want{transient, true, "network", 0, "no answer from"}.check(t, "Current", err)
			want{ambiguous, true, "network", 0, unitID}.check(t, "Apply", c.Apply(t.Context(), unitID, keyturn.Intent{}))
			if n := f.seen()["PUT "+keyPath]; n != 1 {
				t.Errorf("%d PUTs", n)
			}
		}
	})
	t.Run("within the body", func(t *testing.T) {
		t.Parallel()
		f := newFake(t)
		f.handle("GET "+keyPath, cut("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"encryptionKeyUUID\":"))
		f.handle("PUT "+keyPath, cut("HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"))
		c := f.client(t)
		_, err := c.Current(t.Context(), unitID)
		want{transient, false, "truncated", 0, "cut off"}.check(t, "Current", err)
		if err := c.Apply(t.Context(), unitID, keyturn.Intent{}); err != nil {
			t.Errorf("a PUT that was accepted: %v", err)
		}
	})
}

func TestTimeoutsAndCancellation(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 8)
	// Each part has a server of its own: a request that was given up may arrive late, or not at all.
	hanging := func(arrive func()) *fake {
		f := newFake(t)
		hang := func(_ http.ResponseWriter, r *http.Request) {
			arrive()
			<-r.Context().Done()
		}
		f.handle("GET "+keyPath, hang)
		f.handle("PUT "+keyPath, hang)
		return f
	}
	const short = 500 * time.Millisecond // enough for a request to be sent also while much else is going on
	impatient := hanging(func() {}).client(t, func(cfg *opsmanager.Config) { cfg.Target.Timeouts.Request = keyturn.Duration(short) })
	_, err := impatient.Current(t.Context(), unitID)
	want{transient, true, "timeout", 0, "spec.timeouts.request (500ms)"}.check(t, "Current", err)
	want{ambiguous, true, "timeout", 0, ""}.check(t, "Apply", impatient.Apply(t.Context(), unitID, keyturn.Intent{}))

	patient := hanging(func() { arrived <- struct{}{} }).client(t)
	for name, call := range map[string]func(context.Context) error{
		"Current": func(ctx context.Context) error { _, err := patient.Current(ctx, unitID); return err },
		"Apply":   func(ctx context.Context) error { return patient.Apply(ctx, unitID, keyturn.Intent{}) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		kind := map[string]keyturn.ErrorKind{"Current": transient, "Apply": ambiguous}[name]
		err := call(ctx)
		want{kind, false, "canceled", 0, ""}.check(t, name, err)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	patient = hanging(func() {}).client(t)
	for name, kind := range map[string]keyturn.ErrorKind{"Current": transient, "Prepare": transient, "Apply": ambiguous} {
		ctx, cancel := context.WithTimeout(t.Context(), short) // as the rotator does
		var err error
		switch name {
		case "Current":
			_, err = patient.Current(ctx, unitID)
		case "Prepare":
			_, err = patient.Prepare(ctx, unitID, keyturn.ID{})
		default:
			err = patient.Apply(ctx, unitID, keyturn.Intent{})
		}
		want{kind, true, "timeout", 0, "no answer from"}.check(t, name+" until the caller's deadline", err)
		cancel()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	want{transient, false, "canceled", 0, ""}.check(t, "Apply", patient.Apply(ended, unitID, keyturn.Intent{}))
}

func TestServersThatCannotBeReached(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.server.Close()
	c := f.client(t)
	_, err := c.Prepare(t.Context(), unitID, keyturn.ID{})
	want{transient, true, "network", 0, "connection refused"}.check(t, "Prepare", err)
	want{transient, true, "network", 0, "connection refused"}.check(t, "Apply", c.Apply(t.Context(), unitID, keyturn.Intent{}))
	want{transient, true, "network", 0, f.server.URL}.check(t, "Check", c.Ping(t.Context()))
}

func TestApply_ThatCannotConnectAnyMoreIsTransient(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("GET "+keyPath, http.StatusOK, keyBody)
	down := false
	base := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if down {
			return nil, errors.New("no route to host")
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	c := f.client(t, func(cfg *opsmanager.Config) { cfg.Base = base })
	if _, err := c.Prepare(t.Context(), unitID, keyturn.ID{}); err != nil {
		t.Fatal(err)
	}
	down = true // with a nonce that is good
	want{transient, true, "network", 0, "no route to host"}.check(t, "Apply", c.Apply(t.Context(), unitID, keyturn.Intent{}))
	down = false
	f.guard.Forget() // and now it fails between the refusal of the nonce and the second try
	f.handle("PUT "+keyPath, func(http.ResponseWriter, *http.Request) { t.Error("the PUT got through") })
	c2 := f.client(t, func(cfg *opsmanager.Config) {
		cfg.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(r)
			down = err == nil && resp.StatusCode == http.StatusUnauthorized && r.Method == http.MethodPut
			return resp, err
		})
	})
	if _, err := c2.Prepare(t.Context(), unitID, keyturn.ID{}); err != nil {
		t.Fatal(err)
	}
	f.guard.Forget()
	want{transient, true, "network", 0, "no route to host"}.check(t, "Apply", c2.Apply(t.Context(), unitID, keyturn.Intent{}))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestApply_ThatGetsNoChallengeHasNotBeenSent(t *testing.T) {
	t.Parallel()
	tests := map[int]want{
		http.StatusOK:                  {permanent, true, "not_ops_manager", 0, "an Ops Manager?"},
		http.StatusUnauthorized:        {permanent, true, "not_ops_manager", 0, "an Ops Manager?"},
		http.StatusTooManyRequests:     {transient, true, "rate_limited", 5 * time.Second, "429"},
		http.StatusServiceUnavailable:  {transient, true, "http_503", 5 * time.Second, "503"},
		http.StatusInternalServerError: {transient, false, "http_500", 5 * time.Second, "500"},
	}
	for status, w := range tests {
		f := newFake(t)
		c := f.client(t, func(cfg *opsmanager.Config) {
			cfg.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodGet {
					t.Errorf("%d: sent %s", status, r.Method)
				}
				return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"5"}}, Body: http.NoBody}, nil
			})
		})
		w.check(t, fmt.Sprint(status), c.Apply(t.Context(), unitID, keyturn.Intent{}))
	}
}
