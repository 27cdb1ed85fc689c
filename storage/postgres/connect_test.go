package postgres_test

import (
	"context"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/storage/postgres"
)

const secret = "s3cret-of-the-test"

func TestOpen(t *testing.T) {
	t.Parallel()
	good, err := url.Parse(server.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*url.URL)) string {
		u := *good
		change(&u)
		return u.String()
	}
	for name, tc := range map[string]struct{ url, want string }{
		"SaysThatTheServerIsUnreachable": {
			with(func(u *url.URL) { u.Host = closedPort(t); u.User = url.UserPassword("keyturn", secret) }), "can't be reached",
		},
		"SaysThatThePasswordIsWrong": {
			with(func(u *url.URL) { u.User = url.UserPassword("keyturn", secret) }), `refused user "keyturn"`,
		},
		"SaysThatTheDatabaseIsMissing":    {with(func(u *url.URL) { u.Path = "/nowhere" }), `has no database "nowhere"`},
		"SaysThatTheURLCanNotBeRead":      {"postgres://keyturn:" + secret + "@host:port/db", "can't be read"},
		"SaysThatAnOptionIsNotUnderstood": {with(func(u *url.URL) { u.RawQuery = "sslmode=perhaps" }), "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := postgres.Open(t.Context(), postgres.Config{URL: tc.url})
			if err == nil {
				_ = store.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %q, want it to say %q", err, tc.want)
			}
			if strings.Contains(err.Error(), secret) || strings.ContainsRune(err.Error(), '\n') {
				t.Errorf("error %q tells the password, or is more than a line", err)
			}
		})
	}
}

// closedPort returns an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

func TestPing_SaysThatTheDatabaseIsReadOnly(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("default_transaction_read_only", "on")
	u.RawQuery = query.Encode()
	store, err := postgres.Open(t.Context(), postgres.Config{URL: u.String()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if err := store.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("error is %v, want that it is read-only", err)
	}
}

func TestConnections_CommitDurablyWhateverTheDatabaseSays(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"off": "on", "on": "on", "remote_apply": "remote_apply"} {
		cfg, err := pgx.ParseConfig(server.Empty(t))
		if err != nil {
			t.Fatal(err)
		}
		cfg.RuntimeParams["synchronous_commit"] = given
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		if err := postgres.Prepare(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := conn.QueryRow(t.Context(), `SHOW synchronous_commit`).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("synchronous_commit %s became %s, want %s", given, got, want)
		}
	}
}
