package app

import (
	"context"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/retain"
	"github.com/keyturn/keyturn/internal/web"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/storage/postgres"
	"github.com/keyturn/keyturn/storage/sqlite"
	"github.com/keyturn/keyturn/worker"
)

// Store is a database as a server needs it.
type Store interface {
	worker.Store
	scheduler.Store
	worker.DeliveryStore
	api.Store
	api.DeliveryStore
	api.HookStore
	alerts.Store
	alerts.Raiser
	web.Store
	retain.Store
	// Migrate brings the schema up to date; it refuses a database of a newer version.
	Migrate(ctx context.Context) error
	// Version returns the version of the schema that is there and the one this program has.
	Version(ctx context.Context) (have, want int64, err error)
	Close() error
}

// databaseFile is the embedded database, in the data directory.
const databaseFile = "keyturn.db"

// OpenStore opens the database that the configuration names, without migrating it.
func OpenStore(ctx context.Context, cfg Config, log *zap.Logger) (Store, error) {
	if cfg.DatabaseURL == "" {
		return sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(cfg.DataDir, databaseFile), Logger: log.Named("sqlite")})
	}
	return postgres.Open(ctx, postgres.Config{URL: cfg.DatabaseURL, Logger: log.Named("postgres")})
}
