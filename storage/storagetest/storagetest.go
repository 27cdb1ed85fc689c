// Package storagetest is the executable contract of a storage: what the ports
// of worker, scheduler and internal/api promise, tried on a real database.
// Every storage runs it from its own tests.
package storagetest

import (
	"context"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/retain"
	"github.com/keyturn/keyturn/internal/web"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/worker"
)

// Store is everything that a storage offers.
type Store interface {
	worker.TaskStore
	worker.PlanStore
	worker.FeedStore
	worker.AnnounceStore
	worker.TriggerStore
	worker.WatchStore
	worker.LookStore
	worker.HealthStore
	worker.DeliveryStore
	scheduler.Store
	api.Store
	api.DeliveryStore
	api.HookStore
	alerts.Store
	alerts.Raiser
	web.Store
	retain.Store

	// Exec runs one SQL statement past the storage, to see whether the schema defends itself and
	// to make states that no port can make. The statements use these names, which both dialects
	// share: tables resources, policies, targets, units, rotations, tasks, task_log, key_records, key_names,
	// announcements, tokens; columns state, started_at, finished_at, requested_at, lease_until,
	// key_before, key_after, intended_at, apply_by, resolution, back, key_id, slot, trigger_id, origin.
	Exec(ctx context.Context, sql string) error
}

// New returns a store on a fresh, migrated database of its own, closed when the test ends. Its
// clock is now, or the database's own if now is nil.
type New func(t *testing.T, now func() time.Time) Store

// Run runs the contract. Every test is parallel and has its own database.
func Run(t *testing.T, newStore func(t *testing.T, now func() time.Time) Store) {
	t.Helper()
	for name, group := range map[string]map[string]func(*testing.T, New){
		"Resources": resourceTests(),
		"Requests":  requestTests(),
		"Schedule":  scheduleTests(),
		"Engine":    engineTests(),
		"Pace":      paceTests(),
		"Windows":   windowTests(),
		"Watch":     watchTests(),
		"Names":     nameTests(),
		"Plan":      planTests(),
		"Parts":     partsTests(),
		"Repoint":   repointTests(),
		"Feed":      feedTests(),
		"Refeed":    refeedTests(),
		"Intend":    intendTests(),
		"Finish":    finishTests(),
		"Take":      takeTests(),
		"Stop":      stopTests(),
		"StopRace":  stopRaceTests(),
		"Resolve":   resolveTests(),
		"Resume":    resumeTests(),
		"Audit":     auditTests(),
		"Announce":  announceTests(),
		"Read":      readTests(),
		"Tokens":    tokenTests(),
		"Webhooks":  webhookTests(),
		"Hooks":     hookTests(),
		"Schema":    schemaTests(),
		"Race":      raceTests(),
		"Backfill":  backfillTests(),
		"Rollout":   rolloutTests(),
		"Observe":   observeTests(),
		"Look":      lookTests(),
		"Alerts":    alertTests(),
		"Attempts":  attemptTests(),
		"Pages":     pageTests(),
		"Sessions":  sessionTests(),
		"Overview":  overviewTests(),
		"Make":      makeTests(),
		"Retained":  retainedTests(),
		"KeyJobs":   keyJobTests(),
		"KeyStates": keyStateTests(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, test := range group {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, newStore)
				})
			}
		})
	}
}
