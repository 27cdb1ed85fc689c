//go:build crashpoints

package app

import (
	"context"
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/internal/crash"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/worker"
)

// instruments put crash points around every durable step and every outside
// call, shorten the protocol's waits, and break a step on purpose, all as the
// environment says (docs/testing.md). No release is built with them.
type instruments struct {
	points *crash.Points
	waits  crash.Waits
	broken crash.Broken
	makes  crash.Makes
}

func newInstruments(log *zap.Logger) (instruments, error) {
	i := instruments{points: crash.New(log.Named("crash")), makes: crash.Makes(os.Getenv("KEYTURN_TEST_MAKES"))}
	log.Warn("this program is built with the tag crashpoints: it is for tests only")
	var err error
	if i.waits, err = crash.ParseWaits(os.Getenv("KEYTURN_TEST_WAITS")); err != nil {
		return i, fmt.Errorf("KEYTURN_TEST_WAITS: %w", err)
	}
	if i.broken, err = crash.ParseBroken(os.Getenv("KEYTURN_TEST_BROKEN")); err != nil {
		return i, fmt.Errorf("KEYTURN_TEST_BROKEN: %w", err)
	}
	if at := os.Getenv("KEYTURN_TEST_CRASH"); at != "" {
		if err := i.points.Arm(at); err != nil {
			return i, fmt.Errorf("KEYTURN_TEST_CRASH: %w", err)
		}
	}
	if os.Getenv("KEYTURN_TEST_STDIN") != "" {
		go i.points.Listen(os.Stdin, os.Stdout)
	}
	return i, nil
}

func (i instruments) worker(cfg worker.Config) worker.Config {
	return i.points.Worker(i.makes.Worker(i.broken.Worker(i.waits.Worker(cfg))))
}

func (i instruments) alerts(cfg alerts.Config) alerts.Config {
	return i.points.Alerts(i.waits.Alerts(cfg))
}

func (i instruments) scheduler(cfg scheduler.Config) scheduler.Config {
	return i.points.Scheduler(cfg)
}

func (i instruments) bus(cfg bus.Config) bus.Config {
	cfg.AckWait = i.waits.AckWait // 0: the default
	return cfg
}

// api leaves the store as it is, but for requests for rotations.
func (i instruments) api(store api.Store) api.Store {
	return apiStore{Store: store, points: i.points}
}

type apiStore struct {
	api.Store
	points *crash.Points
}

func (s apiStore) Request(ctx context.Context, req keyturn.Request) (keyturn.Rotation, bool, error) {
	s.points.Pass("api.Request.before")
	r, created, err := s.Store.Request(ctx, req)
	s.points.Pass("api.Request.after")
	return r, created, err
}
