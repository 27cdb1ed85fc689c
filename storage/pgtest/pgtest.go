// Package pgtest gives tests a real Postgres: a private server that lives as
// long as the test binary, or the one that KEYTURN_TEST_POSTGRES_URL names.
//
// A test binary starts it once, in TestMain:
//
//	func TestMain(m *testing.M) {
//		server, err := pgtest.Start(context.Background(), migrate)
//		...
//		code := m.Run()
//		server.Stop()
//		os.Exit(code)
//	}
//
// and each test takes a database of its own with server.Database(t).
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// URLVariable names the environment variable with the URL of a server to use instead of a private one.
// Its user must be allowed to create databases.
const URLVariable = "KEYTURN_TEST_POSTGRES_URL"

const startTimeout = time.Minute

// Server is a Postgres for the tests of one binary.
type Server struct {
	url      *url.URL // of the maintenance database
	template string   // the database that every test's is a copy of
	stop     func() error
	private  *private // nil: a server that was given
	ended    <-chan struct{}
}

// Start starts a private server, or connects to the one of URLVariable, and makes the database that
// every test gets a copy of: migrate is called once with its URL, and must have closed all connections
// when it returns. It never skips: without a Postgres the error says how to get one.
func Start(ctx context.Context, migrate func(ctx context.Context, url string) error) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s, err := open(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.makeTemplate(ctx, migrate); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func open(ctx context.Context) (*Server, error) {
	if given := os.Getenv(URLVariable); given != "" {
		u, err := url.Parse(given)
		if err != nil {
			return nil, fmt.Errorf("%s is not a URL such as postgres://user:password@host:5432/postgres", URLVariable)
		}
		return &Server{url: u, stop: func() error { return nil }}, nil
	}
	return startPrivate(ctx)
}

func (s *Server) makeTemplate(ctx context.Context, migrate func(ctx context.Context, url string) error) error {
	s.template = "keyturn_template_" + token()
	if err := s.exec(ctx, "CREATE DATABASE "+s.template); err != nil {
		return fmt.Errorf("creating the template database: %w", err)
	}
	if err := migrate(ctx, s.urlOf(s.template)); err != nil {
		return fmt.Errorf("migrating the template database: %w", err)
	}
	return nil
}

// Database returns the URL of a fresh copy of the migrated database, which is dropped when the test ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	return s.create(t, s.template)
}

// Empty returns the URL of an empty database, which is dropped when the test ends.
func (s *Server) Empty(t testing.TB) string {
	t.Helper()
	return s.create(t, "template1")
}

func (s *Server) create(t testing.TB, template string) string {
	t.Helper()
	name := "keyturn_test_" + token()
	if err := s.exec(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
		t.Fatalf("creating a database for the test: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		if err := s.exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("dropping the test's database: %v", err)
		}
	})
	return s.urlOf(name)
}

// Stop drops the template, ends the server and removes its files. A server that was given goes on.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var dropped error
	if s.template != "" {
		dropped = s.exec(ctx, "DROP DATABASE IF EXISTS "+s.template+" WITH (FORCE)")
	}
	return errors.Join(dropped, s.stop())
}

func (s *Server) urlOf(database string) string {
	u := *s.url
	u.Path = "/" + database
	return u.String()
}

func (s *Server) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.url.String())
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

func token() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return hex.EncodeToString(b[:])
}
