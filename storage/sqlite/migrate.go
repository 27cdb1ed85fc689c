package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	keyturnsql "github.com/keyturn/keyturn/sql"
)

// Migrate brings the schema to the version of this program. It refuses a database of a newer version.
func (s *Store) Migrate(ctx context.Context) error {
	return s.goose(ctx, func(provider *goose.Provider) error {
		have, want, err := provider.GetVersions(ctx)
		if err != nil {
			return fmt.Errorf("reading the version of the database %s: %w", s.path, err)
		}
		if have > want {
			return fmt.Errorf("database is at version %d, this keyturn knows %d: run a newer keyturn", have, want)
		}
		if _, err := provider.Up(ctx); err != nil {
			return fmt.Errorf("migrating the database %s from version %d to %d: %w", s.path, have, want, err)
		}
		return nil
	})
}

// Version returns the version of the database's schema and the one that this program needs.
func (s *Store) Version(ctx context.Context) (have, want int64, err error) {
	err = s.goose(ctx, func(provider *goose.Provider) error {
		have, want, err = provider.GetVersions(ctx)
		if err != nil {
			return fmt.Errorf("reading the version of the database %s: %w", s.path, err)
		}
		return nil
	})
	return have, want, err
}

// goose calls fn with what knows the migrations, on a connection of its own: the one that
// writes is never given away.
func (s *Store) goose(ctx context.Context, fn func(*goose.Provider) error) (err error) {
	files, err := fs.Sub(keyturnsql.Migrations, "sqlite/migrations")
	if err != nil {
		return fmt.Errorf("finding the migrations: %w", err)
	}
	db, err := pool(ctx, s.path, 1, forWriting())
	if err != nil {
		return fmt.Errorf("opening the database %s to migrate it: %w", s.path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	return fn(provider)
}
