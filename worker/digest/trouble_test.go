package digest_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyturn/keyturn/worker/digest"
	"github.com/keyturn/keyturn/worker/digest/digesttest"
)

func TestTransport_WaitsNoLongerThanTheContextAllows(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	rt := digest.NewTransport(digest.Config{Username: username, Password: password, Base: roundTripper(func(*http.Request) (*http.Response, error) {
		close(arrived)
		<-release
		return nil, errors.New("down")
	})})
	var wg sync.WaitGroup
	wg.Go(func() {
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://om.test/", nil)
		if resp, err := rt.RoundTrip(req); err == nil {
			_ = resp.Body.Close()
			t.Error("no error")
		}
	})
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://om.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(release)
	wg.Wait()
}

func TestTransport_OneThatGivesUpDoesNotFailTheOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{}, nil)
	var calls atomic.Int32
	arrived := make(chan struct{})
	rt := digest.NewTransport(digest.Config{Username: username, Password: password, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		if calls.Add(1) == 1 {
			close(arrived)
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return f.server.Client().Transport.RoundTrip(r)
	})})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, f.server.URL, nil)
		if resp, err := rt.RoundTrip(req); err == nil {
			_ = resp.Body.Close()
			t.Error("the first got an answer")
		}
	})
	<-arrived
	f.transport = rt
	for range 3 {
		wg.Go(func() {
			if status, _ := f.do(t, http.MethodGet, "/", ""); status != http.StatusOK {
				t.Errorf("answer %d", status)
			}
		})
	}
	cancel()
	wg.Wait()
}

func TestTransport_TellsThatNothingWasSent(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		err    error
	}{
		"network":   {err: errors.New("connection refused")},
		"outage":    {status: http.StatusServiceUnavailable},
		"open":      {status: http.StatusOK},
		"no digest": {status: http.StatusUnauthorized},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rt := digest.NewTransport(digest.Config{Username: username, Password: password, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodGet {
					t.Errorf("sent %s", r.Method)
				}
				if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
					trace.GotConn(httptrace.GotConnInfo{})
				}
				if tt.err != nil {
					return nil, tt.err
				}
				return &http.Response{StatusCode: tt.status, Header: http.Header{"Retry-After": {"7"}}, Body: http.NoBody}, nil
			})})
			trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { t.Error("the trace says that it was sent") }}
			req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodPut, "http://om.test/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rt.RoundTrip(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			ce, ok := errors.AsType[*digest.ChallengeError](err)
			if !ok || ce.Status != tt.status || tt.err != nil && !errors.Is(err, tt.err) {
				t.Fatalf("error %v", err)
			}
			if tt.err == nil && ce.Header.Get("Retry-After") != "7" {
				t.Errorf("header %v", ce.Header)
			}
		})
	}
}

func TestTransport_TracesTheRequestItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{}, nil)
	var conns atomic.Int32
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { conns.Add(1) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodPut, f.server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	send(t, f.transport, req)
	if got := conns.Load(); got != 1 {
		t.Errorf("the trace saw %d connections, want 1", got)
	}
}

// A connection that breaks makes net/http send a GET again with the same
// count, which the server refuses: that is no refusal of the credentials.
func TestTransport_TellsAReplayFromARefusal(t *testing.T) {
	t.Parallel()
	for _, breaks := range []int32{1, 2, 1000} {
		var calls atomic.Int32
		f := newFixture(t, digesttest.Rules{}, func(w http.ResponseWriter, _ *http.Request) {
			if calls.Add(1) > breaks {
				return
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
		})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := f.transport.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if broken := breaks == 1000; broken != (err != nil) || !broken && resp.StatusCode != http.StatusOK {
			t.Errorf("%d breaks: answer %v, error %v", breaks, resp, err)
		}
	}
}
