package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"go.uber.org/zap"

	keyturnsql "github.com/keyturn/keyturn/sql"
)

// Migrate brings the schema to the version that this program knows. Replicas may call it at the same
// time: one works, the others wait. A database of a newer version is refused.
func (s *Store) Migrate(ctx context.Context) error {
	return s.withProvider(func(provider *goose.Provider) error {
		have, want, err := versions(ctx, provider)
		if err != nil {
			return err
		}
		if have > want {
			return newerError(have, want)
		}
		results, err := provider.Up(ctx)
		if err != nil {
			return fmt.Errorf("migrating the database: %w", err)
		}
		for _, r := range results {
			s.log.Info("database migrated", zap.Int64("version", r.Source.Version), zap.Duration("took", r.Duration))
		}
		return nil
	})
}

// Version returns the version that the database has and the one that this program knows. have is 0 for an empty database.
func (s *Store) Version(ctx context.Context) (have, want int64, err error) {
	err = s.withProvider(func(provider *goose.Provider) error {
		have, want, err = versions(ctx, provider)
		return err
	})
	return have, want, err
}

func newerError(have, want int64) error {
	return fmt.Errorf("database is at version %d, this keyturn knows %d: run a newer keyturn", have, want)
}

func versions(ctx context.Context, provider *goose.Provider) (have, want int64, err error) {
	sources := provider.ListSources()
	want = sources[len(sources)-1].Version
	have, err = provider.GetDBVersion(ctx)
	if err != nil {
		return 0, want, fmt.Errorf("reading the database's version: %w", err)
	}
	return have, want, nil
}

// withProvider lends a goose provider, which speaks database/sql, on this store's pool.
func (s *Store) withProvider(do func(*goose.Provider) error) (err error) {
	migrations, err := fs.Sub(keyturnsql.Migrations, "postgres/migrations")
	if err != nil {
		return fmt.Errorf("finding the migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("making the migration lock: %w", err)
	}
	conn := stdlib.OpenDBFromPool(s.pool.Pool)
	defer func() { err = errors.Join(err, conn.Close()) }()
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, migrations, goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	return do(provider)
}
