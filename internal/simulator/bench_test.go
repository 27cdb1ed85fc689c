package simulator_test

import (
	"bufio"
	"crypto/md5" //nolint:gosec // G501: digest authentication
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/simulator"
)

// signer makes Authorization headers for requests ahead of the challenge.
type signer struct {
	key   simulator.APIKey
	ha1   string
	nonce string
	nc    int
	fetch func() string
}

func newSigner(key simulator.APIKey, fetch func() string) *signer {
	return &signer{key: key, ha1: md5Hex(key.Public + ":MMS Public API:" + key.Private), fetch: fetch}
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func (s *signer) sign(method, uri string) string {
	if s.nc++; s.nonce == "" || s.nc >= 1000 {
		s.nonce, s.nc = s.fetch(), 1
	}
	nc := strconv.FormatInt(int64(s.nc), 16)
	nc = "00000000"[len(nc):] + nc
	response := md5Hex(s.ha1 + ":" + s.nonce + ":" + nc + ":abc:auth:" + md5Hex(method+":"+uri))
	return `Digest username="` + s.key.Public + `", realm="MMS Public API", nonce="` + s.nonce + `", uri="` + uri +
		`", algorithm=MD5, qop=auth, nc=` + nc + `, cnonce="abc", response="` + response + `"`
}

// steps are the requests of one rotation: GET, PUT, GET.
var steps = [3]string{http.MethodGet, http.MethodPut, http.MethodGet}

func benchEstate(b *testing.B) (*simulator.Estate, []string) {
	b.Helper()
	e := simulator.EstateOf(20000)
	var paths []string
	for _, u := range e.Units() {
		paths = append(paths, "/api/public/v1.0"+keyPath(u))
	}
	return e, paths
}

func perSecond(b *testing.B) {
	b.Helper()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkHandler is the simulator alone: what a request costs beside net/http.
func BenchmarkHandler(b *testing.B) {
	e, paths := benchEstate(b)
	s, err := simulator.New(simulator.Config{Estate: e})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	w := &nullWriter{h: http.Header{}}
	sign := newSigner(s.Keys()[0], func() string {
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequestWithContext(b.Context(), http.MethodGet, groupsPath, nil))
		return nonceIn.FindStringSubmatch(rec.Header().Get("Www-Authenticate"))[1]
	})
	requests := make([]*http.Request, 900)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i%len(requests) == 0 {
			b.StopTimer()
			for j := range requests {
				method, path := steps[j%3], paths[(i+j)/3%len(paths)]
				requests[j] = httptest.NewRequestWithContext(b.Context(), method, path, nil)
				requests[j].Header.Set("Authorization", sign.sign(method, path))
			}
			b.StartTimer()
		}
		w.status = 0
		s.ServeHTTP(w, requests[i%len(requests)])
		if w.status > 201 {
			b.Fatal(w.status)
		}
		i++
	}
	perSecond(b)
}

type nullWriter struct {
	h      http.Header
	status int
}

func (w *nullWriter) Header() http.Header         { return w.h }
func (w *nullWriter) WriteHeader(status int)      { w.status = status }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkLoopback asks over keep-alive connections of the loopback device,
// with net/http's client or with a client that costs next to nothing. Run it
// with -cpu 1 to see what one core does for both sides.
func BenchmarkLoopback(b *testing.B) {
	for name, ask := range map[string]func(*simulator.Server) (asker, error){"net-http": newNetHTTP, "bare": newBare} {
		for _, latency := range []time.Duration{0, 20 * time.Millisecond} {
			b.Run(fmt.Sprintf("%s/latency=%v", name, latency), func(b *testing.B) { loopback(b, ask, latency) })
		}
	}
}

// asker is one connection.
type asker interface {
	ask(method, path string) (status int, err error)
	close()
}

func loopback(b *testing.B, newAsker func(*simulator.Server) (asker, error), latency time.Duration) {
	e, paths := benchEstate(b)
	s, err := simulator.Start(b.Context(), simulator.Config{Estate: e, Latency: latency})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var next atomic.Int64
	const inFlight = 256
	b.SetParallelism(max(1, inFlight/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		a, err := newAsker(s)
		if err != nil {
			b.Error(err)
			return
		}
		defer a.close()
		unit := 0
		for step := 0; pb.Next(); step++ {
			if step%3 == 0 {
				unit = int(next.Add(1)) % len(paths)
			}
			if status, err := a.ask(steps[step%3], paths[unit]); err != nil || status > 201 {
				b.Error(status, err)
				return
			}
		}
	})
	perSecond(b)
}

type netHTTP struct {
	*signer
	base string
	tr   *http.Transport
}

func newNetHTTP(s *simulator.Server) (asker, error) {
	a := &netHTTP{base: s.URL, tr: &http.Transport{}}
	a.signer = newSigner(s.Keys()[0], func() string {
		resp, err := a.send(http.MethodGet, groupsPath, "")
		if err != nil {
			return ""
		}
		return nonceIn.FindStringSubmatch(resp.Header.Get("Www-Authenticate"))[1]
	})
	return a, nil
}

func (a *netHTTP) send(method, path, auth string) (*http.Response, error) {
	r, err := http.NewRequest(method, a.base+path, nil) //nolint:noctx // a benchmark's request ends with its server
	if err != nil {
		return nil, err
	}
	if auth != "" {
		r.Header["Authorization"] = []string{auth}
	}
	resp, err := a.tr.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp, err
}

func (a *netHTTP) ask(method, path string) (int, error) {
	resp, err := a.send(method, path, a.sign(method, path))
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

func (a *netHTTP) close() { a.tr.CloseIdleConnections() }

// bare writes requests and scans answers by hand.
type bare struct {
	*signer
	conn   net.Conn
	in     *bufio.Reader
	out    []byte
	header string // the challenge of the last answer
}

func newBare(s *simulator.Server) (asker, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://")) //nolint:noctx // as above
	if err != nil {
		return nil, err
	}
	a := &bare{conn: conn, in: bufio.NewReader(conn)}
	a.signer = newSigner(s.Keys()[0], func() string {
		if _, err := a.send(http.MethodGet, groupsPath, ""); err != nil {
			return ""
		}
		return nonceIn.FindStringSubmatch(a.header)[1]
	})
	return a, nil
}

func (a *bare) ask(method, path string) (int, error) {
	return a.send(method, path, a.sign(method, path))
}

func (a *bare) send(method, path, auth string) (int, error) {
	a.out = append(a.out[:0], method+" "+path+" HTTP/1.1\r\nHost: x\r\n"...)
	if auth != "" {
		a.out = append(a.out, "Authorization: "+auth+"\r\n"...)
	}
	if method == http.MethodPut {
		a.out = append(a.out, "Content-Length: 0\r\n"...)
	}
	if _, err := a.conn.Write(append(a.out, "\r\n"...)); err != nil {
		return 0, err
	}
	status, length := 0, 0
	for {
		line, err := a.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		text := string(line[:len(line)-2])
		switch {
		case status == 0:
			status, err = strconv.Atoi(text[9:12])
		case text == "":
			_, err = a.in.Discard(length)
			return status, err
		case strings.HasPrefix(text, "Content-Length: "):
			length, err = strconv.Atoi(text[16:])
		case strings.HasPrefix(text, "Www-Authenticate: "):
			a.header = text
		}
		if err != nil {
			return 0, err
		}
	}
}

func (a *bare) close() { _ = a.conn.Close() }

// BenchmarkEstate makes an estate of 20,000 units.
func BenchmarkEstate(b *testing.B) {
	for b.Loop() {
		simulator.EstateOf(20000)
	}
}

// BenchmarkListing lists 500 clusters.
func BenchmarkListing(b *testing.B) {
	e := simulator.NewEstate(simulator.EstateConfig{Projects: 1, ClustersPerProject: 100, ShardsPerCluster: 3})
	s, err := simulator.New(simulator.Config{Estate: e})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	path := "/api/public/v1.0/groups/" + e.Units()[0].ProjectID + "/clusters?itemsPerPage=500"
	sign := newSigner(s.Keys()[0], func() string {
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequestWithContext(b.Context(), http.MethodGet, groupsPath, nil))
		return nonceIn.FindStringSubmatch(rec.Header().Get("Www-Authenticate"))[1]
	})
	w := &nullWriter{h: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, path, nil)
		r.Header.Set("Authorization", sign.sign(http.MethodGet, path))
		s.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
}
