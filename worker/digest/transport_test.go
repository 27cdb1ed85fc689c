package digest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/worker/digest"
	"github.com/keyturn/keyturn/worker/digest/digesttest"
)

const username, password = "public", "private"

// clock is a time that only tests move.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time {
	return time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC).Add(time.Duration(c.offset.Load()))
}

func (c *clock) Add(d time.Duration) { c.offset.Add(int64(d)) }

// fixture is a server behind a guard, and a transport to it.
type fixture struct {
	guard     *digesttest.Guard
	server    *httptest.Server
	transport *digest.Transport
	clock     *clock
}

func newFixture(t *testing.T, rules digesttest.Rules, next http.HandlerFunc) *fixture {
	t.Helper()
	f := &fixture{clock: &clock{}}
	if rules.Username == "" {
		rules.Username, rules.Password = username, password
	}
	rules.Now = f.clock.Now
	if next == nil {
		next = func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body) //nolint:gosec // G705: no browser reads it
		}
	}
	f.guard = digesttest.New(rules, next)
	f.server = httptest.NewServer(f.guard)
	base := &http.Transport{MaxIdleConnsPerHost: 256}
	f.transport = digest.NewTransport(digest.Config{Base: base, Username: username, Password: password, Now: f.clock.Now})
	t.Cleanup(func() {
		f.transport.CloseIdleConnections()
		f.server.Close()
	})
	return f
}

func (f *fixture) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.server.URL+path, nil)
	if body != "" {
		req, err = http.NewRequestWithContext(t.Context(), method, f.server.URL+path, strings.NewReader(body))
	}
	if err != nil {
		t.Fatal(err)
	}
	return send(t, f.transport, req)
}

func send(t *testing.T, rt http.RoundTripper, req *http.Request) (int, string) {
	t.Helper()
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Errorf("%s %s: %v", req.Method, req.URL, err)
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s %s: reading the body: %v", req.Method, req.URL, err)
	}
	if resp.Request != req {
		t.Errorf("%s %s: the response names another request than the caller's", req.Method, req.URL)
	}
	return resp.StatusCode, string(got)
}

func (f *fixture) want(t *testing.T, want digesttest.Counts) {
	t.Helper()
	if got := f.guard.Counts(); got != want {
		t.Errorf("the server saw %+v, want %+v", got, want)
	}
}

func TestTransport_UsesOneChallengeForManyRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{}, nil)
	for range 20 {
		if status, body := f.do(t, http.MethodGet, "/a?b=c%20d&e=%22", ""); status != http.StatusOK || body != "GET /a?b=c%20d&e=%22 " {
			t.Fatalf("answer %d %q", status, body)
		}
	}
	f.want(t, digesttest.Counts{Challenges: 1, Admitted: 20})
}

func TestTransport_AnswersEveryKindOfChallenge(t *testing.T) {
	t.Parallel()
	one := func(format string) func(string, bool) []string {
		return func(nonce string, stale bool) []string { return []string{fmt.Sprintf(format, nonce, stale)} }
	}
	tests := map[string]digesttest.Rules{
		"op":          {Challenge: one(`Digest realm="MMS Public API", domain="", nonce="%s", algorithm=MD5, op="auth", stale=%t`)},
		"no blanks":   {Challenge: one(`digest realm="a, \"b\" \\c",nonce="%s",qop="auth,auth-int",stale=%t,new=1`)},
		"SHA-256":     {SHA256: true, Challenge: one(`Digest realm="R", nonce="%s", algorithm=SHA-256, qop="auth", stale=%t`)},
		"RFC 2069":    {NoQOP: true, Challenge: one(`Digest realm="R", nonce="%s", stale=%t`)},
		"MD5-sess":    {Challenge: one(`Digest realm="R", nonce="%s", algorithm=MD5-sess, qop="auth", stale=%t`)},
		"strange key": {Username: `a"b\c`, Password: "ü:\""},
		"two headers": {SHA256: true, Challenge: func(nonce string, _ bool) []string {
			return []string{`Basic realm="x"`, `Digest realm="R", nonce="` + nonce + `", qop="auth"`, `Digest realm="R", nonce="` + nonce + `", algorithm=SHA-256, qop="auth"`}
		}},
	}
	for name, rules := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, rules, nil)
			if rules.Username != "" {
				f.transport = digest.NewTransport(digest.Config{Base: f.server.Client().Transport, Username: rules.Username, Password: rules.Password, Now: f.clock.Now})
			}
			for range 3 {
				if status, body := f.do(t, http.MethodPut, "/x", "text"); status != http.StatusOK || body != "PUT /x text" {
					t.Fatalf("answer %d %q", status, body)
				}
			}
			f.want(t, digesttest.Counts{Challenges: 1, Admitted: 3})
		})
	}
}

func TestTransport_SendsNoBodyAndNoChangeWithoutCredentials(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "text"} {
		var mu sync.Mutex
		var seen []string
		f := newFixture(t, digesttest.Rules{}, nil)
		f.transport = digest.NewTransport(digest.Config{Username: username, Password: password, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf("%s %t %t", r.Method, r.Header.Get("Authorization") != "", r.Body != nil))
			return f.server.Client().Transport.RoundTrip(r)
		})})
		if status, got := f.do(t, http.MethodPut, "/x", body); status != http.StatusOK || got != "PUT /x "+body {
			t.Errorf("answer %d %q", status, got)
		}
		want := fmt.Sprintf("GET false false, PUT true %t", body != "")
		if got := strings.Join(seen, ", "); got != want {
			t.Errorf("sent %s; want %s", got, want)
		}
		f.want(t, digesttest.Counts{Challenges: 1, Admitted: 1})
	}
}

func TestTransport_SendsTheBodyAgainWhenTheNonceWasForgotten(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{}, nil)
	f.do(t, http.MethodGet, "/", "")
	for _, rewindable := range []bool{true, false} {
		f.guard.Forget()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.server.URL+"/x", strings.NewReader("text"))
		if err != nil {
			t.Fatal(err)
		}
		if !rewindable {
			req.GetBody = nil
		}
		if status, got := send(t, f.transport, req); status != http.StatusOK || got != "PUT /x text" {
			t.Errorf("rewindable %t: answer %d %q", rewindable, status, got)
		}
	}
	f.want(t, digesttest.Counts{Challenges: 1, Admitted: 3, Refusals: 2})
}

func TestTransport_GoesOnWhenTheServerRestarts(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{}, nil)
	f.do(t, http.MethodGet, "/", "")
	for range 5 {
		f.guard.Forget()
		f.do(t, http.MethodGet, "/", "")
		f.do(t, http.MethodGet, "/", "")
	}
	f.want(t, digesttest.Counts{Challenges: 1, Refusals: 5, Admitted: 11})
}

func TestTransport_ReturnsARealRefusalWithItsBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{Username: username, Password: "another"}, nil)
	status, body := f.do(t, http.MethodGet, "/", "")
	if status != http.StatusUnauthorized || body != "refused by the guard" {
		t.Errorf("answer %d %q", status, body)
	}
	f.want(t, digesttest.Counts{Challenges: 1, Refusals: 1})
}

func TestTransport_ReturnsTheApplicationsRefusalWithItsBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "not in the group")
	})
	for range 3 {
		if status, body := f.do(t, http.MethodGet, "/", ""); status != http.StatusUnauthorized || body != "not in the group" {
			t.Errorf("answer %d %q", status, body)
		}
	}
	f.want(t, digesttest.Counts{Challenges: 1, Admitted: 3})
}

func TestTransport_KeepsItsNonceThroughRefusalsThatAreReal(t *testing.T) {
	t.Parallel()
	var guard *digesttest.Guard
	f := newFixture(t, digesttest.Rules{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/secret" { // authenticated, and refused with a challenge all the same
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Digest realm="R", nonce="x%d", qop="auth"`, guard.Counts().Admitted))
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	guard = f.guard
	f.do(t, http.MethodGet, "/", "")
	if status, _ := f.do(t, http.MethodGet, "/secret", ""); status != http.StatusUnauthorized {
		t.Errorf("answer %d", status)
	}
	f.do(t, http.MethodGet, "/", "")
	// Tried with the nonce of all, with that of the refusal, and with the guard's.
	f.want(t, digesttest.Counts{Challenges: 1, Admitted: 4, Refusals: 1})
}

func TestTransport_LeavesTheCallersRequestAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{}, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	for range 3 {
		send(t, f.transport, req)
	}
	if len(req.Header) != 1 || req.Header.Get("Accept") != "application/json" {
		t.Errorf("the header became %v", req.Header)
	}
}

func TestTransport_GivesNoCredentialsToOtherOrigins(t *testing.T) {
	t.Parallel()
	other := digesttest.New(digesttest.Rules{Username: username, Password: password}, nil)
	otherServer := httptest.NewServer(other)
	defer otherServer.Close()
	f := newFixture(t, digesttest.Rules{}, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, otherServer.URL, http.StatusTemporaryRedirect)
	})
	pinned := digest.NewTransport(digest.Config{Base: f.server.Client().Transport, Username: username, Password: password, Origin: f.server.URL, Now: f.clock.Now})
	for _, rt := range []http.RoundTripper{f.transport, pinned} {
		client := &http.Client{Transport: rt}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("answer %d", resp.StatusCode)
		}
	}
	if c := other.Counts(); c != (digesttest.Counts{Challenges: 2}) {
		t.Errorf("the other origin saw %+v", c)
	}
}

func TestTransport_KeepsANonceForEachOrigin(t *testing.T) {
	t.Parallel()
	f, g := newFixture(t, digesttest.Rules{}, nil), newFixture(t, digesttest.Rules{}, nil)
	for range 5 {
		f.do(t, http.MethodGet, "/", "")
		g.transport = f.transport
		g.do(t, http.MethodGet, "/", "")
	}
	f.want(t, digesttest.Counts{Challenges: 1, Admitted: 5})
	g.want(t, digesttest.Counts{Challenges: 1, Admitted: 5})
}

func TestTransport_PassesAnOpenServerThrough(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer server.Close()
	rt := digest.NewTransport(digest.Config{Base: server.Client().Transport, Username: username, Password: password})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
			if status, _ := send(t, rt, req); status != http.StatusOK {
				t.Errorf("answer %d", status)
			}
		})
	}
	wg.Wait()
	if got := calls.Load(); got != 20 {
		t.Errorf("%d requests, want 20", got)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
