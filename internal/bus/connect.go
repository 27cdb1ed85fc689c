package bus

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// dialWait bounds one attempt to connect to one server.
const dialWait = 5 * time.Second

// Config says where NATS is and who we are there.
type Config struct {
	// URL is the server's, or those of a cluster separated by commas: nats://HOST:4222, tls://….
	URL string
	// Embedded, when set, is the server to use instead of URL and all credentials.
	Embedded *Embedded
	// RetryConnect makes Connect wait for a server that does not answer, until its context ends.
	RetryConnect bool

	Prefix   string        // of all subjects, upper-cased of all streams; default keyturn
	Name     string        // of this connection, as the server's monitoring shows it; default the prefix
	Replicas int           // of each stream, 1 to 5; default 1
	AckWait  time.Duration // how long a worker may be silent until its messages go to others; default 10s, at least 100ms
	Logger   *zap.Logger   // default: none
	// DiskTasks keeps tasks and wake-ups on the server's disk and not in its memory. That saves handing them out
	// again after a restart of the server, and costs one fsync a task where the server syncs always.
	DiskTasks bool

	// At most one of these is used, in this order.
	CredsFile    string // a JWT and seed, as `nsc` writes it
	NKeySeedFile string
	Token        string
	User         string
	Password     string
	TLS          TLS

	// Lost, when set, is called after a stream had to be created or was found to be another than before: what
	// was in it is gone and should be handed out again. The argument is one of the Stream constants. It is
	// called by Declare, by publishing and by consuming, and should return soon.
	Lost func(stream string)
}

// TLS says whom to trust and who we are. The files are read again at each
// connection, so that certificates can be renewed.
type TLS struct {
	CAFile   string // PEM; empty: the system's authorities
	CertFile string // PEM; with KeyFile
	KeyFile  string
}

func (c Config) withDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, "keyturn")
	c.Name = cmp.Or(c.Name, c.Prefix)
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.AckWait = cmp.Or(c.AckWait, 10*time.Second)
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

func (c Config) check() error {
	if err := checkPrefix(c.Prefix); err != nil {
		return err
	}
	if c.URL == "" && c.Embedded == nil {
		return errors.New("no NATS server to connect to: expected a URL such as nats://127.0.0.1:4222")
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		return fmt.Errorf("%d replicas of a stream: expected 1 to 5", c.Replicas)
	}
	if c.AckWait < 100*time.Millisecond {
		return fmt.Errorf("an acknowledgement wait of %s is too short: expected at least 100ms", c.AckWait)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return errors.New("a TLS client certificate needs both the certificate's file and the key's file")
	}
	for _, file := range []string{c.CredsFile, c.NKeySeedFile, c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile} {
		if file == "" {
			continue
		}
		if _, err := os.ReadFile(file); err != nil { //nolint:gosec // the operator names the file
			return fmt.Errorf("reading the credentials for NATS: %w", err)
		}
	}
	return nil
}

// Connect connects to a server of version 2.12 or newer that has JetStream. From
// then on the connection is restored whenever it breaks, for ever. ctx bounds
// the connecting only. It declares nothing yet: see Declare.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	nc, err := dial(ctx, cfg)
	if err != nil {
		return nil, explain(cfg, err)
	}
	js, err := openJetStream(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("connecting to NATS at %s: %w", cfg.where(), err)
	}
	return newBus(nc, js, cfg), nil
}

func openJetStream(ctx context.Context, nc *nats.Conn) (jetstream.JetStream, error) {
	if v := nc.ConnectedServerVersion(); !newEnough(v) {
		return nil, fmt.Errorf("the server is version %s: 2.12 or newer is needed, for atomic batches", v)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	_, err = js.AccountInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return nil, errors.New("JetStream is off: start the server with -js or `jetstream {}` in its configuration")
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return nil, errors.New("JetStream is off for this account: enable it in the account's configuration")
	case err != nil:
		return nil, fmt.Errorf("asking for JetStream (is $JS.API.INFO allowed to this user?): %w", err)
	}
	return js, nil
}

// newEnough reports whether the server can publish atomic batches that are checked for duplicates.
func newEnough(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, err1 := strconv.Atoi(major)
	y, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (x > 2 || x == 2 && y >= 12)
}

// dial returns a connection that is up. nats.Connect knows no context, so it
// runs aside; its own timeouts end it.
func dial(ctx context.Context, cfg Config) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	up := make(chan struct{}, 1)
	refused := make(chan error, 1)
	dialed := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(cfg.URL, options(cfg, up, refused)...)
		dialed <- result{nc, err}
	}()
	var r result
	select {
	case r = <-dialed:
	case <-ctx.Done():
		go func() {
			if r := <-dialed; r.nc != nil {
				r.nc.Close()
			}
		}()
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	select {
	case <-up:
		return r.nc, nil
	case err := <-refused:
		r.nc.Close()
		return nil, err
	case <-ctx.Done():
		err := cmp.Or(r.nc.LastError(), ctx.Err())
		r.nc.Close()
		return nil, err
	}
}

func options(cfg Config, up chan<- struct{}, refused chan<- error) []nats.Option {
	log := cfg.Logger
	opts := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(dialWait),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(500*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(20 * time.Second),
		nats.RetryOnFailedConnect(cfg.RetryConnect),
		nats.IgnoreAuthErrorAbort(), // credentials may be put right while we run
		nats.ConnectHandler(func(*nats.Conn) { notify(up, struct{}{}) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if isAuth(err) { // no use in waiting; once connected, nobody reads this
				notify(refused, err)
			}
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("the connection to NATS broke; connecting again", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to NATS again", zap.String("server", nc.ConnectedServerName()))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("NATS reported an error", zap.Error(err))
		}),
	}
	if cfg.Embedded != nil {
		return append(opts, cfg.Embedded.clientOptions()...)
	}
	return append(opts, cfg.credentials()...)
}

// notify leaves a note that need not be read.
func notify[T any](c chan<- T, note T) {
	select {
	case c <- note:
	default:
	}
}

func isAuth(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked)
}

func (c Config) credentials() []nats.Option {
	var opts []nats.Option
	switch {
	case c.CredsFile != "":
		opts = append(opts, nats.UserCredentials(c.CredsFile))
	case c.NKeySeedFile != "":
		opts = append(opts, func(o *nats.Options) error {
			opt, err := nats.NkeyOptionFromSeed(c.NKeySeedFile)
			if err != nil {
				return fmt.Errorf("reading the nkey seed %s: %w", c.NKeySeedFile, err)
			}
			return opt(o)
		})
	case c.Token != "":
		opts = append(opts, nats.Token(c.Token))
	case c.User != "":
		opts = append(opts, nats.UserInfo(c.User, c.Password))
	}
	if c.TLS.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.TLS.CAFile))
	}
	if c.TLS.CertFile != "" {
		opts = append(opts, nats.ClientCert(c.TLS.CertFile, c.TLS.KeyFile))
	}
	return opts
}

// explain turns what nats.go says into one line that says what to do.
func explain(cfg Config, err error) error {
	advice := ""
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, wrongHost := errors.AsType[x509.HostnameError](err)
	switch {
	case isAuth(err):
		advice = "the server refused the credentials; check user, token or credentials file"
	case wrongHost:
		advice = "the server's TLS certificate is for another name; use a URL with a name that it has"
	case untrusted:
		advice = "the server's TLS certificate can't be verified; name the file of the authority that signed it"
	case errors.Is(err, nats.ErrSecureConnWanted), record:
		advice = "the server does not speak TLS; leave the TLS settings out, or turn TLS on there"
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		advice = "no server answers; check the URL and that the server runs"
	}
	if advice == "" {
		return fmt.Errorf("connecting to NATS at %s: %w", cfg.where(), err)
	}
	return fmt.Errorf("connecting to NATS at %s: %s: %w", cfg.where(), advice, err)
}

// where names the servers without the secrets that their URLs may hold.
func (c Config) where() string {
	if c.Embedded != nil {
		return "the embedded server"
	}
	servers := strings.Split(c.URL, ",")
	for i, s := range servers {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.Host == "" { // such as localhost:4222
			servers[i] = s[strings.LastIndex(s, "@")+1:]
			continue
		}
		servers[i] = u.Scheme + "://" + u.Host
	}
	return strings.Join(servers, ", ")
}
