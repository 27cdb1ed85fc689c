package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatIsNotThereIsAProblem(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodGet, "/nothing", ""), 404)
	wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodGet, "/api/v1/nothing", ""), 404)
	rec := f.call(t, keyturn.RoleAdmin, http.MethodPut, "/api/v1/rotations", "{}")
	wantProblem(t, rec, 405)
	if allow := rec.Header().Get("Allow"); !strings.Contains(allow, "POST") {
		t.Errorf("Allow is %q", allow)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	body := `{"policy":"` + strings.Repeat("x", 70<<10) + `"}`
	wantProblem(t, f.call(t, keyturn.RoleOperator, http.MethodPost, "/api/v1/rotations", body), http.StatusRequestEntityTooLarge)
}

// One of the two databases would refuse it, with an error of which nobody could make sense.
func TestWhatNoDatabaseCanKeepIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, path := range []string{"/rotations?policy=a%00b", "/units?project=%ff", "/policies/a%00b", "/history?unit=%ff%fe", "/keys?%ff=x"} {
		wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodGet, "/api/v1"+path, ""), http.StatusBadRequest)
	}
	wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodPost, "/hooks/a%00b", "{}"), http.StatusBadRequest)
	for _, body := range []string{`{"policy":"a\u0000b"}`, `{"policy":"quarterly","id":"\u0000"}`, `{"policy":"quarterly","only":{"units":["\\\u0000"]}}`} {
		rec := f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/rotations", body)
		wantProblem(t, rec, http.StatusBadRequest)
		if !strings.Contains(rec.Body.String(), "NUL") {
			t.Errorf("%s: the answer does not say why: %s", body, rec.Body)
		}
	}
}

func TestAnswersCarrySecurityHeadersAndARequestID(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/version", "").Header()
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, err := keyturn.ParseID(h.Get("X-Request-Id")); err != nil {
		t.Error(err)
	}
}

func TestUnforeseenErrorsAreLoggedAndNotTold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		fail func(method string) error
	}{
		{"error", func(method string) error {
			if method == "Units" {
				return errors.New("relation units does not exist")
			}
			return nil
		}},
		{"panic", func(method string) error {
			if method == "Units" {
				panic("relation units does not exist")
			}
			return nil
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zap.DebugLevel)
			f := newFixture(t, func(c *api.Config) { c.Logger = zap.New(core) })
			f.store.Fail = test.fail
			rec := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/units", "")
			p := wantProblem(t, rec, http.StatusInternalServerError)
			if strings.Contains(rec.Body.String(), "relation") {
				t.Errorf("the answer tells the inside: %s", rec.Body)
			}
			id := rec.Header().Get("X-Request-Id")
			if !strings.Contains(p.Detail, id) || logs.FilterLevelExact(zap.ErrorLevel).FilterField(zap.String("request_id", id)).Len() != 1 {
				t.Errorf("the log and the answer are to share %s: %q, %v", id, p.Detail, logs.All())
			}
		})
	}
}

func TestDatabaseThatIsAwayIsSaid(t *testing.T) {
	t.Parallel()
	const advice = "the database is away: look at it"
	id := keyturn.NewID(apitest.Epoch()).String()
	for name, test := range map[string]struct{ method, path, fails, want string }{
		"reading":      {http.MethodGet, "/api/v1/units", "Units", advice},
		"a policy":     {http.MethodPost, "/api/v1/policies/quarterly/pause", "SetPaused", advice},
		"a token":      {http.MethodDelete, "/api/v1/tokens/" + id, "RevokeToken", advice},
		"who it is by": {http.MethodGet, "/api/v1/units", "TokenByHash", "tokens can't be checked: " + advice},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zap.WarnLevel)
			f := newFixture(t, func(c *api.Config) { c.Logger = zap.New(core) })
			f.store.Fail = func(method string) error {
				if method != test.fails {
					return nil
				}
				late := fmt.Errorf("dial tcp 10.0.0.7:5432: %w", context.DeadlineExceeded)
				return fmt.Errorf("asking: %w", &keyturn.UnavailableError{Advice: advice, Err: late})
			}
			rec := f.call(t, keyturn.RoleAdmin, test.method, test.path, "")
			if p := wantProblem(t, rec, http.StatusServiceUnavailable); p.Detail != test.want {
				t.Errorf("the answer is %q, want %q", p.Detail, test.want)
			}
			if logs.FilterField(zap.String("request_id", rec.Header().Get("X-Request-Id"))).Len() != 1 {
				t.Errorf("what happened is not in the log: %v", logs.All())
			}
		})
	}
}

func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	f := newFixture(t, func(c *api.Config) { c.Logger = zap.New(core) })
	rec := f.call(t, keyturn.RoleAdmin, http.MethodPost, "/api/v1/tokens", `{"name":"ci","role":"viewer"}`)
	secret := decode[struct{ Token string }](t, rec).Token
	for _, entry := range logs.All() {
		text := entry.Message
		for _, field := range entry.Context {
			text += " " + field.String
		}
		if strings.Contains(text, secret) || strings.Contains(text, apitest.Secret(keyturn.RoleAdmin)) {
			t.Errorf("a secret is in the log: %s", text)
		}
	}
	if logs.Len() == 0 {
		t.Error("the request is not in the log")
	}
}

func TestHealthzAnswersWhateverIsBroken(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) {
		c.Ready = []api.Check{{Name: "database", Run: func(context.Context) error { return errors.New("down") }}}
	})
	wantStatus(t, f.call(t, "", http.MethodGet, "/healthz", ""), 200)
}

type readiness struct {
	Status   string
	Checks   map[string]string
	Problems []struct {
		Check, Error, Do string
		Since            time.Time
	}
}

func TestReadyzNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	var broken error
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f := newFixture(t, func(c *api.Config) {
		c.Now = func() time.Time { return now }
		c.Ready = []api.Check{
			{Name: "database", Run: func(context.Context) error { return nil }},
			{Name: "nats", Run: func(context.Context) error { return broken }, Advice: "look at the NATS server"},
		}
	})
	rec := f.call(t, "", http.MethodGet, "/readyz", "")
	wantStatus(t, rec, 200)
	broken = errors.New("no servers available")
	rec = f.call(t, "", http.MethodGet, "/readyz", "")
	wantStatus(t, rec, 503)
	got := decode[readiness](t, rec)
	if got.Status != "unavailable" || got.Checks["database"] != "ok" || got.Checks["nats"] != "no servers available" {
		t.Errorf("got %+v", got)
	}
	first := now
	now = now.Add(time.Minute)
	got = decode[readiness](t, f.call(t, "", http.MethodGet, "/readyz", ""))
	if len(got.Problems) != 1 || got.Problems[0].Check != "nats" || !got.Problems[0].Since.Equal(first) ||
		got.Problems[0].Error != "no servers available" || got.Problems[0].Do != "look at the NATS server" {
		t.Errorf("problems %+v", got.Problems)
	}
	broken = nil
	if got := decode[readiness](t, f.call(t, "", http.MethodGet, "/readyz", "")); got.Status != "ready" || len(got.Problems) != 0 {
		t.Errorf("after it was mended: %+v", got)
	}
	broken = errors.New("no servers available")
	if got := decode[readiness](t, f.call(t, "", http.MethodGet, "/readyz", "")); !got.Problems[0].Since.Equal(now) {
		t.Errorf("broken again since %s, want %s", got.Problems[0].Since, now)
	}
}

func TestReadyzDoesNotWaitForACheckThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := newFixture(t, func(c *api.Config) {
			c.Ready = []api.Check{{Name: "database", Run: func(context.Context) error { <-release; return nil }}}
		})
		rec := f.call(t, "", http.MethodGet, "/readyz", "")
		close(release)
		wantStatus(t, rec, 503)
		if got := decode[readiness](t, rec).Checks["database"]; got != "no answer within 2s" {
			t.Errorf("got %q", got)
		}
	})
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "keyturn_test_total", Help: "A test."})
	registry.MustRegister(counter)
	counter.Inc()
	f := newFixture(t, func(c *api.Config) { c.Metrics = registry })
	rec := f.call(t, "", http.MethodGet, "/metrics", "")
	wantStatus(t, rec, 200)
	if !strings.Contains(rec.Body.String(), "keyturn_test_total 1") {
		t.Errorf("metrics: %s", rec.Body)
	}
}

func TestOpenAPIDescribesErrorsAsProblems(t *testing.T) {
	t.Parallel()
	rec := newFixture(t, nil).call(t, "", http.MethodGet, "/openapi.json", "")
	if !bytes.Contains(rec.Body.Bytes(), []byte("application/problem+json")) || bytes.Contains(rec.Body.Bytes(), []byte("$schema")) {
		t.Errorf("the document is not as expected: %.300s", rec.Body)
	}
}

func TestRequestThatWasGivenUpEnds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	f.store.Fail = func(method string) error {
		if method == "Units" {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/units", nil)
	req.Header.Set("Authorization", "Bearer "+apitest.Secret(keyturn.RoleViewer))
	rec := httptest.NewRecorder()
	f.http.ServeHTTP(rec, req)
	wantStatus(t, rec, http.StatusServiceUnavailable)
}

func TestBodiesOfAnotherTypeAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/rotations", strings.NewReader(`{"policy":"quarterly"}`))
	req.Header.Set("Authorization", "Bearer "+apitest.Secret(keyturn.RoleOperator))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	f.http.ServeHTTP(rec, req)
	p := wantProblem(t, rec, http.StatusUnsupportedMediaType)
	if !strings.Contains(p.Detail, "application/json") {
		t.Errorf("the detail %q does not say what to send", p.Detail)
	}
}
