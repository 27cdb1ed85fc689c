package digest_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/worker/digest"
	"github.com/keyturn/keyturn/worker/digest/digesttest"
)

// hammer starts that many goroutines together, each of which does so many requests.
func (f *fixture) hammer(t *testing.T, goroutines, each int, methods ...string) {
	t.Helper()
	start := make(chan struct{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			<-start
			for i := range each {
				method := methods[(g+i)%len(methods)]
				if status, body := f.do(t, method, fmt.Sprintf("/%d/%d", g, i), ""); status != http.StatusOK {
					t.Errorf("%s answered %d %s", method, status, body)
				}
			}
		})
	}
	close(start)
	wg.Wait()
}

func TestTransport_AsksForOneChallengeWhenManyStartTogether(t *testing.T) {
	t.Parallel()
	for _, methods := range [][]string{{http.MethodGet}, {http.MethodPut}, {http.MethodGet, http.MethodPut}} {
		f := newFixture(t, digesttest.Rules{}, nil)
		f.hammer(t, 256, 1, methods...)
		f.want(t, digesttest.Counts{Challenges: 1, Admitted: 256})
	}
}

func TestTransport_AsksForOneChallengeWhenTheNonceIsTooOld(t *testing.T) {
	t.Parallel()
	for _, age := range []time.Duration{46 * time.Second, 51 * time.Second, time.Hour} {
		f := newFixture(t, digesttest.Rules{}, nil)
		f.do(t, http.MethodGet, "/", "")
		f.clock.Add(44 * time.Second)
		f.do(t, http.MethodGet, "/", "")
		f.want(t, digesttest.Counts{Challenges: 1, Admitted: 2})
		f.clock.Add(age - 44*time.Second)
		f.hammer(t, 256, 1, http.MethodGet, http.MethodPut)
		f.want(t, digesttest.Counts{Challenges: 2, Admitted: 258})
	}
}

func TestTransport_StrictServerUnderLoad(t *testing.T) {
	t.Parallel()
	const goroutines, each = 256, 20
	f := newFixture(t, digesttest.Rules{}, nil) // each nc once, forgotten after 1,024 uses
	f.hammer(t, goroutines, each, http.MethodGet, http.MethodPut, http.MethodGet)
	c := f.guard.Counts()
	if c.Admitted != goroutines*each || c.Refusals != 0 {
		t.Errorf("the server saw %+v", c)
	}
	if extra := c.Challenges + c.Refusals; extra > goroutines*each/100 {
		t.Errorf("%d extra requests for %d: more than 1 %%", extra, goroutines*each)
	}
}

func TestTransport_ServersOfOtherRulesUnderLoad(t *testing.T) {
	t.Parallel()
	tests := map[string]digesttest.Rules{
		"forgets after 100 uses":                   {MaxCount: 100},
		"forgets after 100 uses without saying so": {MaxCount: 100, NeverStale: true},
		"insists on the order":                     {Increasing: true},
		"each nonce once":                          {MaxCount: 2},
	}
	for name, rules := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, rules, nil)
			f.hammer(t, 32, 20, http.MethodGet, http.MethodPut)
			if c := f.guard.Counts(); c.Admitted != 32*20 {
				t.Errorf("the server saw %+v", c)
			}
		})
	}
}

func TestTransport_CopesWithOneNonceForAll(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{Challenge: func(string, bool) []string {
		return []string{`Digest realm="R", nonce="n1+/==", qop="auth"`}
	}}, nil)
	f.hammer(t, 8, 50, http.MethodGet)
}

func TestTransport_TriesWrongCredentialsOnceAtATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, digesttest.Rules{Username: username, Password: "another"}, nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if status, body := f.do(t, http.MethodGet, "/", ""); status != http.StatusUnauthorized || body != "refused by the guard" {
				t.Errorf("answer %d %q", status, body)
			}
		})
	}
	wg.Wait()
	f.want(t, digesttest.Counts{Challenges: 50, Refusals: 50})
}

// BenchmarkTransport measures what logging in costs a request, without any network.
func BenchmarkTransport(b *testing.B) {
	ok := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	rt := digest.NewTransport(digest.Config{Username: username, Password: password, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Header["Authorization"] != nil {
			return ok, nil
		}
		header := http.Header{"Www-Authenticate": {`Digest realm="MMS Public API", domain="", nonce="kWVA9Ciu7lNaN5QdjPe8kxPMReVjbt+B", algorithm=MD5, qop="auth", stale=false`}}
		return &http.Response{StatusCode: http.StatusUnauthorized, Header: header, Body: http.NoBody}, nil
	})})
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://om.test:8443/api/public/v1.0/groups/5196d3628d022db4cbc26d9e/backupConfigs/5196e5b0e4b0fca9cc88334a/encryptionKey", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	b.ReportAllocs()
	for b.Loop() {
		resp, err := rt.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
	}
}
