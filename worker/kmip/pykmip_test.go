//go:build linux

package kmip_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
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

	"github.com/keyturn/keyturn/worker/kmip"
)

// python is Debian's interpreter, which finds Debian's packages whatever else is installed.
const python = "/usr/bin/python3"

// estate is a real PyKMIP server with a key in every state.
type estate struct {
	address string
	tls     *tls.Config
	PreActive, Active, Deactivated,
	Compromised, Destroyed string
	Many []string
}

// startPyKMIP starts a server, on a port and in a folder of its own, and makes keys on it.
func startPyKMIP(t *testing.T, many int) *estate {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import kmip").CombinedOutput(); err != nil {
		t.Fatalf("these tests need a PyKMIP server: apt-get install python3-pykmip (%v: %s)", err, out)
	}
	dir := t.TempDir()
	certs := makeCertificates(t, dir)
	port := freePort(t)
	config := fmt.Sprintf(`[server]
hostname=127.0.0.1
port=%d
certificate_path=%s
key_path=%s
ca_path=%s
auth_suite=TLS1.2
policy_path=%s
enable_tls_client_auth=True
database_path=%s
`, port, certs.path("server.pem"), certs.path("server.key"), certs.path("ca.pem"), dir, filepath.Join(dir, "keys.db"))
	if err := os.WriteFile(filepath.Join(dir, "server.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	server := exec.CommandContext(t.Context(), python, "-m", //nolint:gosec // our own arguments
		"kmip.services.server.server",
		"-f", filepath.Join(dir, "server.conf"), "-l", filepath.Join(dir, "server.log"), "-d", filepath.Join(dir, "keys.db"))
	server.Dir, server.Stderr, server.Stdout = dir, &said, &said
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it starts another process, which holds our pipe
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL) // it may have ended by itself
		_ = server.Wait()
	})
	e := &estate{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), tls: certs.client}
	if err := answers(t.Context(), e.address); err != nil {
		t.Fatalf("PyKMIP does not answer: %v\n%s", err, said.String())
	}
	var complaint bytes.Buffer
	maker := exec.CommandContext(t.Context(), python, "testdata/keys.py", strconv.Itoa(port), //nolint:gosec // our own arguments
		certs.path("client.pem"), certs.path("client.key"), certs.path("ca.pem"), strconv.Itoa(many))
	maker.Stderr = &complaint
	out, err := maker.Output()
	if err != nil {
		t.Fatalf("making keys: %v\n%s", err, complaint.String())
	}
	if err := json.Unmarshal(out, e); err != nil {
		t.Fatalf("making keys: %v\n%s", err, out)
	}
	return e
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

func freePort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was sent
	addr, _ := l.Addr().(*net.TCPAddr)
	return addr.Port
}

func (e *estate) client(t *testing.T, batch int) *kmip.Client {
	t.Helper()
	c, err := kmip.New(kmip.Config{Address: e.address, TLS: e.tls, Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

type certificates struct {
	dir    string
	client *tls.Config
}

func (c certificates) path(name string) string { return filepath.Join(c.dir, name) }

// makeCertificates makes an authority, a server's and a client's certificate.
func makeCertificates(t *testing.T, dir string) certificates {
	t.Helper()
	c := certificates{dir: dir}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := makeKey(t)
	c.write(t, "ca", authority, authority, caKey, caKey)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	c.write(t, "server", server, authority, makeKey(t), caKey)
	client := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "keyturn"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	c.write(t, "client", client, authority, makeKey(t), caKey)
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

func makeKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c certificates) write(t *testing.T, name string, cert, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
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
