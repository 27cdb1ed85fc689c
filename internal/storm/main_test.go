package storm_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/keyturn/keyturn/storage/pgtest"
)

// helperVariable makes this test binary a NATS server: its store's folder and port.
const helperVariable = "KEYTURN_STORM_NATS"

// shared is what the tests of this binary have in common; each part is made when it is first used.
type shared struct {
	dir      string
	binary   func() (string, error)
	postgres func() (*pgtest.Server, error)
	nats     func() (*natsProcess, error)
	prefixes atomic.Int64 // that were given out
	ports    atomic.Int64 // the same, from anywhere: other runs may be at it
	heavy    sync.Mutex   // held by a test that takes much of the machine
}

// alone waits until no other test that takes much of the machine runs: beside the many that mostly wait, one does.
func alone(t *testing.T) {
	t.Helper()
	kit.heavy.Lock()
	t.Cleanup(kit.heavy.Unlock)
}

// atOnce is how many tests run at once for each processor, unless -parallel says something else.
const atOnce = 5

var kit *shared

func TestMain(m *testing.M) {
	if what := os.Getenv(helperVariable); what != "" {
		if err := runNATS(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		// These tests wait for processes: far more of them than there are processors may run side by side.
		if err := flag.Set("test.parallel", strconv.Itoa(atOnce*runtime.GOMAXPROCS(0))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "keyturn-storm-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var pg *pgtest.Server
	var ns *natsProcess
	kit = &shared{
		dir:    dir,
		binary: sync.OnceValues(func() (string, error) { return build(dir) }),
		postgres: sync.OnceValues(func() (*pgtest.Server, error) {
			var err error
			pg, err = startPostgres(context.Background())
			return pg, err
		}),
		nats: sync.OnceValues(func() (*natsProcess, error) {
			var err error
			ns, err = startNATS(context.Background(), filepath.Join(dir, "nats"))
			return ns, err
		}),
	}
	kit.ports.Store(rand.Int64N(allPorts))
	code = m.Run()
	if ns != nil {
		ns.kill()
	}
	if pg != nil {
		err = pg.Stop()
	}
	return code, err
}

// build builds the program as it is released, but for its crash points.
func build(dir string) (string, error) {
	path := filepath.Join(dir, "keyturn")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-tags", "crashpoints", "-o", path, "../../cmd/keyturn") //nolint:gosec // the path is ours
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building keyturn: %w\n%s", err, out)
	}
	return path, nil
}

func startPostgres(ctx context.Context) (*pgtest.Server, error) {
	return pgtest.Start(ctx, func(context.Context, string) error { return nil })
}

// runNATS is a NATS server until its standard input ends, which it does with
// the process that started it.
func runNATS(what string) error {
	store, port, _ := strings.Cut(what, " ")
	opts := &natsserver.Options{
		ServerName: "storm", Host: "127.0.0.1", JetStream: true, StoreDir: store, NoSigs: true, NoLog: true,
		JetStreamMaxStore: 1 << 40, // each server's streams may grow to half a GB, which they don't; a small disk will do
		Username:          natsUser, Password: natsPassword,
	}
	if _, err := fmt.Sscan(port, &opts.Port); err != nil {
		return err
	}
	ns, err := natsserver.NewServer(opts)
	if err != nil {
		return err
	}
	ns.Start()
	if !ns.ReadyForConnections(20 * time.Second) {
		return errors.New("NATS did not start")
	}
	fmt.Fprintln(os.Stdout, "ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	ns.Shutdown()
	return err
}
