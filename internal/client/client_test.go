package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dial returns a client of a server with the handler.
func dial(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{Server: server.URL + "/", Token: "kt_secret", UserAgent: "test", Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAddressesOfServers(t *testing.T) {
	t.Parallel()
	for address, good := range map[string]bool{
		"http://127.0.0.1:7390": true, "https://keyturn.example.com": true, "https://example.com/keyturn/": true,
		"": false, "127.0.0.1:7390": false, "ftp://example.com": false, "http://": false, "http://example.com?x=1": false,
		"http://user:pass@example.com": false, "http://exa mple.com": false,
	} {
		_, err := client.New(client.Config{Server: address})
		if (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil && strings.Contains(err.Error(), "pass@") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func TestCallsCarryTheTokenAndEscapeNames(t *testing.T) {
	t.Parallel()
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer kt_secret" || r.Header.Get("User-Agent") != "test" {
			t.Errorf("headers %v", r.Header)
		}
		if got, want := r.URL.EscapedPath(), "/api/v1/policies/a%2Fb%3F"; got != want {
			t.Errorf("path %s, want %s", got, want)
		}
		_, _ = fmt.Fprint(w, `{"kind":"Policy","name":"a/b?"}`)
	})
	if _, err := c.Resource(t.Context(), "policies", "a/b?"); err != nil {
		t.Error(err)
	}
}

func TestListingsFollowCursors(t *testing.T) {
	t.Parallel()
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("project") != "p" || q.Get("limit") != "1000" {
			t.Errorf("query %v", q)
		}
		next := map[string]string{"": "one", "one": "two", "two": ""}[q.Get("after")]
		_, _ = fmt.Fprintf(w, `{"items":[{"id":"after-%s"}],"next":%q}`, q.Get("after"), next) //nolint:gosec // no browser reads this
	})
	units, err := c.Units(t.Context(), keyturn.UnitFilter{Project: "p"})
	if err != nil || len(units) != 3 || units[2].ID != "after-two" {
		t.Errorf("units %v, %v", units, err)
	}
}

func TestListingsEndAtTheLimit(t *testing.T) {
	t.Parallel()
	var limits []string
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		limits = append(limits, r.URL.Query().Get("limit"))
		_, _ = fmt.Fprint(w, `{"items":[{},{}],"next":"more"}`)
	})
	rotations, err := c.Rotations(t.Context(), "", "", 4)
	if err != nil || len(rotations) != 4 || strings.Join(limits, " ") != "4 2" {
		t.Errorf("%d rotations, limits %v, %v", len(rotations), limits, err)
	}
}

func TestOnlyCallsThatMayBeRepeatedAre(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		call func(ctx context.Context, c *client.Client) error
		want int32
	}{
		{"a read", func(ctx context.Context, c *client.Client) error { _, err := c.Tokens(ctx); return err }, 4},
		{"a rotation with an id", func(ctx context.Context, c *client.Client) error {
			_, err := c.Rotate(ctx, client.RotationRequest{Policy: "p", ID: "x"})
			return err
		}, 4},
		{"a rotation without one", func(ctx context.Context, c *client.Client) error {
			_, err := c.Rotate(ctx, client.RotationRequest{Policy: "p"})
			return err
		}, 1},
		{"a new token", func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateToken(ctx, "x", keyturn.RoleViewer, 0)
			return err
		}, 1},
	}
	for _, test := range tests {
		for name, fail := range map[string]func(http.ResponseWriter){
			"503":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
			"cut off":  func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
			"half way": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "10"); _, _ = fmt.Fprint(w, "{") },
		} {
			t.Run(test.name+" "+name, func(t *testing.T) {
				t.Parallel()
				var calls atomic.Int32
				c := dial(t, func(w http.ResponseWriter, _ *http.Request) {
					calls.Add(1)
					fail(w)
				})
				err := test.call(t.Context(), c)
				// net/http itself repeats a read when a connection that was idle turns out to be dead.
				if err == nil || calls.Load() < test.want || test.want == 1 && calls.Load() != 1 {
					t.Errorf("%d calls, want %d; %v", calls.Load(), test.want, err)
				}
				if !client.Temporary(err) {
					t.Errorf("%v is not temporary", err)
				}
			})
		}
	}
}

func TestWhatIsWrongIsNotRepeated(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	c := dial(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprint(w, `{"status":409,"title":"Conflict","detail":"taken","errors":[{"message":"m","location":"l"}]}`)
	})
	_, err := c.Tokens(t.Context())
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Status != 409 || p.Error() != "taken" || p.Errors[0].Location != "l" || client.Temporary(err) || calls.Load() != 1 {
		t.Errorf("%d calls: %#v", calls.Load(), err)
	}
}

func TestRedirectsAreNotFollowedWithTheToken(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed") }))
	defer elsewhere.Close()
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	if _, err := c.Tokens(t.Context()); err == nil || !strings.Contains(err.Error(), elsewhere.URL) {
		t.Errorf("got %v", err)
	}
}

func TestCancelEndsTheRepeating(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int32
	c := dial(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
		cancel()
	})
	if _, err := c.Tokens(ctx); err == nil || calls.Load() != 1 {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
}
