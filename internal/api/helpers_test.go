package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

// fixture is an API over a store in memory.
type fixture struct {
	store *apitest.Store
	http  http.Handler
}

func newFixture(t *testing.T, change func(*api.Config)) *fixture {
	t.Helper()
	store := &apitest.Store{}
	store.AddTokens()
	store.AddResource(keyturn.KindTarget, "om", `{"system":"ops-manager","url":"https://om.example.com","credentials":{"publicKey":"env:A","privateKey":"env:B"}}`)
	store.AddResource(keyturn.KindPolicy, "quarterly", `{"target":"om","schedule":{"cron":"0 2 1 */3 *","timezone":"Europe/Berlin"}}`)
	cfg := api.Config{Store: store, Version: "v1.2.3", Now: apitest.Epoch}
	if change != nil {
		change(&cfg)
	}
	return &fixture{store: store, http: api.New(cfg)}
}

// call makes a request and returns the answer with its body read.
func (f *fixture) call(t *testing.T, role keyturn.Role, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = bytes.NewBufferString(body)
	}
	req := httptest.NewRequestWithContext(t.Context(), method, path, reader)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if role != "" {
		req.Header.Set("Authorization", "Bearer "+apitest.Secret(role))
	}
	rec := httptest.NewRecorder()
	f.http.ServeHTTP(rec, req)
	return rec
}

func decode[T any](t *testing.T, rec *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
		t.Fatalf("reading %q: %v", rec.Body, err)
	}
	return v
}

func wantStatus(t *testing.T, rec *httptest.ResponseRecorder, want int) {
	t.Helper()
	if rec.Code != want {
		t.Fatalf("status %d, want %d: %s", rec.Code, want, rec.Body)
	}
}

type problem struct {
	Status int
	Title  string
	Detail string
	Errors []struct{ Message, Location string }
}

// wantProblem checks that the answer is an RFC 9457 problem.
func wantProblem(t *testing.T, rec *httptest.ResponseRecorder, status int) problem {
	t.Helper()
	wantStatus(t, rec, status)
	if got := rec.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q, want a problem's", got)
	}
	p := decode[problem](t, rec)
	if p.Status != status || p.Title == "" || p.Detail == "" {
		t.Errorf("the problem is incomplete: %s", rec.Body)
	}
	return p
}

// callHeader makes a GET with one header.
func (f *fixture) callHeader(t *testing.T, path, name, value string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if value != "" {
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	f.http.ServeHTTP(rec, req)
	return rec
}
