package atlas_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/atlas"
)

func TestTokens_OneServesAllRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			if _, err := w.Current(t.Context(), awsUnit); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if n := w.sim.Requests("POST token"); n != 1 {
		t.Errorf("%d tokens were fetched, want 1", n)
	}
}

func TestTokens_AreRenewedBeforeTheyEnd(t *testing.T) {
	t.Parallel()
	var passed atomic.Int64
	start := time.Now()
	clock := func() time.Time { return start.Add(time.Duration(passed.Load())) }
	w := newWorld(t, func(s *setup) { s.now, s.cfg.Now = clock, clock })
	for _, step := range []struct {
		at     time.Duration
		tokens int
	}{{0, 1}, {45 * time.Minute, 1}, {50 * time.Minute, 2}, {90 * time.Minute, 2}, {10 * time.Hour, 3}} {
		passed.Store(int64(step.at))
		if _, err := w.Current(t.Context(), awsUnit); err != nil {
			t.Fatal(err)
		}
		if n := w.sim.Requests("POST token"); n != step.tokens {
			t.Errorf("after %s: %d tokens were fetched, want %d", step.at, n, step.tokens)
		}
	}
}

func TestTokens_ThatWereRevokedAreReplacedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	intent, err := w.Prepare(t.Context(), awsUnit, newID())
	if err != nil {
		t.Fatal(err)
	}
	w.sim.Revoke()
	if intent, err = w.Make(t.Context(), awsUnit, keyturn.KeyOrder{Task: newID()}, intent); err != nil {
		t.Fatal(err)
	}
	w.sim.Revoke() // and once more right before the change
	if err := w.Apply(t.Context(), awsUnit, intent); err != nil {
		t.Fatal(err)
	}
	if n := w.sim.Requests("POST token"); n != 3 || len(w.sim.Patches()) != 1 {
		t.Errorf("%d tokens, %d PATCHes", n, len(w.sim.Patches()))
	}
}

func TestLogin_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*setup)
		code   string
		want   string
	}{
		{"wrong or expired secret", func(s *setup) { s.secret = "mdb_sa_sk_wrong" }, "unauthorized", "the service account's id or secret is wrong, or the secret has expired"},
		{"wrong private key", func(s *setup) { s.apiKey, s.secret = true, "wrong" }, "unauthorized", "the credentials are wrong: check spec.credentials"},
		{"wrong private key of v1", func(s *setup) { s.target.API, s.secret = "v1", "wrong" }, "unauthorized", "the credentials are wrong: check spec.credentials"},
		{"address after a good token", func(s *setup) { s.cfg.NotOnAccessList = true }, "ip_address_not_on_access_list", "203.0.113.7 is not allowed to access this resource. (the credentials are good, but this machine's address is not on their API access list"},
		{"address of an API key", func(s *setup) { s.apiKey, s.cfg.NotOnAccessList = true, true }, "ip_address_not_on_access_list", "add it in Atlas under Access Manager"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.change)
			_, err := w.Current(t.Context(), awsUnit)
			if e := kindOf(t, err); e.Kind != keyturn.KindPermanent || !e.Target || e.Code != tc.code || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v: %v\nwant %s: %s", e, err, tc.code, tc.want)
			}
			if strings.Contains(err.Error(), "mdb_sa_sk") || w.Check(t.Context())[0].State != keyturn.CheckFailed {
				t.Errorf("Check: %+v", w.Check(t.Context())[0])
			}
		})
	}
}

// server is an Atlas that answers as a test wants it to.
func server(t *testing.T, handle http.HandlerFunc) *atlas.Client {
	t.Helper()
	return serverAt(t, nil, handle)
}

// serverAt is the same with a clock.
func serverAt(t *testing.T, now func() time.Time, handle http.HandlerFunc) *atlas.Client {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	c, err := atlas.New(atlas.Config{
		Target:   keyturn.Target{Name: target, System: keyturn.SystemAtlas, URL: s.URL, Timeouts: keyturn.TargetTimeouts{Request: keyturn.Duration(2 * time.Second)}},
		ClientID: "mdb_sa_id_1", ClientSecret: "mdb_sa_sk_1", Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestTokens_TroubleOfTheirServer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		status int
		body   string
		kind   keyturn.ErrorKind
		code   string
	}{
		{"rate limited", http.StatusTooManyRequests, `{"error":"rate_limited"}`, keyturn.KindTransient, "rate_limited"},
		{"server error", http.StatusInternalServerError, `{"error":"server_error"}`, keyturn.KindTransient, "http_500"},
		{"disabled", http.StatusForbidden, `{"error":"access_denied"}`, keyturn.KindPermanent, "unauthorized"},
		{"not Atlas", http.StatusNotFound, `<html>`, keyturn.KindPermanent, "not_atlas"},
		{"no token", http.StatusOK, `{}`, keyturn.KindTransient, "network"},
		{"half a token", http.StatusOK, `{"access_token":"eyJhalf`, keyturn.KindTransient, "network"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := server(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			err := c.Apply(t.Context(), awsUnit, keyturn.Intent{Before: awsKey, Want: awsKey + "2"})
			e := kindOf(t, err)
			if e.Kind != tc.kind || e.Code != tc.code || !e.Target || strings.Contains(err.Error(), "eyJ") {
				t.Errorf("got %+v: %v", e, err)
			}
			if tc.code == "rate_limited" && e.RetryAfter != 7*time.Second {
				t.Errorf("retry after %s", e.RetryAfter)
			}
		})
	}
}

func TestTokens_WaitingObeysTheContext(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := server(t, func(_ http.ResponseWriter, _ *http.Request) { <-release })
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for range 2 { // the second waits for the first one's token
		asking.Go(func() {
			if _, err := c.Current(ctx, awsUnit); kindOf(t, err).Code != "canceled" {
				t.Errorf("got %v", err)
			}
		})
	}
	cancel()
	asking.Wait()
	close(release)
}

func TestNew_RefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	tests := []struct {
		cfg  atlas.Config
		want string
	}{
		{atlas.Config{Target: keyturn.Target{System: keyturn.SystemAtlas}}, "empty credentials"},
		{atlas.Config{Target: keyturn.Target{System: keyturn.SystemAtlas, API: "v1"}, ClientID: "a", ClientSecret: "b"}, "knows no service accounts"},
		{atlas.Config{Target: keyturn.Target{System: keyturn.SystemAtlas, URL: "https://u:p@h"}, ClientID: "a", ClientSecret: "b"}, "must not contain credentials"},
		{atlas.Config{Target: keyturn.Target{System: keyturn.SystemAtlas, URL: "cloud"}, ClientID: "a", ClientSecret: "b"}, "not a URL"},
		{atlas.Config{Target: keyturn.Target{System: keyturn.SystemAtlas, TLS: keyturn.TargetTLS{CAFile: "/does/not/exist"}}, ClientID: "a", ClientSecret: "b"}, "caFile"},
	}
	for _, tc := range tests {
		if _, err := atlas.New(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
	for _, u := range []string{"", "https://cloud.mongodb.com/", "https://cloud.mongodb.com/api/atlas/v2", "https://cloud.mongodb.com/api/atlas/v1.0/"} {
		if _, err := atlas.New(atlas.Config{Target: keyturn.Target{System: keyturn.SystemAtlas, URL: u}, ClientID: "a", ClientSecret: "b"}); err != nil {
			t.Errorf("%q: %v", u, err)
		}
	}
}
