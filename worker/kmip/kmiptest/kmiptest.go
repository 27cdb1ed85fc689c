//go:build linux

package kmiptest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// python is Debian's interpreter, which finds Debian's packages whatever else is installed.
const python = "/usr/bin/python3"

//go:embed keys.py
var script string

// Server is a PyKMIP server with a key in every state.
type Server struct {
	Address string
	TLS     *tls.Config // of the client
	// CertFile, KeyFile and CAFile are the client's files.
	CertFile, KeyFile, CAFile string
	Keys                      Keys

	port, script string
	process      *exec.Cmd
	config       []string
	said         *bytes.Buffer
}

// Keys are the ids of the keys that a server has from its start.
type Keys struct {
	PreActive, Active, Deactivated,
	Compromised, Destroyed string
	Many []string // pre-active
}

// Start starts a server, on a port and in a folder of its own, and makes keys on it: one in every state, and many
// more. It ends with the test.
func Start(t testing.TB, many int) *Server {
	t.Helper()
	return start(t, many, func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
}

// StartRSA does so with certificates of RSA keys, for which PyKMIP knows other cipher suites.
func StartRSA(t testing.TB, many int) *Server {
	t.Helper()
	return start(t, many, func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })
}

func start(t testing.TB, many int, newKey func() (crypto.Signer, error)) *Server {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import kmip").CombinedOutput(); err != nil {
		t.Fatalf("these tests need a PyKMIP server: apt-get install python3-pykmip (%v: %s)", err, out)
	}
	dir := t.TempDir()
	certs := makeCertificates(t, dir, newKey)
	port := strconv.Itoa(freePort(t))
	settings := fmt.Sprintf(`[server]
hostname=127.0.0.1
port=%s
certificate_path=%s
key_path=%s
ca_path=%s
auth_suite=TLS1.2
policy_path=%s
enable_tls_client_auth=True
database_path=%s
logging_level=ERROR
`, port, certs.path("server.pem"), certs.path("server.key"), certs.path("ca.pem"), dir, filepath.Join(dir, "keys.db"))
	for name, content := range map[string]string{"server.conf": settings, "keys.py": script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{
		Address: net.JoinHostPort("127.0.0.1", port), TLS: certs.client, CertFile: certs.path("client.pem"), KeyFile: certs.path("client.key"),
		CAFile: certs.path("ca.pem"), port: port, script: filepath.Join(dir, "keys.py"), said: &bytes.Buffer{},
		config: []string{"-f", filepath.Join(dir, "server.conf"), "-l", filepath.Join(dir, "server.log"), "-d", filepath.Join(dir, "keys.db")},
	}
	s.serve(t)
	if err := json.Unmarshal(s.run(t, "make", strconv.Itoa(many)), &s.Keys); err != nil {
		t.Fatalf("making keys: %v", err)
	}
	return s
}

func (s *Server) serve(t testing.TB) {
	t.Helper()
	process := exec.CommandContext(t.Context(), python, append([]string{"-m", "kmip.services.server.server"}, s.config...)...) //nolint:gosec // our own arguments
	process.Dir, process.Stderr, process.Stdout = filepath.Dir(s.script), s.said, s.said
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it starts another process, which holds our pipe
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	s.process = process
	t.Cleanup(func() {
		_ = syscall.Kill(-process.Process.Pid, syscall.SIGKILL) // it may have ended by itself
		_ = process.Wait()
	})
	if err := answers(t.Context(), s.Address); err != nil {
		t.Fatalf("PyKMIP does not answer: %v\n%s", err, s.said.String())
	}
}

// Create makes a pre-active key with the name, and returns its id.
func (s *Server) Create(t testing.TB, name string) string { return s.one(t, "create", name) }

// Activate makes a pre-active key active.
func (s *Server) Activate(t testing.TB, id string) { s.one(t, "activate", id) }

// Deactivate revokes an active key because it is not used any more.
func (s *Server) Deactivate(t testing.TB, id string) { s.one(t, "deactivate", id) }

// Destroy removes a key for ever: one that is not active.
func (s *Server) Destroy(t testing.TB, id string) { s.one(t, "destroy", id) }

func (s *Server) one(t testing.TB, args ...string) string {
	t.Helper()
	var id string
	if err := json.Unmarshal(s.run(t, args...), &id); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return id
}

func (s *Server) run(t testing.TB, args ...string) []byte {
	t.Helper()
	var complaint bytes.Buffer
	maker := exec.CommandContext(t.Context(), python, append([]string{s.script, s.port, s.CertFile, s.KeyFile, s.CAFile}, args...)...) //nolint:gosec // our own arguments
	maker.Stderr = &complaint
	out, err := maker.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, complaint.String())
	}
	return out
}

// answers waits until a connection is taken.
func answers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was sent
	addr, _ := l.Addr().(*net.TCPAddr)
	return addr.Port
}

type certificates struct {
	dir    string
	client *tls.Config
}

func (c certificates) path(name string) string { return filepath.Join(c.dir, name) }

// makeCertificates makes an authority, a server's and a client's certificate.
func makeCertificates(t testing.TB, dir string, newKey func() (crypto.Signer, error)) certificates {
	t.Helper()
	c := certificates{dir: dir}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := makeKey(t, newKey)
	c.write(t, "ca", authority, authority, caKey, caKey)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	c.write(t, "server", server, authority, makeKey(t, newKey), caKey)
	client := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "keyturn"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	c.write(t, "client", client, authority, makeKey(t, newKey), caKey)
	pair, err := tls.LoadX509KeyPair(c.path("client.pem"), c.path("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(c.path("ca.pem"))
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatal("reading the authority's certificate: ", err)
	}
	c.client = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}
	return c
}

func makeKey(t testing.TB, newKey func() (crypto.Signer, error)) crypto.Signer {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c certificates) write(t testing.TB, name string, cert, parent *x509.Certificate, key, signer crypto.Signer) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(c.path(file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
