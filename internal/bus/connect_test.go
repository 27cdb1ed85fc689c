package bus_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/keyturn/keyturn/internal/bus"
)

func TestConnectSaysInOneLineWhatIsWrong(t *testing.T) {
	t.Parallel()
	caFile, serverTLS := certificate(t)
	missing := filepath.Join(t.TempDir(), "missing")
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secured := func(o *server.Options) { o.Username, o.Password = "keyturn", "secret-pass" }
	withTLS := func(o *server.Options) { o.TLSConfig, o.TLS = serverTLS, true }
	noJetStream := func(o *server.Options) { o.JetStream = false }
	noStart := func(*server.Options) {}

	for name, test := range map[string]struct {
		server func(*server.Options) // nil: the URL is used as it is
		cfg    bus.Config
		want   string
	}{
		"NobodyThere":       {cfg: bus.Config{URL: "nats://u:secret-pass@" + closedAddr(t)}, want: "no server answers"},
		"NoURL":             {want: "no NATS server to connect to"},
		"BadPrefix":         {cfg: bus.Config{URL: "nats://127.0.0.1:1", Prefix: "a.b"}, want: "can't be the prefix"},
		"TooOld":            {cfg: bus.Config{URL: oldServer(t)}, want: "2.12 or newer is needed"},
		"NoCredentials":     {server: secured, want: "refused the credentials"},
		"WrongPassword":     {server: secured, cfg: bus.Config{User: "keyturn", Password: "secret-pass-wrong"}, want: "refused the credentials"},
		"RefusedWaiting":    {server: secured, cfg: bus.Config{RetryConnect: true}, want: "refused the credentials"},
		"JetStreamOff":      {server: noJetStream, want: "JetStream is off"},
		"UnknownAuthority":  {server: withTLS, want: "can't be verified"},
		"NoTLSThere":        {server: noStart, cfg: bus.Config{TLS: bus.TLS{CAFile: caFile}}, want: "does not speak TLS"},
		"CAFileMissing":     {server: noStart, cfg: bus.Config{TLS: bus.TLS{CAFile: missing}}, want: missing},
		"CAFileGarbage":     {server: withTLS, cfg: bus.Config{TLS: bus.TLS{CAFile: garbage}}, want: garbage},
		"CredsFileMissing":  {server: noStart, cfg: bus.Config{CredsFile: missing}, want: missing},
		"NKeyFileGarbage":   {server: noStart, cfg: bus.Config{NKeySeedFile: garbage}, want: garbage},
		"KeyFileNotGiven":   {server: noStart, cfg: bus.Config{TLS: bus.TLS{CertFile: caFile}}, want: "needs both"},
		"TooManyReplicas":   {server: noStart, cfg: bus.Config{Replicas: 7}, want: "7 replicas"},
		"AckWaitOfNoLength": {server: noStart, cfg: bus.Config{AckWait: time.Millisecond}, want: "too short"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.server != nil {
				test.cfg.URL = startServer(t, test.server)
			}
			_, err := bus.Connect(t.Context(), test.cfg)
			if err == nil {
				t.Fatal("connected")
			}
			text := err.Error()
			if !strings.Contains(text, test.want) || strings.Contains(text, "\n") || strings.Contains(text, "secret-pass") {
				t.Errorf("got %q, want one line with %q and no secret", text, test.want)
			}
		})
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()

	t.Run("VerifiesTLSWithTheCAFile", func(t *testing.T) {
		t.Parallel()
		caFile, serverTLS := certificate(t)
		url := startServer(t, func(o *server.Options) { o.TLSConfig, o.TLS = serverTLS, true })
		b := connect(t, bus.Config{URL: url, TLS: bus.TLS{CAFile: caFile}})
		if err := b.Healthy(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("SignsWithAnNKey", func(t *testing.T) {
		t.Parallel()
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "seed")
		if err := os.WriteFile(file, seed, 0o600); err != nil {
			t.Fatal(err)
		}
		url := startServer(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} })
		connect(t, bus.Config{URL: url, NKeySeedFile: file})
	})
	t.Run("SendsUserOrToken", func(t *testing.T) {
		t.Parallel()
		connect(t, bus.Config{User: "u", Password: "p", URL: startServer(t, func(o *server.Options) { o.Username, o.Password = "u", "p" })})
		connect(t, bus.Config{Token: "t", URL: startServer(t, func(o *server.Options) { o.Authorization = "t" })})
	})
	t.Run("WaitsForAServerIfAsked", func(t *testing.T) {
		t.Parallel()
		addr := closedAddr(t)
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		connected := make(chan error, 1)
		go func() {
			b, err := bus.Connect(t.Context(), bus.Config{URL: "nats://" + addr, RetryConnect: true})
			if err == nil {
				err = b.Close(t.Context())
			}
			connected <- err
		}()
		startServer(t, func(o *server.Options) { _, _ = fmt.Sscan(port, &o.Port) })
		if err := receive(t, "connected", connected); err != nil {
			t.Error(err)
		}
	})
	t.Run("StopsWaitingWhenItsContextEnds", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := bus.Connect(ctx, bus.Config{URL: "nats://" + closedAddr(t), RetryConnect: true}); err == nil {
			t.Error("connected to nobody")
		}
	})
	t.Run("UpgradesStreamsInPlace", func(t *testing.T) {
		t.Parallel()
		url := startServer(t, nil)
		connect(t, bus.Config{URL: url})
		_, js := raw(t, url)
		stream, err := js.Stream(t.Context(), "KEYTURN_EVENT")
		if err != nil {
			t.Fatal(err)
		}
		cfg := stream.CachedInfo().Config
		want := cfg.MaxAge
		cfg.MaxAge = time.Hour
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		connect(t, bus.Config{URL: url})
		if stream, err = js.Stream(t.Context(), "KEYTURN_EVENT"); err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().Config.MaxAge; got != want {
			t.Errorf("the maximum age is %s, want %s", got, want)
		}
	})
	t.Run("IsUnhealthyWithoutAServer", func(t *testing.T) {
		t.Parallel()
		embedded := startEmbedded(t, bus.EmbeddedConfig{})
		b := connect(t, bus.Config{Embedded: embedded})
		if err := b.Healthy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := embedded.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is unhealthy", func() bool { return b.Healthy(t.Context()) != nil })
	})
}

// closedAddr returns an address that nobody listens on.
func closedAddr(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return addr
}

// oldServer greets as NATS 2.11 does and answers what a connecting client asks.
func oldServer(t *testing.T) (url string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		fmt.Fprintf(conn, "INFO {\"server_id\":\"x\",\"version\":\"2.11.9\",\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n")
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			if lines.Text() == "PING" {
				fmt.Fprint(conn, "PONG\r\n")
			}
		}
	}()
	return "nats://" + l.Addr().String()
}

// certificate makes a certificate for 127.0.0.1 that signed itself.
func certificate(t *testing.T) (caFile string, cfg *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return caFile, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}
