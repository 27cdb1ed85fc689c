package storm_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	natsUser     = "storm"
	natsPassword = "secret"
)

// process is a program that runs. When this process ends, however it does, so
// does its standard input, and with that the program.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	ended  chan struct{}
	exit   error // why it ended; after ended
	killed sync.Once
}

func start(cmd *exec.Cmd) (*process, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: in, out: bufio.NewScanner(out), ended: make(chan struct{})}
	go func() {
		state, err := cmd.Process.Wait() // and not cmd.Wait, which closes the output under its reader
		p.exit = err
		if err == nil && !state.Success() {
			p.exit = errors.New(state.String())
		}
		close(p.ended)
	}()
	return p, nil
}

// kill ends the process as a crash does, and waits for its end.
func (p *process) kill() {
	p.killed.Do(func() { _ = p.signal(syscall.SIGKILL) })
	<-p.ended
	_ = p.in.Close()
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// died reports whether the process ended by SIGKILL within d.
func (p *process) died(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		return fmt.Errorf("it did not end within %s", d)
	}
	if p.exit == nil {
		return errors.New("it ended by itself, without an error")
	}
	if !strings.Contains(p.exit.Error(), "killed") {
		return fmt.Errorf("it ended by itself: %w", p.exit)
	}
	return nil
}

// natsProcess is a NATS server that can be killed and started again on the same port and files.
type natsProcess struct {
	*process
	store string
	port  int
}

func startNATS(ctx context.Context, store string) (*natsProcess, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	n := &natsProcess{store: store, port: port}
	return n, n.start(ctx)
}

func (n *natsProcess) addr() string { return fmt.Sprintf("127.0.0.1:%d", n.port) }

func (n *natsProcess) start(ctx context.Context) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), os.Args[0]) //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", helperVariable, n.store, n.port))
	cmd.Stderr = os.Stderr
	p, err := start(cmd)
	if err != nil {
		return fmt.Errorf("starting NATS: %w", err)
	}
	n.process = p
	if !p.out.Scan() || p.out.Text() != "ready" {
		return fmt.Errorf("NATS did not start: %q", p.out.Text())
	}
	return nil
}

// Servers keep their ports while they are down. So these are none of those that the kernel gives to whoever asks for any, or for a
// connection: 32768 and up on Linux, 49152 and up on macOS.
const (
	firstPort = 12_000
	allPorts  = 20_000
)

// freePort returns a port that is free now, and that nobody else here is given.
func freePort(ctx context.Context) (int, error) {
	var taken error
	for range 100 { // others on this machine have some
		port := firstPort + int(kit.ports.Add(1)%allPorts)
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
		taken = err
	}
	return 0, fmt.Errorf("looking for a free port: %w", taken)
}

// server is `keyturn serve`, which can be killed and started again.
type server struct {
	*process
	t    testing.TB
	name string
	url  string
	env  []string // settings, KEYTURN_…
	log  string   // its file
	mu   sync.Mutex
}

// newServer prepares a server; nothing runs yet.
func newServer(t testing.TB, name string, set map[string]string) *server {
	t.Helper()
	port, err := freePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &server{t: t, name: name, url: fmt.Sprintf("http://127.0.0.1:%d", port), log: filepath.Join(dir, name+".log")}
	set["KEYTURN_LISTEN"] = fmt.Sprintf("127.0.0.1:%d", port)
	if set["KEYTURN_DATA_DIR"] == "" {
		set["KEYTURN_DATA_DIR"] = filepath.Join(dir, "data")
	}
	set["KEYTURN_TEST_STDIN"] = "1"
	for k, v := range set {
		s.env = append(s.env, k+"="+v)
	}
	t.Cleanup(func() {
		if s.process != nil {
			_ = s.signal(syscall.SIGCONT)
			s.kill()
		}
		if t.Failed() {
			t.Logf("the last lines of %s:\n%s", s.name, s.lastLines(25))
		}
	})
	return s
}

func (s *server) lastLines(n int) string {
	content, _ := os.ReadFile(s.log)
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// launch starts the process. Extra settings hold for this life only.
func (s *server) launch(extra ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil && s.alive() {
		return fmt.Errorf("%s runs already", s.name)
	}
	binary, err := kit.binary()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()                                                // the process has its own
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), binary, "serve") //nolint:gosec // what we have built
	cmd.Env = append(append(os.Environ(), s.env...), extra...)
	cmd.Stderr = log
	s.process, err = start(cmd)
	return err
}

// now is the process that runs, or the last one that did.
func (s *server) now() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// begin starts the process and waits until it serves.
func (s *server) begin(extra ...string) {
	s.t.Helper()
	if err := s.launch(extra...); err != nil {
		s.t.Fatal(err)
	}
	s.ready()
}

func (s *server) ready() {
	s.t.Helper()
	until(s.t, 60*time.Second, s.name+" to be ready", func() bool {
		if !s.alive() {
			s.t.Fatalf("%s ended: %v", s.name, s.exit)
		}
		status, _ := fetch(s.t.Context(), s.url+"/readyz")
		return status == 200
	})
}

// arm arms a crash point of the running process.
func (s *server) arm(at string) {
	s.t.Helper()
	if _, err := fmt.Fprintln(s.in, at); err != nil {
		s.t.Fatalf("arming %s: %v", at, err)
	}
	if !s.out.Scan() || s.out.Text() != "armed" {
		s.t.Fatalf("arming %s: %q", at, s.out.Text())
	}
}

// metric reads a counter of the process, summed over its labels.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	_, body := fetch(s.t.Context(), s.url+"/metrics")
	sum := 0.0
	for line := range bytes.Lines(body) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok && (rest[0] == ' ' || rest[0] == '{') {
			var v float64
			if _, err := fmt.Sscan(string(rest[bytes.LastIndexByte(rest, ' ')+1:]), &v); err == nil {
				sum += v
			}
		}
	}
	return sum
}

// dataDir is where a server keeps its files.
func dataDir(s *server) string {
	for _, line := range s.env {
		if dir, ok := strings.CutPrefix(line, "KEYTURN_DATA_DIR="); ok {
			return dir
		}
	}
	return ""
}
