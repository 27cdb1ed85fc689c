//go:build !crashpoints

package app

import (
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/worker"
)

// instruments are what tests build into a server with the tag crashpoints
// (docs/testing.md). Here they are nothing.
type instruments struct{}

func newInstruments(*zap.Logger) (instruments, error) { return instruments{}, nil }

func (instruments) worker(cfg worker.Config) worker.Config          { return cfg }
func (instruments) scheduler(cfg scheduler.Config) scheduler.Config { return cfg }
func (instruments) bus(cfg bus.Config) bus.Config                   { return cfg }
func (instruments) alerts(cfg alerts.Config) alerts.Config          { return cfg }
func (instruments) api(store api.Store) api.Store                   { return store }
