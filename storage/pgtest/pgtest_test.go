package pgtest_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/storage/pgtest"
)

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var out string
	if err := conn.QueryRow(t.Context(), sql).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestServer_GivesEachTestACopyAndCleansUp(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context(), func(ctx context.Context, url string) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, `CREATE TABLE things AS SELECT 'migrated' AS name`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var dir string
	t.Run("databases", func(t *testing.T) {
		one, two := server.Database(t), server.Database(t)
		if one == two {
			t.Fatalf("two databases with the URL %s", one)
		}
		if got := query(t, one, `UPDATE things SET name = 'mine' RETURNING name`); got != "mine" {
			t.Errorf("got %q", got)
		}
		if got := query(t, two, `SELECT name FROM things`); got != "migrated" {
			t.Errorf("the second database says %q: it is not a copy of its own", got)
		}
		if got := query(t, one, `SHOW fsync`); got != "on" {
			t.Errorf("fsync is %s", got)
		}
		dir = strings.TrimSuffix(query(t, one, `SHOW data_directory`), "/data")
	})
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(pgtest.URLVariable) != "" {
		return // a server that was given keeps its files
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("files of the server are left in %s: %v", dir, err)
	}
}

func TestServer_GoesDownAndUpWithWhatWasCommitted(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context(), func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	if !server.Private() {
		if err := server.Down(t.Context()); err == nil {
			t.Error("a server that was given was taken down")
		}
		return
	}
	url := server.Empty(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `CREATE TABLE kept AS SELECT 'kept' AS name`); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		_ = conn.Close(t.Context())
		t.Error("it answers although it is down")
	}
	if err := server.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := query(t, url, `SELECT name FROM kept`); got != "kept" {
		t.Errorf("got %q", got)
	}
}
