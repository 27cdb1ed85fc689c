package opsmanager_test

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/digest/digesttest"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

func TestNew_RefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		url, public, caFile, want string
	}{
		"no URL":           {"", "p", "", "spec.url: not a URL"},
		"no scheme":        {"om.example.com:8443", "p", "", "spec.url: not a URL"},
		"other scheme":     {"ftp://om.example.com", "p", "", "spec.url: not a URL"},
		"no host":          {"https://:8443", "p", "", "spec.url: not a URL"},
		"credentials":      {"https://u:hunter2@om.example.com", "p", "", "belong in spec.credentials"},
		"query":            {"https://om.example.com?x=1", "p", "", "query"},
		"no key":           {"https://om.example.com", "", "", "spec.credentials"},
		"no CA file":       {"https://om.example.com", "p", "/does/not/exist", "spec.tls.caFile"},
		"CA file is empty": {"https://om.example.com", "p", notPEM, "no certificate"},
	}
	for name, tt := range tests {
		target := keyturn.Target{Name: "om", URL: tt.url, TLS: keyturn.TargetTLS{CAFile: tt.caFile}}
		_, err := opsmanager.New(opsmanager.Config{Target: target, PublicKey: tt.public, PrivateKey: "x"})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

func TestNew_AcceptsEveryFormOfTheURL(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", "/", "/api/public/v1.0", "/api/public/v1.0/"} {
		f := newFake(t)
		f.on("GET "+keyPath, http.StatusOK, keyBody)
		c := f.client(t, func(cfg *opsmanager.Config) { cfg.Target.URL += suffix })
		if key, err := c.Current(t.Context(), unitID); err != nil || key == "" {
			t.Errorf("%q: %q, %v", suffix, key, err)
		}
	}
	f := newFake(t)
	f.on("GET /mms"+apiPrefix+keyPath, http.StatusOK, keyBody)
	c := f.client(t, func(cfg *opsmanager.Config) { cfg.Target.URL += "/mms" })
	if _, err := c.Current(t.Context(), unitID); err != nil {
		t.Errorf("with a prefix: %v", err)
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	if err := f.client(t).Ping(t.Context()); err != nil {
		t.Errorf("all is well: %v", err)
	}
	wrong := f.client(t, func(cfg *opsmanager.Config) { cfg.PublicKey = "another" })
	want{permanent, true, "unauthorized", 0, "spec.credentials"}.check(t, "wrong credentials", wrong.Ping(t.Context()))
	f.on("GET /groups", http.StatusOK, "{}")
	want{permanent, true, "not_ops_manager", 0, "is spec.url"}.check(t, "another API", f.client(t).Ping(t.Context()))

	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	defer web.Close()
	c := f.client(t, func(cfg *opsmanager.Config) { cfg.Target.URL = web.URL })
	want{permanent, true, "not_ops_manager", 0, web.URL}.check(t, "a web site", c.Ping(t.Context()))
	c = f.client(t, func(cfg *opsmanager.Config) { cfg.Target.URL = strings.Replace(web.URL, "http:", "https:", 1) })
	want{transient, true, "tls", 0, "says https"}.check(t, "no TLS", c.Ping(t.Context()))
}

func TestTLS_TrustsOnlyWhoItShould(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	guard := digesttest.New(digesttest.Rules{Username: "public", Password: privateKey}, f)
	server := httptest.NewUnstartedServer(guard)
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop()) // of handshakes that clients break off
	server.StartTLS()
	defer server.Close()
	c := f.client(t, func(cfg *opsmanager.Config) { cfg.Target.URL = server.URL })
	want{transient, true, "tls", 0, "spec.tls.caFile"}.check(t, "unknown authority", c.Ping(t.Context()))
	want{transient, true, "tls", 0, "spec.tls.caFile"}.check(t, "unknown authority", c.Apply(t.Context(), unitID, keyturn.Intent{}))

	caFile := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(caFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	trusting := func(cfg *opsmanager.Config) { cfg.Target.URL, cfg.Target.TLS.CAFile = server.URL, caFile }
	if err := f.client(t, trusting).Ping(t.Context()); err != nil {
		t.Errorf("known authority: %v", err)
	}
	elsewhere := f.client(t, trusting, func(cfg *opsmanager.Config) {
		cfg.Target.URL = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	})
	want{transient, true, "tls", 0, "certificate"}.check(t, "wrong name", elsewhere.Ping(t.Context()))
}
