// Package bench measures the whole path of a rotation (event, plan, fan-out,
// intent, change, confirmation, record) against a bare loop that only sends the
// same GET, PUT, GET with the same transport to the same simulator.
//
//	go tool task bench
package bench_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/app"
	"github.com/keyturn/keyturn/internal/client"
	"github.com/keyturn/keyturn/internal/simulator"
	"github.com/keyturn/keyturn/storage/pgtest"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

const inFlight = 256

// BenchmarkRotation turns every key of an estate once an iteration and reports
// units/s; for the whole path also the requests a unit took.
func BenchmarkRotation(b *testing.B) {
	// The heap is collected as ever: the simulated estate is in it, too, so to keep it as small as a
	// server keeps its own would say nothing about a server.
	for _, latency := range []time.Duration{0, 20 * time.Millisecond} {
		for _, units := range []int{5_000, 20_000} {
			name := fmt.Sprintf("latency=%s/units=%d", latency, units)
			b.Run(name+"/path=bare", func(b *testing.B) { bare(b, startSimulator(b, units, latency), units) })
			b.Run(name+"/path=sqlite", func(b *testing.B) { whole(b, startSimulator(b, units, latency), units, "") })
			b.Run(name+"/path=postgres", func(b *testing.B) {
				whole(b, startSimulator(b, units, latency), units, startPostgres(b).Empty(b))
			})
		}
	}
}

func startPostgres(b *testing.B) *pgtest.Server {
	b.Helper()
	pg, err := pgtest.Start(b.Context(), func(context.Context, string) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			b.Error(err)
		}
	})
	return pg
}

func startSimulator(b *testing.B, units int, latency time.Duration) *simulator.Server {
	b.Helper()
	sim, err := simulator.Start(b.Context(), simulator.Config{Estate: simulator.EstateOf(units), Latency: latency})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = sim.Close() })
	return sim
}

// bare is the loop that Keyturn is measured against: no database, no queue, no record.
func bare(b *testing.B, sim *simulator.Server, units int) {
	b.Helper()
	sys, err := opsmanager.New(opsmanager.Config{
		Target: keyturn.Target{
			Name: "om", URL: sim.URL, Limits: keyturn.Limits{Concurrency: inFlight},
		}.WithDefaults(),
		PublicKey: sim.PublicKey, PrivateKey: sim.PrivateKey, Logger: zap.NewNop(),
	})
	if err != nil {
		b.Fatal(err)
	}
	found, err := sys.Discover(b.Context(), keyturn.Selection{})
	if err != nil || len(found) != units {
		b.Fatalf("%d units, %v", len(found), err)
	}
	var took time.Duration
	meter := startMeter(b)
	for b.Loop() {
		begin := time.Now()
		var next atomic.Int64
		var loops sync.WaitGroup
		for range inFlight {
			loops.Go(func() {
				for i := next.Add(1) - 1; i < int64(units); i = next.Add(1) - 1 {
					if err := turn(b.Context(), sys, found[i].ID); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		loops.Wait()
		took += time.Since(begin)
	}
	meter.report(b.N * units)
	b.ReportMetric(float64(b.N*units)/took.Seconds(), "units/s")
	b.ReportMetric(0, "ns/op")
}

// meter measures the processor time and the allocations of whatever runs in this process, the simulator
// included, and the processor time of the database's processes.
type meter struct {
	b          *testing.B
	own, below time.Duration
	memory     runtime.MemStats
}

func startMeter(b *testing.B) *meter {
	b.Helper()
	m := &meter{b: b}
	runtime.ReadMemStats(&m.memory)
	m.own, m.below = spent(b)
	return m
}

func (m *meter) report(units int) {
	m.b.Helper()
	own, below := spent(m.b)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	m.b.ReportMetric(float64((own-m.own).Microseconds())/float64(units), "cpu-µs/unit")
	m.b.ReportMetric(float64((below-m.below).Microseconds())/float64(units), "db-cpu-µs/unit")
	m.b.ReportMetric(float64(memory.Mallocs-m.memory.Mallocs)/float64(units), "allocs/unit")
}

func turn(ctx context.Context, sys *opsmanager.Client, unit string) error {
	intent, err := sys.Prepare(ctx, unit, keyturn.ID{})
	if err != nil {
		return err
	}
	if err := sys.Apply(ctx, unit, intent); err != nil {
		return err
	}
	key, err := sys.Current(ctx, unit)
	if err != nil {
		return err
	}
	if !intent.ChangedBy(key) {
		return fmt.Errorf("unit %s still has key %s", unit, key)
	}
	return nil
}

// whole runs a server as `keyturn serve` does and asks for a rotation by its API.
func whole(b *testing.B, sim *simulator.Server, units int, database string) {
	b.Helper()
	c := startServer(b, sim, database)
	requests := sim.Stats().Requests
	var took, planned time.Duration
	var rotations []keyturn.Rotation
	turned := 0
	meter := startMeter(b)
	for b.Loop() {
		r, err := c.Rotate(b.Context(), client.RotationRequest{Policy: "all", ID: fmt.Sprintf("bench-%d", turned)})
		if err != nil {
			b.Fatal(err)
		}
		for !r.State.Final() {
			wait(b, 500*time.Millisecond) // half as often as `keyturn rotate --wait` looks
			if r, err = newest(b.Context(), c); err != nil {
				b.Fatal(err)
			}
		}
		if r.State != keyturn.RotationSucceeded || r.Counts.Succeeded != units {
			b.Fatalf("rotation %s: %+v", r.State, r.Counts)
		}
		took += r.FinishedAt.Sub(r.RequestedAt) // from the event to all recorded, by the database's clock
		rotations = append(rotations, r)
		turned += units
	}
	meter.report(turned)
	for _, r := range rotations {
		planned += planTime(b, c, r)
	}
	b.ReportMetric(float64(turned)/took.Seconds(), "units/s")
	b.ReportMetric(planned.Seconds()/float64(b.N), "plan-s")
	b.ReportMetric(float64(sim.Stats().Requests-requests)/float64(turned), "requests/unit")
	b.ReportMetric(0, "ns/op")
	if got := sim.Stats().Processed; got != int64(turned) {
		b.Errorf("%d keys turned, want %d", got, turned)
	}
}

// planTime is the time from the event to the first intent: asking the target and writing the tasks down.
func planTime(b *testing.B, c *client.Client, r keyturn.Rotation) time.Duration {
	b.Helper()
	tasks, err := c.Tasks(b.Context(), r.ID.String())
	if err != nil {
		b.Fatal(err)
	}
	first := *r.FinishedAt
	for _, t := range tasks {
		if t.StartedAt.Before(first) {
			first = *t.StartedAt
		}
	}
	return first.Sub(r.RequestedAt)
}

func newest(ctx context.Context, c *client.Client) (keyturn.Rotation, error) {
	all, err := c.Rotations(ctx, "all", "", 1)
	if err != nil {
		return keyturn.Rotation{}, err
	}
	return all[0], nil
}

func startServer(b *testing.B, sim *simulator.Server, database string) *client.Client {
	b.Helper()
	dir := b.TempDir()
	cfg, err := app.LoadConfig("", func() []string { return nil }, map[string]any{
		"data_dir": dir, "listen": "127.0.0.1:0", "database_url": database,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	server, err := app.Open(ctx, cfg, "bench", zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	token, err := os.ReadFile(server.AdminTokenFile())
	if err != nil {
		b.Fatal(err)
	}
	c, err := client.New(client.Config{Server: server.URL(), Token: strings.TrimSpace(string(token))})
	if err != nil {
		b.Fatal(err)
	}
	apply(b, c, sim, dir)
	return c
}

func apply(b *testing.B, c *client.Client, sim *simulator.Server, dir string) {
	b.Helper()
	public, private := filepath.Join(dir, "public"), filepath.Join(dir, "private")
	for file, key := range map[string]string{public: sim.PublicKey, private: sim.PrivateKey} {
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	_, err := c.Apply(b.Context(), client.ApplyRequest{Documents: []client.Document{{Name: "bench.yaml", Content: fmt.Sprintf(`apiVersion: keyturn/v1
kind: Target
name: om
spec:
  system: ops-manager
  url: %s
  credentials: {publicKey: "file:%s", privateKey: "file:%s"}
  limits: {concurrency: %d}
---
apiVersion: keyturn/v1
kind: Policy
name: all
spec: {target: om}
`, sim.URL, public, private, inFlight)}}})
	if err != nil {
		b.Fatal(err)
	}
}

func wait(b *testing.B, d time.Duration) {
	b.Helper()
	select {
	case <-time.After(d):
	case <-b.Context().Done():
		b.Fatal(b.Context().Err())
	}
}
