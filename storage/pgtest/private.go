package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// keeper runs Postgres and cleans up after it, also when the test process is killed: then the kernel
// sends it SIGTERM (Pdeathsig). SIGQUIT is Postgres's immediate shutdown. A server that was
// taken down (Server.Down) is started again when the file "down" is gone.
const keeper = `dir=$1; shift
stop() { trap '' TERM INT; kill -QUIT "$pid" 2>/dev/null; wait "$pid"; rm -rf "$dir"; exit 0; }
trap stop TERM INT
while :; do
	"$@" >>"$dir/log" 2>&1 &
	pid=$!
	wait "$pid"
	[ -e "$dir/down" ] || exit
	while [ -e "$dir/down" ]; do sleep 0.05; done
done`

// startPrivate makes a cluster in a temporary directory and runs it on a unix socket and a free port of
// 127.0.0.1, as an unprivileged user if the tests run as root, which Postgres refuses to.
func startPrivate(ctx context.Context) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keyturn-pg-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the server: %w", err)
	}
	who, err := unprivileged(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p := &private{bin: bin, dir: dir, who: who, password: token() + token()}
	server, err := p.start(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a private Postgres: %w", err), os.RemoveAll(dir))
	}
	return server, nil
}

// binaries finds the newest installed server.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", fmt.Errorf("looking for Postgres: %w", err)
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) > 0 {
		return filepath.Dir(found[0]), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", fmt.Errorf("the tests need a real Postgres: install one (apt-get install postgresql) or set %s", URLVariable)
	}
	return filepath.Dir(path), nil
}

func version(path string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	if err != nil {
		return 0
	}
	return n
}

// unprivileged returns who the server must run as, and gives that user the directory; nil: as ourselves.
func unprivileged(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is the answer
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("finding an unprivileged user for Postgres: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s has the id %q: %w", u.Username, u.Uid, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s has the group %q: %w", u.Username, u.Gid, err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, fmt.Errorf("giving the server its directory: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

type private struct {
	bin, dir, password string
	who                *syscall.Credential
}

func (p *private) start(ctx context.Context) (*Server, error) {
	data, passwordFile := filepath.Join(p.dir, "data"), filepath.Join(p.dir, "password")
	if err := p.writeForServer(passwordFile, p.password); err != nil {
		return nil, err
	}
	initdb := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), "--pgdata", data, "--username", "keyturn", "--pwfile", passwordFile, //nolint:gosec // an installed binary and our own paths
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: p.who}
	initdb.Dir = p.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	stop, ended, err := p.run(data, port)
	if err != nil {
		return nil, err
	}
	u := &url.URL{
		Scheme: "postgres", User: url.UserPassword("keyturn", p.password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path: "/postgres", RawQuery: "sslmode=disable",
	}
	if err := p.ready(ctx, u.String(), ended); err != nil {
		return nil, errors.Join(err, stop())
	}
	return &Server{url: u, stop: stop, private: p, ended: ended}, nil
}

func (p *private) writeForServer(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return fmt.Errorf("writing the server's password: %w", err)
	}
	if p.who == nil {
		return nil
	}
	if err := os.Chown(path, int(p.who.Uid), int(p.who.Gid)); err != nil {
		return fmt.Errorf("giving the server its password: %w", err)
	}
	return nil
}

// freePort asks the kernel for a port that is free now.
func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil || !ok {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	return address.Port, nil
}

// run runs the server until stop is called; ended is closed when it has ended.
func (p *private) run(data string, port int) (stop func() error, ended <-chan struct{}, err error) {
	//nolint:gosec,noctx // an installed binary and our own paths; it outlives every context and is ended by stop
	cmd := exec.Command("/bin/sh", "-c", keeper, "keeper", p.dir,
		filepath.Join(p.bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories="+p.dir, "-c", "max_connections=200", "-c", "fsync=on")
	cmd.Dir = p.dir
	cmd.SysProcAttr = endWithUs(p.who)
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The kernel sends Pdeathsig when the thread that started the child ends: keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its end is what matters; ready reports its log
		}
	}()
	if err := <-started; err != nil {
		return nil, nil, fmt.Errorf("running postgres: %w", err)
	}
	stop = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
		<-done
		if err := os.RemoveAll(p.dir); err != nil {
			return fmt.Errorf("removing the server's files: %w", err)
		}
		return nil
	}
	return stop, done, nil
}

// ready waits until the server answers.
func (p *private) ready(ctx context.Context, url string, ended <-chan struct{}) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-ended:
			log, _ := os.ReadFile(filepath.Join(p.dir, "log")) // without it the error says less
			return fmt.Errorf("postgres ended: %s", bytes.TrimSpace(log))
		case <-ctx.Done():
			return fmt.Errorf("waiting for postgres: %w", err)
		}
	}
}
