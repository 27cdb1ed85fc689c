package simulator_test

import (
	"crypto/md5" //nolint:gosec // G501: digest authentication
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/simulator"
)

// errAborted is what handlerTransport returns when the connection would be gone.
var errAborted = errors.New("connection aborted")

// handlerTransport asks a handler without a network, so that it works in a synctest bubble.
type handlerTransport struct{ h http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // a recovered value, compared as net/http does
			resp, err = nil, errAborted
		} else if p != nil {
			panic(p)
		}
	}()
	in := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), r.Body)
	in.Header = r.Header.Clone()
	rec := httptest.NewRecorder()
	t.h.ServeHTTP(rec, in)
	return rec.Result(), nil
}

// client is a digest client of the test's own, written from RFC 7616.
type client struct {
	t         *testing.T
	base      string
	key       simulator.APIKey
	transport http.RoundTripper
	algorithm string // MD5 if empty
	qop       string // auth if empty
}

func newSimulator(t *testing.T, cfg simulator.Config) *simulator.Simulator {
	t.Helper()
	if cfg.Estate == nil {
		cfg.Estate = simulator.NewEstate(simulator.EstateConfig{Projects: 2, ClustersPerProject: 1, ReplicaSetsPerProject: 1})
	}
	s, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func clientOf(t *testing.T, s *simulator.Simulator) *client {
	t.Helper()
	return &client{t: t, base: "http://simulator", key: s.Keys()[0], transport: handlerTransport{s}}
}

func start(t *testing.T, cfg simulator.Config) (*simulator.Server, *client) {
	t.Helper()
	if cfg.Estate == nil {
		cfg.Estate = simulator.NewEstate(simulator.EstateConfig{Projects: 2, ClustersPerProject: 1, ReplicaSetsPerProject: 1})
	}
	s, err := simulator.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, &client{t: t, base: s.URL, key: simulator.APIKey{Public: s.PublicKey, Private: s.PrivateKey}, transport: tr}
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// raw sends a request as it is.
func (c *client) raw(method, path string, header http.Header) (answer, error) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	resp, err := c.transport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return answer{status: resp.StatusCode, header: resp.Header, body: body}, err
}

var nonceIn = regexp.MustCompile(`nonce="([^"]+)"`)

// challenge fetches a nonce.
func (c *client) challenge() string {
	c.t.Helper()
	a, err := c.raw(http.MethodGet, "/api/public/v1.0/groups", nil)
	if err != nil || a.status != http.StatusUnauthorized {
		c.t.Fatalf("challenge: %v, %v", a.status, err)
	}
	return nonceIn.FindStringSubmatch(a.header.Get("Www-Authenticate"))[1]
}

// sign computes the header by the RFC.
func (c *client) sign(method, uri, nonce, nc, cnonce string) string {
	algorithm, qop := c.algorithm, c.qop
	if algorithm == "" {
		algorithm = "MD5"
	}
	if qop == "" {
		qop = "auth"
	}
	h := func(s string) string {
		if algorithm == "SHA-256" {
			sum := sha256.Sum256([]byte(s))
			return hex.EncodeToString(sum[:])
		}
		sum := md5.Sum([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	a2 := method + ":" + uri
	if qop == "auth-int" {
		a2 += ":" + h("")
	}
	response := h(strings.Join([]string{
		h(c.key.Public + ":MMS Public API:" + c.key.Private), nonce, nc, cnonce, qop, h(a2),
	}, ":"))
	return fmt.Sprintf(`Digest username="%s", realm="MMS Public API", nonce="%s", uri="%s", algorithm=%s, qop=%s, nc=%s, cnonce="%s", response="%s"`,
		c.key.Public, nonce, uri, algorithm, qop, nc, cnonce, response)
}

// with sends a signed request with a nonce and count of the test's choice.
func (c *client) with(method, path, nonce, nc string) (answer, error) {
	c.t.Helper()
	return c.raw(method, path, http.Header{"Authorization": {c.sign(method, path, nonce, nc, "abc")}})
}

// try sends a request with a fresh challenge.
func (c *client) try(method, path string) (answer, error) {
	c.t.Helper()
	path = "/api/public/v1.0" + path
	return c.with(method, path, c.challenge(), "00000001")
}

func (c *client) do(method, path string) answer {
	c.t.Helper()
	a, err := c.try(method, path)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (c *client) get(path string, into any) answer {
	c.t.Helper()
	a := c.do(http.MethodGet, path)
	if a.status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", path, a.status, a.body)
	}
	decode(c.t, a.body, into)
	return a
}

func decode(t *testing.T, body []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}

func keyPath(u simulator.Unit) string {
	return "/groups/" + u.ProjectID + "/backupConfigs/" + u.ClusterID + "/encryptionKey"
}

// keyOf returns what GET shows.
func (c *client) keyOf(u simulator.Unit) string {
	c.t.Helper()
	var v struct{ EncryptionKeyUUID, GroupID, ClusterID string }
	c.get(keyPath(u), &v)
	if v.GroupID != u.ProjectID || v.ClusterID != u.ClusterID {
		c.t.Fatalf("answered %+v for %+v", v, u)
	}
	return v.EncryptionKeyUUID
}

// pass lets time pass in a synctest bubble, where it takes none.
func pass(d time.Duration) { <-time.After(d) }
