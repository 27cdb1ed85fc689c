package simulator_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/internal/simulator"
)

func hexCount(n int) string { return fmt.Sprintf("%08x", n) }

func startMaybeTLS(t *testing.T, withTLS bool) (*simulator.Server, *client) {
	t.Helper()
	s, c := start(t, simulator.Config{TLS: withTLS})
	if withTLS {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(s.CAPEM)
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
		t.Cleanup(tr.CloseIdleConnections)
		c.transport = tr
	}
	return s, c
}

func TestStart_ServesTLS(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	s, c := start(t, simulator.Config{TLS: true, CAFile: file})
	if !strings.HasPrefix(s.URL, "https://127.0.0.1:") {
		t.Errorf("URL %q", s.URL)
	}
	if _, err := c.raw(http.MethodGet, groupsPath, nil); err == nil {
		t.Error("the certificate was trusted without its authority")
	}
	ca, err := os.ReadFile(file)
	if err != nil || string(ca) != string(s.CAPEM) {
		t.Fatalf("the file differs: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	c.transport = tr
	if a := c.do(http.MethodGet, "/groups"); a.status != 200 {
		t.Errorf("answered %d", a.status)
	}
	c.base = strings.Replace(c.base, "127.0.0.1", "localhost", 1)
	if a := c.do(http.MethodGet, "/groups"); a.status != 200 {
		t.Errorf("localhost answered %d", a.status)
	}
}

func TestStart_RefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	s, _ := start(t, simulator.Config{})
	for name, cfg := range map[string]simulator.Config{
		"TakenAddress": {Estate: simulator.EstateOf(1), Addr: strings.TrimPrefix(s.URL, "http://")},
		"CAFile":       {Estate: simulator.EstateOf(1), TLS: true, CAFile: filepath.Join(t.TempDir(), "no", "such")},
		"NoEstate":     {},
		"Faults":       {Estate: simulator.EstateOf(1), Faults: simulator.Faults{Outage: "?"}},
	} {
		if got, err := simulator.Start(t.Context(), cfg); err == nil {
			_ = got.Close()
			t.Errorf("%s: started", name)
		}
	}
}

func TestStart_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := simulator.Start(ctx, simulator.Config{Estate: simulator.EstateOf(1)})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-s.Done():
	case <-t.Context().Done():
		t.Fatal("it goes on")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestClose_EndsSlowAnswers(t *testing.T) {
	t.Parallel()
	s, c := start(t, simulator.Config{Latency: time.Hour})
	ended := make(chan error, 1)
	go func() {
		_, err := c.raw(http.MethodGet, groupsPath, nil)
		ended <- err
	}()
	for s.Stats().InFlight == 0 {
		runtime.Gosched()
		if t.Context().Err() != nil {
			t.Fatal("no request came")
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the request was answered")
	}
}

func TestLatency_IsAddedToEveryRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSimulator(t, simulator.Config{Latency: 20 * time.Millisecond})
		began := time.Now()
		clientOf(t, s).do(http.MethodGet, "/groups") // with a challenge before it
		if took := time.Since(began); took != 40*time.Millisecond {
			t.Errorf("two requests took %v", took)
		}
	})
}

func TestLog_HoldsNoSecret(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	s, c := start(t, simulator.Config{Logger: zap.New(core)})
	c.do(http.MethodGet, "/groups")
	for _, e := range logs.All() {
		text, err := json.Marshal(e.ContextMap())
		if err != nil || strings.Contains(e.Message+string(text), s.PrivateKey) {
			t.Errorf("%s %s %v", e.Message, text, err)
		}
	}
	if logs.Len() == 0 || len(s.PrivateKey) != 36 || len(s.PublicKey) != 8 {
		t.Errorf("%d lines, keys %q %q", logs.Len(), s.PublicKey, s.PrivateKey)
	}
}
