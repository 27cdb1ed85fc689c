package postgres_test

import (
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/storage/postgres"
	"github.com/keyturn/keyturn/worker"
)

// The storage serves every port.
var (
	_ worker.TaskStore     = (*postgres.Store)(nil)
	_ worker.PlanStore     = (*postgres.Store)(nil)
	_ worker.FeedStore     = (*postgres.Store)(nil)
	_ worker.AnnounceStore = (*postgres.Store)(nil)
	_ worker.TriggerStore  = (*postgres.Store)(nil)
	_ scheduler.Store      = (*postgres.Store)(nil)
	_ api.Store            = (*postgres.Store)(nil)
)
