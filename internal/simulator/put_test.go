package simulator_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/simulator"
)

func TestPut_TurnsTheKeyAndRecordsIt(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	c := clientOf(t, s)
	u := s.Estate().Units()[2]
	if got := c.keyOf(u); got != u.Key {
		t.Fatalf("before: %q, not %q", got, u.Key)
	}
	path := "/api/public/v1.0" + keyPath(u)
	a, err := c.raw(http.MethodPut, path, http.Header{
		"Authorization": {c.sign(http.MethodPut, path, c.challenge(), "1", "x")}, "X-Request-Id": {"mine"},
	})
	if err != nil || a.status != 201 || len(a.body) != 0 {
		t.Fatalf("%d %q %v", a.status, a.body, err)
	}
	after := c.keyOf(u)
	truth := s.Truth()
	if len(truth) != 1 || after == u.Key {
		t.Fatalf("after: %q, %+v", after, truth)
	}
	want := simulator.Record{
		Seq: 1, Time: truth[0].Time, ProjectID: u.ProjectID, ClusterID: u.ClusterID,
		KeyBefore: u.Key, KeyAfter: after, RequestID: "mine", By: simulator.ByRequest,
	}
	if truth[0] != want {
		t.Errorf("got %+v", truth[0])
	}
	c.do(http.MethodPut, keyPath(u))
	if truth = s.Truth(); len(truth) != 2 || truth[1].KeyBefore != after || truth[1].RequestID == "" {
		t.Errorf("second turn %+v", truth)
	}
}

func TestPut_AnswersAsConfigured(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		body   bool
	}{{200, false}, {200, true}, {201, true}, {202, false}, {204, true}} {
		s := newSimulator(t, simulator.Config{PutStatus: tc.status, PutBody: tc.body})
		u := s.Estate().Units()[0]
		a := clientOf(t, s).do(http.MethodPut, keyPath(u))
		hasBody := strings.Contains(string(a.body), `"encryptionKeyUUID":"`+u.Key+`"`)
		if a.status != tc.status || hasBody != (tc.body && tc.status != 204) {
			t.Errorf("%+v: %d %s", tc, a.status, a.body)
		}
	}
	if _, err := simulator.New(simulator.Config{Estate: simulator.EstateOf(1), PutStatus: 500}); err == nil {
		t.Error("a PUT answered with 500 was accepted")
	}
	if _, err := simulator.New(simulator.Config{}); err == nil {
		t.Error("a simulator without an estate was accepted")
	}
}

func TestPut_WantsJSON(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	c := clientOf(t, s)
	path := "/api/public/v1.0" + keyPath(s.Estate().Units()[0])
	for contentType, want := range map[string]int{"application/json; charset=utf-8": 201, "text/plain": 415} {
		a, err := c.raw(http.MethodPut, path, http.Header{
			"Authorization": {c.sign(http.MethodPut, path, c.challenge(), "1", "x")}, "Content-Type": {contentType},
		})
		if err != nil || a.status != want {
			t.Errorf("%s: %d %v", contentType, a.status, err)
		}
	}
}
