package kms_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server counts requests and answers with what status says.
type server struct {
	*httptest.Server
	count  atomic.Int32
	status atomic.Int32
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.status.Store(http.StatusOK)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.count.Add(1)
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(s.status.Load()))
	}))
	t.Cleanup(s.Close)
	return s
}

func newClient(t *testing.T) *http.Client {
	t.Helper()
	c, err := kms.Connections{Ours: func(req *http.Request) bool { return req.Method == http.MethodPost }}.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func post(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}

// lateContext has a deadline that has passed, and does not know it yet: as that of a process that was stopped.
type lateContext struct {
	context.Context
	until time.Time
}

func (c lateContext) Deadline() (time.Time, bool) { return c.until, true }

func TestFlight(t *testing.T) {
	t.Parallel()

	t.Run("KeepsAProcessThatWasStoppedFromSending", func(t *testing.T) {
		t.Parallel()
		s, c := newServer(t), newClient(t)
		if err := post(t.Context(), c, s.URL); err != nil { // so that there is a connection
			t.Fatal(err)
		}
		for _, until := range []time.Time{time.Now().Add(-time.Minute), time.Now().Add(-time.Minute).Round(0)} {
			ctx, flight := kms.Follow(lateContext{t.Context(), until}, true)
			err := post(ctx, c, s.URL)
			if !errors.Is(err, kms.ErrLate) || flight.Sent() || s.count.Load() != 1 {
				t.Errorf("%v, sent: %v, requests: %d", err, flight.Sent(), s.count.Load())
			}
			se := kms.Call{Doing: "making", What: "a key", Flight: flight}.Unanswered(ctx, err, "")
			if se.Kind != keyturn.KindTransient || se.Code != kms.CodeLate {
				t.Errorf("%v is %s %s", se, se.Kind, se.Code)
			}
			if err := post(t.Context(), c, s.URL); err != nil { // the fence is not that of the next
				t.Error(err)
			}
			s.count.Store(1)
		}
	})

	t.Run("SendsAChangeOnce", func(t *testing.T) {
		t.Parallel()
		s, c := newServer(t), newClient(t)
		ctx, flight := kms.Follow(t.Context(), true)
		if err := post(ctx, c, s.URL); err != nil || !flight.Sent() || flight.Status() != http.StatusOK {
			t.Errorf("%v, sent: %v, status: %d", err, flight.Sent(), flight.Status())
		}
		if err := post(ctx, c, s.URL); err == nil || s.count.Load() != 1 {
			t.Errorf("%v, %d requests", err, s.count.Load())
		}
	})

	t.Run("LetsAReadBeRepeated", func(t *testing.T) {
		t.Parallel()
		s, c := newServer(t), newClient(t)
		ctx, flight := kms.Follow(t.Context(), false)
		for range 2 {
			if err := post(ctx, c, s.URL); err != nil || flight.Sent() {
				t.Error(err)
			}
		}
	})

	t.Run("LetsAChangeComeAgainWithAnotherToken", func(t *testing.T) {
		t.Parallel()
		s, c := newServer(t), newClient(t)
		ctx, flight := kms.Follow(t.Context(), true)
		s.status.Store(http.StatusUnauthorized)
		if err := post(ctx, c, s.URL); err != nil || flight.Sent() {
			t.Errorf("%v, sent: %v", err, flight.Sent())
		}
		s.status.Store(http.StatusOK)
		if err := post(ctx, c, s.URL); err != nil || !flight.Sent() || s.count.Load() != 2 {
			t.Errorf("%v, sent: %v, %d requests", err, flight.Sent(), s.count.Load())
		}
	})

	t.Run("FollowsNoRedirect", func(t *testing.T) {
		t.Parallel()
		s, c := newServer(t), newClient(t)
		s.status.Store(http.StatusTemporaryRedirect)
		ctx, flight := kms.Follow(t.Context(), true)
		if err := post(ctx, c, s.URL); err != nil || s.count.Load() != 1 || flight.Status() != http.StatusTemporaryRedirect {
			t.Errorf("%v, %d requests", err, s.count.Load())
		}
	})

	t.Run("KnowsThatNothingWasSent", func(t *testing.T) {
		t.Parallel()
		s, c := newServer(t), newClient(t)
		s.Close()
		ctx, flight := kms.Follow(t.Context(), true)
		err := post(ctx, c, s.URL)
		if err == nil || flight.Sent() || !flight.Tried() {
			t.Errorf("%v, sent: %v, tried: %v", err, flight.Sent(), flight.Tried())
		}
		se := kms.Call{Doing: "making", What: "a key", Flight: flight}.Unanswered(ctx, err, "")
		if se.Kind != keyturn.KindTransient || se.Code != kms.CodeNetwork {
			t.Errorf("%v is %s %s", se, se.Kind, se.Code)
		}
	})

	t.Run("ChangesOfOneConnectionDoNotMix", func(t *testing.T) {
		t.Parallel()
		s, c := newServer(t), newClient(t)
		for range 20 {
			ctx, flight := kms.Follow(t.Context(), true)
			if err := post(ctx, c, s.URL); err != nil || !flight.Sent() {
				t.Fatalf("%v, sent: %v", err, flight.Sent())
			}
		}
	})
}

func TestClean(t *testing.T) {
	t.Parallel()
	if got := kms.Clean(" a\r\nsecret\tb ", "secret", ""); got != "a  *** b" {
		t.Errorf("got %q", got)
	}
	if got := kms.Clean(strings.Repeat("ä", 400)); len([]rune(got)) != 301 {
		t.Errorf("%d runes", len([]rune(got)))
	}
	for value, want := range map[string]time.Duration{"": 0, "2": 2 * time.Second, "-1": 0, "x": 0, "1e9": 24 * time.Hour} {
		if got := kms.RetryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}
