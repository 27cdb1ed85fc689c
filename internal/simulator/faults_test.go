package simulator_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/simulator"
)

func always(r simulator.Rates) simulator.Faults { return simulator.Faults{PUT: r} }

func TestFaults_OfPut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rates  simulator.Rates
		status int // 0: no answer
		turned int
	}{
		"None":        {simulator.Rates{}, 201, 1},
		"ErrorBefore": {simulator.Rates{ErrorBefore: 1}, 500, 0},
		"ErrorAfter":  {simulator.Rates{ErrorAfter: 1}, 500, 1},
		"TooMany":     {simulator.Rates{TooMany: 1}, 429, 0},
		"ResetBefore": {simulator.Rates{ResetBefore: 1}, 0, 0},
		"ResetAfter":  {simulator.Rates{ResetAfter: 1}, 0, 1},
		"Truncated":   {simulator.Rates{Truncated: 1}, 0, 1},
		"Slow":        {simulator.Rates{Slow: 1}, 201, 1},
		"Never":       {simulator.Rates{Never: 1}, 201, 0},
		"Late":        {simulator.Rates{Late: 1}, 0, 0},
		"Gateway":     {simulator.Rates{Gateway: 1}, 504, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSimulator(t, simulator.Config{Faults: always(tc.rates)})
				a, err := clientOf(t, s).try(http.MethodPut, keyPath(s.Estate().Units()[0]))
				if tc.status == 0 {
					if !errors.Is(err, errAborted) {
						t.Errorf("%d %v", a.status, err)
					}
				} else if err != nil || a.status != tc.status {
					t.Errorf("%d %v", a.status, err)
				}
				if n := len(s.Truth()); n != tc.turned {
					t.Errorf("turned %d times", n)
				}
				if n := s.Stats().Processed; n != int64(tc.turned) {
					t.Errorf("counted %d", n)
				}
			})
		})
	}
}

func TestFaults_TooManySaysWhenToRetry(t *testing.T) {
	t.Parallel()
	f := always(simulator.Rates{TooMany: 1})
	f.RetryAfter = keyturn.Duration(7 * time.Second)
	s := newSimulator(t, simulator.Config{Faults: f})
	a := clientOf(t, s).do(http.MethodPut, keyPath(s.Estate().Units()[0]))
	if a.header.Get("Retry-After") != "7" || !strings.Contains(string(a.body), `"errorCode":"RATE_LIMITED"`) {
		t.Errorf("%v %s", a.header, a.body)
	}
}

func TestFaults_SlowHoldsTheAnswerBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := always(simulator.Rates{Slow: 1})
		f.SlowFor = keyturn.Duration(time.Minute - time.Second)
		s := newSimulator(t, simulator.Config{Faults: f})
		began := time.Now()
		clientOf(t, s).do(http.MethodPut, keyPath(s.Estate().Units()[0]))
		if took := time.Since(began); took != 59*time.Second || !s.Truth()[0].Time.Equal(began) {
			t.Errorf("took %v, turned at %v", took, s.Truth()[0].Time)
		}
	})
}

func TestFaults_LateIsExecutedAfterwards(t *testing.T) {
	t.Parallel()
	for _, rates := range []simulator.Rates{{Late: 1}, {Gateway: 1}} {
		synctest.Test(t, func(t *testing.T) {
			f := always(rates)
			f.LateAfter = keyturn.Duration(10 * time.Second)
			s := newSimulator(t, simulator.Config{Faults: f})
			c, u := clientOf(t, s), s.Estate().Units()[0]
			_, _ = c.try(http.MethodPut, keyPath(u))
			if n := s.Stats().LatePending; n != 1 || c.keyOf(u) != u.Key {
				t.Errorf("%d pending, or the key turned at once", n)
			}
			pass(10 * time.Second)
			synctest.Wait()
			if truth := s.Truth(); len(truth) != 1 || c.keyOf(u) != truth[0].KeyAfter || s.Stats().LatePending != 0 {
				t.Errorf("%+v", truth)
			}
			_, _ = c.try(http.MethodPut, keyPath(u))
			s.Close()
			pass(10 * time.Second)
			synctest.Wait()
			if n := len(s.Truth()); n != 1 {
				t.Errorf("turned %d times after Close", n)
			}
		})
	}
}

func TestFaults_HiddenKeysShowInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := always(simulator.Rates{Hidden: 1})
		f.HiddenFor = keyturn.Duration(10 * time.Second)
		s := newSimulator(t, simulator.Config{Faults: f})
		c, u := clientOf(t, s), s.Estate().Units()[0]
		c.do(http.MethodPut, keyPath(u))
		pass(4 * time.Second)
		c.do(http.MethodPut, keyPath(u))
		first, second := s.Truth()[0], s.Truth()[1]
		if second.KeyBefore != first.KeyAfter {
			t.Errorf("truth %+v then %+v", first, second)
		}
		for _, step := range []struct {
			wait time.Duration
			want string
		}{{0, u.Key}, {6 * time.Second, first.KeyAfter}, {4 * time.Second, second.KeyAfter}} {
			pass(step.wait)
			if got := c.keyOf(u); got != step.want {
				t.Errorf("after %v more: %s, not %s", step.wait, got, step.want)
			}
		}
	})
}

func TestFaults_OfGet(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	c, u := clientOf(t, s), s.Estate().Units()[0]
	for _, tc := range []struct {
		rates  simulator.Rates
		status int
	}{{simulator.Rates{ErrorBefore: 1}, 500}, {simulator.Rates{TooMany: 1}, 429}, {simulator.Rates{ResetBefore: 1}, 0}, {simulator.Rates{Truncated: 1}, 0}} {
		if err := s.SetFaults(simulator.Faults{GET: tc.rates}); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{keyPath(u), "/groups", "/groups/" + u.ProjectID + "/clusters"} {
			a, err := c.try(http.MethodGet, path)
			if tc.status == 0 && !errors.Is(err, errAborted) || tc.status != 0 && (err != nil || a.status != tc.status) {
				t.Errorf("%+v %s: %d %v", tc.rates, path, a.status, err)
			}
		}
		if a := c.do(http.MethodPut, keyPath(u)); a.status != 201 {
			t.Errorf("%+v: PUT answered %d", tc.rates, a.status)
		}
	}
}

func TestFaults_FollowTheirRatesWhateverTheOrder(t *testing.T) {
	t.Parallel()
	outcomes := func(order func(int) int) (map[string]int, int) {
		e := simulator.EstateOf(1000)
		s := newSimulator(t, simulator.Config{Estate: e, Faults: simulator.Faults{
			Seed: 3, PUT: simulator.Rates{ErrorBefore: 0.1, ErrorAfter: 0.2, ResetAfter: 0.3, Never: 0.1},
		}})
		c, units := clientOf(t, s), e.Units()
		got, failed := map[string]int{}, 0
		for i := range units {
			u := units[order(i)]
			a, err := c.try(http.MethodPut, keyPath(u))
			if err != nil {
				failed++
			}
			got[u.ClusterID] = a.status
		}
		for kind, want := range map[string]int64{"errorBefore": 100, "errorAfter": 200, "resetAfter": 300, "never": 100} {
			if n := s.Stats().Faults[kind]; n < want*7/10 || n > want*13/10 {
				t.Errorf("%d of 1000 met %s", n, kind)
			}
		}
		return got, failed
	}
	forth, failed1 := outcomes(func(i int) int { return i })
	back, failed2 := outcomes(func(i int) int { return 999 - i })
	if failed1 != failed2 {
		t.Errorf("%d and %d without an answer", failed1, failed2)
	}
	for id, status := range forth {
		if back[id] != status {
			t.Fatalf("%s: %d one way, %d the other", id, status, back[id])
		}
	}
}

func TestFaults_Validate(t *testing.T) {
	t.Parallel()
	for _, f := range []simulator.Faults{
		{PUT: simulator.Rates{Slow: 1.1}},
		{GET: simulator.Rates{Slow: -0.1}},
		{PUT: simulator.Rates{Slow: 0.6, Late: 0.6}},
		{Outage: "partly"},
	} {
		if f.Validate() == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
	if err := always(simulator.Rates{Slow: 0.5, Late: 0.5, Hidden: 1}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	s, c := start(t, simulator.Config{})
	set := func(o simulator.Outage) {
		if err := s.SetFaults(simulator.Faults{Outage: o}); err != nil {
			t.Fatal(err)
		}
	}
	set(simulator.OutageUnavailable)
	if a, err := c.raw(http.MethodGet, groupsPath, nil); err != nil || a.status != 503 || a.header.Get("Content-Type") != "text/html" {
		t.Errorf("%d %v", a.status, err)
	}
	set(simulator.OutageReset)
	if a, err := c.raw(http.MethodGet, groupsPath, nil); err == nil {
		t.Errorf("answered %d", a.status)
	}
	if a, err := c.raw(http.MethodGet, "/simulator/stats", nil); err != nil || a.status != 200 {
		t.Errorf("the control is out as well: %d %v", a.status, err)
	}
	set(simulator.OutageNone)
	if a := c.do(http.MethodGet, "/groups"); a.status != 200 {
		t.Errorf("after the outage: %d", a.status)
	}
}

// The faults that only a connection shows: with and without TLS.
func TestFaults_OnTheWire(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		s, c := startMaybeTLS(t, tls)
		for i, tc := range []struct {
			rates  simulator.Rates
			turned int
		}{{simulator.Rates{ResetBefore: 1}, 0}, {simulator.Rates{ResetAfter: 1}, 1}, {simulator.Rates{Truncated: 1}, 1}, {simulator.Rates{Late: 1}, 0}} {
			if err := s.SetFaults(always(tc.rates)); err != nil {
				t.Fatal(err)
			}
			before := len(s.Truth())
			a, err := c.try(http.MethodPut, keyPath(s.Estate().Units()[i]))
			switch {
			case tc.rates.Truncated == 1:
				if a.status != 201 || !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("truncated: %d %v", a.status, err)
				}
			case !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF):
				t.Errorf("%+v: %d %v", tc.rates, a.status, err)
			}
			if n := len(s.Truth()) - before; n != tc.turned {
				t.Errorf("%+v: turned %d times", tc.rates, n)
			}
		}
	}
}

func TestConcurrentTurnsAreAllInTheTruth(t *testing.T) {
	t.Parallel()
	e := simulator.EstateOf(10)
	s, c := start(t, simulator.Config{Estate: e, Faults: simulator.Faults{PUT: simulator.Rates{ErrorAfter: 0.3, ResetAfter: 0.1, Hidden: 0.5}}})
	last := map[string]string{}
	for _, u := range e.Units() {
		last[u.ClusterID] = u.Key
	}
	const workers, turns = 8, 5
	nonce := c.challenge()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i, u := range e.Units() {
				for n := range turns {
					nc := hexCount(1 + (w*10+i)*turns + n)
					_, _ = c.with(http.MethodPut, "/api/public/v1.0"+keyPath(u), nonce, nc) // a fault may end it
					if n == 0 {
						_, _ = e.Rotate(u.ClusterID)
						_ = s.Stats()
					}
				}
			}
		})
	}
	wg.Wait()
	truth := s.Truth()
	if len(truth) < workers*10*(turns+1) {
		t.Errorf("%d records", len(truth))
	}
	for i, r := range truth {
		if r.Seq != int64(i)+1 || r.KeyBefore != last[r.ClusterID] || r.KeyAfter == r.KeyBefore {
			t.Fatalf("record %d doesn't follow: %+v", i, r)
		}
		last[r.ClusterID] = r.KeyAfter
	}
	for _, u := range e.Units() {
		if u.Key != last[u.ClusterID] {
			t.Errorf("%s has %s, the truth says %s", u.ClusterID, u.Key, last[u.ClusterID])
		}
	}
}
