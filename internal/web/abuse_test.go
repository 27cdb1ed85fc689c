package web

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
)

// TestAbuse holds what one person, or somebody who is not even signed in, must not be able to do.
func TestAbuse(t *testing.T) {
	t.Parallel()
	t.Run("OneSessionKeepsNoMoreThanItsStreams", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		path := "/rotations/" + f.store.rotation.ID.String() + "/events"
		for i := range sessionStreams {
			if answer := f.get(t, path); answer.StatusCode != http.StatusOK {
				t.Fatalf("stream %d: status %d", i, answer.StatusCode)
			}
		}
		answer := f.get(t, path)
		if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") == "" {
			t.Errorf("one more stream: status %d, want %d", answer.StatusCode, http.StatusTooManyRequests)
		}
		if answer := f.get(t, strings.Replace(path, "events", "changes", 1)); answer.StatusCode != http.StatusOK {
			t.Errorf("asking for changes instead: status %d", answer.StatusCode)
		}
		secret := newSecret()
		if err := f.store.CreateSession(t.Context(), hashOf(secret), keyturn.Session{Name: "token:bob", Role: keyturn.RoleViewer}, time.Hour); err != nil {
			t.Fatal(err)
		}
		f.cookie = &http.Cookie{Name: "keyturn", Value: secret} //nolint:gosec // it is sent, not set
		if answer := f.get(t, path); answer.StatusCode != http.StatusOK {
			t.Errorf("somebody else's stream: status %d", answer.StatusCode)
		}
	})
	t.Run("AStreamThatEndedMakesRoom", func(t *testing.T) {
		t.Parallel()
		var s streams
		key := hashOf("a")
		for range 3 * sessionStreams {
			if !s.begin(key) {
				t.Fatal("a stream is refused, though all before it have ended")
			}
			s.end(key)
		}
		if len(s.open) != 0 {
			t.Errorf("%d sessions are remembered", len(s.open))
		}
	})
	t.Run("RotationsThatNobodyWatchesAnyMoreMakeRoom", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		for range maxWatched {
			f.watches.keep(&watch{id: keyturn.NewID(time.Now())})
		}
		if answer := f.get(t, "/rotations/"+f.store.rotation.ID.String()+"/changes"); answer.StatusCode != http.StatusOK {
			t.Errorf("status %d", answer.StatusCode)
		}
		if n := len(f.watches.open); n > maxWatched {
			t.Errorf("%d rotations are watched", n)
		}
	})
	t.Run("NobodyWaitsForeverForADatabaseThatHangs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			id := keyturn.NewID(time.Now())
			site, err := New(Config{API: http.NotFoundHandler(), Store: hangingStore{&fakeStore{rotation: keyturn.Rotation{ID: id}}}})
			if err != nil {
				t.Fatal(err)
			}
			defer site.Close()
			if _, err := site.watch(t.Context(), id); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("watching gives %v", err)
			}
			synctest.Wait()
			if n := len(site.watches.open); n != 0 {
				t.Errorf("%d rotations are watched still", n)
			}
		})
	})
	t.Run("WhatNothingIsCalledIsNotLookedFor", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		for _, path := range []string{"/rotations?policy=a%00", "/units/a%00b", "/units/%ff", "/keys?target=%00"} {
			if answer := f.get(t, path); answer.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: status %d, want 400", path, answer.StatusCode)
			}
		}
	})
	t.Run("AnAddressInATaskReachesNothingElse", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		for _, path := range []string{"/tasks/..%2Frotations%2Fx", "/tasks/x%3Ftasks=true", "/tasks/..%2Frotations%2Fx/resolve"} {
			f.get(t, path)
		}
		f.store.mu.Lock()
		defer f.store.mu.Unlock()
		for _, asked := range f.store.asked {
			if strings.Contains(asked, "/../") || strings.HasPrefix(asked, "/api/v1/tasks/") && strings.Contains(asked, "?") {
				t.Errorf("the API was asked for %s", asked)
			}
		}
	})
	t.Run("APictureOnAnotherSiteLocksNobodyOut", func(t *testing.T) {
		t.Parallel()
		f := newSiteFixture(t)
		f.Site.oidc = newProvider(OIDC{Issuer: "http://127.0.0.1:1", ClientID: "x", PublicURL: f.server.URL})
		for range 3 * tries {
			if answer := f.get(t, callbackPath+"?state=x&code=y"); answer.StatusCode != http.StatusUnauthorized {
				t.Fatalf("status %d, want %d", answer.StatusCode, http.StatusUnauthorized)
			}
		}
		if wait := f.limiter.wait("127.0.0.1:1"); wait != 0 {
			t.Errorf("who signs in at this address waits %v", wait)
		}
	})
	t.Run("AnIssuerThatIsDownIsAskedOnce", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Int32
		issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.WriteHeader(http.StatusBadGateway)
		}))
		defer issuer.Close()
		p := newProvider(OIDC{Issuer: issuer.URL, ClientID: "x"})
		defer p.close()
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(func() {
				if _, err := p.discover(t.Context()); err == nil {
					t.Error("what can't be read was found")
				}
			})
		}
		wait.Wait()
		if n := asked.Load(); n > 2 {
			t.Errorf("it was asked %d times", n)
		}
	})
	t.Run("WhoGivesUpDoesNotWaitForAnIssuer", func(t *testing.T) {
		t.Parallel()
		hold := make(chan struct{})
		issuer := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
		defer issuer.Close()
		defer close(hold)
		p := newProvider(OIDC{Issuer: issuer.URL, ClientID: "x"})
		defer p.close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.discover(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("ManyAddressesDoNotLockOutTheOthers", func(t *testing.T) {
		t.Parallel()
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		l := newLimiter(func() time.Time { return now })
		for i := range 2 * allTries {
			l.failed("10.0." + string(rune('0'+i%10)) + ".1:1")
		}
		if wait := l.wait("203.0.113.1:1"); wait != 0 {
			t.Errorf("an address that has not failed waits %v", wait)
		}
		l.failed("203.0.113.1:1")
		if wait := l.wait("203.0.113.1:1"); wait == 0 {
			t.Error("having failed, it need not wait though all together have tried too often")
		}
	})
	t.Run("SentencesOfAnyAlphabet", func(t *testing.T) {
		t.Parallel()
		for in, want := range map[string]string{"état inconnu": "État inconnu.", "ключ": "Ключ.", "": "", "done!": "Done!"} {
			if got := sentence(in); got != want {
				t.Errorf("sentence(%q) = %q, want %q", in, got, want)
			}
		}
	})
}

// hangingStore answers about the tasks of a rotation only when it is given up.
type hangingStore struct{ *fakeStore }

func (hangingStore) RotationCells(ctx context.Context, _ keyturn.ID) ([]keyturn.Cell, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
