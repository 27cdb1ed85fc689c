package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/internal/filelock"
)

// readyWait is how long the embedded server may take to accept clients once it has loaded what it stored.
const readyWait = 5 * time.Second

// EmbeddedConfig is what the server inside this process needs.
type EmbeddedConfig struct {
	// StoreDir is the folder of JetStream's files; it is created. It is locked while the server runs.
	StoreDir string
	// Listen is HOST:PORT where other NATS clients may connect, port 0 for any free one; empty: no port.
	Listen string
	// User and Password are those of the other clients; needed with Listen. They may publish triggers,
	// and read events and dead letters.
	User     string
	Password string
	// Prefix is that of the bus's Config; default keyturn.
	Prefix string
	// MaxStore bounds the files, in bytes; default 4 GiB. The event stream reserves 512 MiB of it.
	MaxStore int64
	Logger   *zap.Logger // default: none
}

// Embedded is a NATS server inside this process.
type Embedded struct {
	server *server.Server
	lock   *filelock.Lock
	user   string // of connections from inside; made up at each start
	secret string
	stop   func() error
}

// StartEmbedded starts a JetStream server that syncs each write to the disk. A
// second server on the same folder is refused with a *filelock.HeldError.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "keyturn"
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	e := &Embedded{user: "inside-" + rand.Text(), secret: rand.Text()}
	opts, err := e.options(cfg)
	if err != nil {
		return nil, fmt.Errorf("starting the embedded NATS server: %w", err)
	}
	if err := os.MkdirAll(cfg.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the folder of the embedded NATS server: %w", err)
	}
	if e.lock, err = filelock.Acquire(filepath.Join(cfg.StoreDir, "nats.lock")); err != nil {
		return nil, fmt.Errorf("starting the embedded NATS server: %w", err)
	}
	if err := e.start(ctx, opts, cfg.Logger); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the embedded NATS server: %w", err), e.lock.Release())
	}
	e.stop = sync.OnceValue(func() error {
		e.server.Shutdown()
		e.server.WaitForShutdown()
		return e.lock.Release()
	})
	return e, nil
}

func (e *Embedded) options(cfg EmbeddedConfig) (*server.Options, error) {
	maxStore := cfg.MaxStore
	if maxStore == 0 {
		maxStore = 4 << 30
	}
	opts := &server.Options{
		ServerName:         cfg.Prefix + "-embedded",
		DontListen:         true,
		NoSigs:             true,
		JetStream:          true,
		StoreDir:           cfg.StoreDir,
		SyncAlways:         true,
		JetStreamMaxStore:  maxStore,
		JetStreamMaxMemory: 256 << 20,
		Users:              []*server.User{{Username: e.user, Password: e.secret}},
	}
	if cfg.Listen == "" {
		return opts, nil
	}
	if cfg.User == "" || cfg.Password == "" {
		return nil, errors.New("listening needs a user and a password for the other clients")
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: expected HOST:PORT: %w", cfg.Listen, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: the port is not a number up to 65535", cfg.Listen)
	}
	opts.DontListen, opts.Host, opts.Port = false, host, int(number)
	if number == 0 {
		opts.Port = server.RANDOM_PORT
	}
	opts.Users = append(opts.Users, &server.User{Username: cfg.User, Password: cfg.Password, Permissions: outside(cfg.Prefix)})
	return opts, nil
}

// outside is what clients on the port may do: ask for rotations, read what
// happened, and nothing that takes work away from the workers.
func outside(prefix string) *server.Permissions {
	topo := topology{prefix: prefix}
	publish := []string{topo.triggers(), "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.*"}
	for _, kind := range []string{StreamEvent, StreamDeadLetter} {
		name := topo.streamName(kind)
		publish = append(publish,
			"$JS.API.STREAM.MSG.GET."+name,
			"$JS.API.DIRECT.GET."+name,
			"$JS.API.DIRECT.GET."+name+".>",
			"$JS.API.CONSUMER.*."+name,
			"$JS.API.CONSUMER.*."+name+".>",
			"$JS.API.CONSUMER.MSG.NEXT."+name+".>",
			"$JS.API.CONSUMER.DURABLE.CREATE."+name+".>",
			"$JS.ACK."+name+".>",     // the subject of acknowledgements,
			"$JS.ACK.*.*."+name+".>", // and its newer form with domain and account
			"$JS.FC."+name+".>",
		)
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{topo.events("") + ">", topo.deadLetters("") + ">", "_INBOX.>"}},
	}
}

func (e *Embedded) start(ctx context.Context, opts *server.Options, log *zap.Logger) error {
	ns, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	fatal := make(chan string, 1)
	ns.SetLoggerV2(serverLog{log: log.Sugar(), fatal: fatal}, false, false, false)
	started := make(chan struct{})
	go func() {
		ns.Start()
		close(started)
	}()
	select {
	case <-started:
		err = ready(ns, fatal)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return err
	}
	e.server = ns
	return nil
}

// ready answers nil when the server that was started serves clients.
func ready(ns *server.Server, fatal <-chan string) error {
	select {
	case text := <-fatal:
		return errors.New(text)
	default:
	}
	if !ns.ReadyForConnections(readyWait) {
		return fmt.Errorf("it was not ready after %s", readyWait)
	}
	return nil
}

// clientOptions make a connection that goes through no socket. Its inboxes are
// out of reach for other clients.
func (e *Embedded) clientOptions() []nats.Option {
	return []nats.Option{
		nats.InProcessServer(e.server),
		nats.UserInfo(e.user, e.secret),
		nats.CustomInboxPrefix("_INSIDE"),
	}
}

// Addr returns HOST:PORT where other clients may connect; empty: nowhere.
func (e *Embedded) Addr() string {
	if addr, ok := e.server.Addr().(*net.TCPAddr); ok {
		return addr.String()
	}
	return ""
}

// Shutdown stops the server and gives its folder free. Every Bus on it must be closed before.
// When ctx ends it goes on stopping, unattended. It may be repeated.
func (e *Embedded) Shutdown(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- e.stop() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stopping the embedded NATS server: %w", ctx.Err())
	}
}

// serverLog is the embedded server's logger. What the server calls fatal would
// end a process of its own; here it ends the start.
type serverLog struct {
	log   *zap.SugaredLogger
	fatal chan<- string
}

func (l serverLog) Noticef(format string, v ...any) { l.log.Debugf(format, v...) }

func (l serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords") {
		return // about configuration files: ours are made up at each start, or come from a reference
	}
	l.log.Warnf(format, v...)
}

func (l serverLog) Errorf(format string, v ...any) { l.log.Errorf(format, v...) }
func (l serverLog) Debugf(format string, v ...any) { l.log.Debugf(format, v...) }
func (l serverLog) Tracef(format string, v ...any) { l.log.Debugf(format, v...) }

func (l serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error(text)
	select {
	case l.fatal <- text:
	default:
	}
}
