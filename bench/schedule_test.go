package bench_test

import (
	"context"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/internal/heap"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/storage/postgres"
	"github.com/keyturn/keyturn/storage/sqlite"
)

const (
	manyPolicies = 1_000_000
	fewPolicies  = 10_000 // of the embedded database
	// untilDue is how far ahead slots are put, so that no scheduler is late before it has begun.
	untilDue = 3 * time.Second
)

// BenchmarkSchedule measures how late slots are: from the slot to the acknowledgement of the message that
// wakes a planner. The policies that are not due are there all the time.
func BenchmarkSchedule(b *testing.B) {
	cases := []struct {
		name       string
		due        int
		over       time.Duration // the slots are spread over this time; 0: all at one instant
		schedulers int
	}{
		{"1000-a-second/schedulers=1", 20_000, 20 * time.Second, 1},
		{"1000-a-second/schedulers=5", 20_000, 20 * time.Second, 5},
		{"100000-in-a-second/schedulers=1", 100_000, 0, 1},
		{"100000-in-a-second/schedulers=5", 100_000, 0, 5},
	}
	b.Run("postgres", func(b *testing.B) {
		pg := seedPostgres(b, manyPolicies)
		for _, c := range cases {
			b.Run(c.name, func(b *testing.B) {
				for b.Loop() {
					pg.clear(b)
					slots := pg.makeDue(b, c.due, c.over)
					measureSlots(b, pg.open, slots, c.schedulers, pg.fired)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
		b.Run("1000-a-second/schedulers=5/killed", func(b *testing.B) {
			for b.Loop() {
				pg.clear(b)
				measureKilled(b, pg, pg.makeDue(b, 20_000, 20*time.Second), 5)
			}
			b.ReportMetric(0, "ns/op")
		})
	})
	b.Run("sqlite/1000-a-second", func(b *testing.B) {
		for b.Loop() {
			store, slots := seedSQLite(b, fewPolicies, 10*time.Second)
			measureSlots(b, func(*testing.B) timedStore { return timedStore{store} }, slots, 1, nil)
		}
		b.ReportMetric(0, "ns/op")
	})
	b.Run("sqlite/10000-in-a-second", func(b *testing.B) {
		for b.Loop() {
			store, slots := seedSQLite(b, fewPolicies, 0)
			measureSlots(b, func(*testing.B) timedStore { return timedStore{store} }, slots, 1, nil)
		}
		b.ReportMetric(0, "ns/op")
	})
}

// schedules is the database of many policies.
type schedules struct {
	url   string
	conn  *pgx.Conn
	round int
}

func seedPostgres(b *testing.B, n int) *schedules {
	b.Helper()
	url := startPostgres(b).Empty(b)
	store, err := postgres.Open(b.Context(), postgres.Config{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	if err := store.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	s := &schedules{url: url, conn: conn}
	s.exec(b, `INSERT INTO resources (kind, name, spec, generation, created_at, updated_at) VALUES ('Target', 'om', '{}', 1, now(), now())`)
	s.exec(b, `INSERT INTO resources (kind, name, spec, generation, created_at, updated_at)
		SELECT 'Policy', 'policy-' || i, '{"target":"om","schedule":{"cron":"0 2 1 */3 *","timezone":"Europe/Berlin"}}', 1, now(), now()
		FROM generate_series(1, $1::integer) i`, n)
	// As the store writes it when the policies are applied.
	s.exec(b, `INSERT INTO timetables (id, schedule) VALUES (1, '{"cron":"0 2 1 */3 *","timezone":"Europe/Berlin"}')`)
	s.exec(b, `INSERT INTO policies (name, target, timetable, next_local, next_timezone, next_at, wake_at)
		SELECT 'policy-' || i, 'om', 1, '2099-01-01T02:00:00', 'Europe/Berlin', now() + interval '10 years', now() + interval '10 years'
		FROM generate_series(1, $1::integer) i`, n)
	s.exec(b, `VACUUM ANALYZE resources, policies`)
	return s
}

func (s *schedules) exec(b *testing.B, sql string, args ...any) {
	b.Helper()
	if _, err := s.conn.Exec(b.Context(), sql, args...); err != nil {
		b.Fatal(err)
	}
}

// clear takes away what the last round left.
func (s *schedules) clear(b *testing.B) {
	b.Helper()
	s.exec(b, `TRUNCATE rotations, announcements CASCADE`)
	s.exec(b, `VACUUM ANALYZE policies`)
}

// makeDue puts the slots of policies from all over the table a little ahead.
func (s *schedules) makeDue(b *testing.B, n int, over time.Duration) int {
	b.Helper()
	s.round++
	s.exec(b, `UPDATE policies p SET next_local = 'bench-' || $3::integer, next_at = d.at, wake_at = d.at
		FROM (SELECT 'policy-' || (i::bigint * 7919 % $4::integer + 1) AS name, clock_timestamp() + $5::bigint * interval '1 microsecond'
			+ (i::double precision / $1::integer * $2::bigint) * interval '1 microsecond' AS at
			FROM generate_series(1, $1::integer) i) d
		WHERE p.name = d.name`, n, over.Microseconds(), s.round, manyPolicies, (untilDue + time.Duration(n)*20*time.Microsecond).Microseconds())
	if over == 0 { // at one instant, however long the statement took
		s.exec(b, `UPDATE policies SET next_at = t.at, wake_at = t.at FROM (SELECT now() + interval '6 seconds' AS at) t WHERE next_local = 'bench-' || $1::integer`, s.round)
	}
	// What is due is kept apart: a policy that fires forgets its slot.
	s.exec(b, `DROP TABLE IF EXISTS bench_slots`)
	s.exec(b, `CREATE TABLE bench_slots AS SELECT name AS policy, next_local || ' ' || next_timezone AS slot, next_at AS at
		FROM policies WHERE next_local = 'bench-' || $1::integer`, s.round)
	return n
}

// fired counts the rotations of this round's slots, and their policies.
func (s *schedules) fired(b *testing.B) (rotations, policies int) {
	b.Helper()
	err := s.conn.QueryRow(b.Context(), `SELECT count(*), count(DISTINCT policy) FROM rotations WHERE slot LIKE 'bench-' || $1::integer || ' %'`, s.round).Scan(&rotations, &policies)
	if err != nil {
		b.Fatal(err)
	}
	return rotations, policies
}

func (s *schedules) open(b *testing.B) timedStore {
	b.Helper()
	store, err := postgres.Open(b.Context(), postgres.Config{URL: s.url})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	return timedStore{store}
}

// seedSQLite makes an embedded database whose policies are all due soon.
func seedSQLite(b *testing.B, n int, over time.Duration) (*sqlite.Store, int) {
	b.Helper()
	store, err := sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(b.TempDir(), "keyturn.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	if err := store.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	changes := []keyturn.ResourceChange{{Kind: keyturn.KindTarget, Name: "om", Spec: []byte(`{}`)}}
	begin := time.Now().Add(untilDue + time.Duration(n)*500*time.Microsecond) // writing them takes a while
	for i := range n {
		at := begin.Add(over * time.Duration(i) / time.Duration(n))
		changes = append(changes, keyturn.ResourceChange{
			Kind: keyturn.KindPolicy, Name: fmt.Sprintf("policy-%d", i),
			Spec: []byte(`{"target":"om","schedule":{"cron":"0 2 1 */3 *","timezone":"Europe/Berlin"}}`),
			Next: &keyturn.Slot{Local: "bench", Timezone: "Europe/Berlin", At: at},
		})
	}
	if err := store.ApplyResources(b.Context(), changes); err != nil {
		b.Fatal(err)
	}
	return store, n
}

// timedStore lets a scheduler's rotations be told from each other.
type timedStore struct{ scheduler.Store }

// watched is a store and a publisher that note when each slot was published.
type watched struct {
	timedStore
	bus *bus.Bus
	all *lateness
}

// lateness collects what schedulers have done. It has no pointers that a collector would follow.
type lateness struct {
	mu    sync.Mutex
	slots map[keyturn.ID]int64 // when each was due, in microseconds
	late  []time.Duration
	fired map[uint64]int // rotations, by the hash of the policy's name
	seed  maphash.Seed
}

func newLateness(slots int) *lateness {
	return &lateness{
		slots: make(map[keyturn.ID]int64, slots), late: make([]time.Duration, 0, slots), fired: make(map[uint64]int, slots), seed: maphash.MakeSeed(),
	}
}

func (w *watched) FireDue(ctx context.Context, limit int, decide func(keyturn.Due, time.Time) (keyturn.Firing, error)) ([]keyturn.Rotation, error) {
	at := make(map[uint64]int64, limit)
	fired, err := w.timedStore.FireDue(ctx, limit, func(due keyturn.Due, now time.Time) (keyturn.Firing, error) {
		at[maphash.String(w.all.seed, due.Policy.Name)] = due.Slot.At.UnixMicro()
		return decide(due, now)
	})
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	for i := range fired {
		policy := maphash.String(w.all.seed, fired[i].Policy)
		w.all.slots[fired[i].ID] = at[policy]
		w.all.fired[policy]++
	}
	return fired, err
}

func (w *watched) PublishRotations(ctx context.Context, ids []keyturn.ID) error {
	if err := w.bus.PublishRotations(ctx, ids); err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	for _, id := range ids {
		w.all.late = append(w.all.late, time.Duration(now-w.all.slots[id])*time.Microsecond)
	}
	return nil
}

func measureSlots(b *testing.B, open func(*testing.B) timedStore, slots, schedulers int, fired func(*testing.B) (rotations, policies int)) {
	b.Helper()
	all := newLateness(slots)
	b.Cleanup(heap.Keep(heap.Size)) // as `keyturn serve` does
	q := startBus(b)
	meter := startMeter(b)
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	var running sync.WaitGroup
	for range schedulers {
		w := &watched{timedStore: open(b), bus: q, all: all}
		running.Go(func() { scheduler.New(scheduler.Config{Store: w, Publisher: w}).Run(ctx) })
	}
	for begin := time.Now(); ; {
		wait(b, 100*time.Millisecond)
		all.mu.Lock()
		done := len(all.late) >= slots
		all.mu.Unlock()
		if done || time.Since(begin) > 2*time.Minute {
			break
		}
	}
	stop()
	running.Wait()
	meter.report(slots)
	all.report(b, slots)
	if fired != nil {
		if rotations, policies := fired(b); rotations != slots || policies != slots {
			b.Errorf("%d rotations of %d policies for %d slots", rotations, policies, slots)
		}
	}
}

func (l *lateness) report(b *testing.B, slots int) {
	b.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.fired {
		if n != 1 {
			b.Errorf("a policy fired %d times", n)
		}
	}
	if len(l.fired) != slots || len(l.late) != slots {
		b.Errorf("%d of %d slots fired, %d were published", len(l.fired), slots, len(l.late))
	}
	reportLate(b, l.late)
}

func reportLate(b *testing.B, late []time.Duration) {
	b.Helper()
	if len(late) == 0 {
		return
	}
	slices.Sort(late)
	at := func(part float64) float64 {
		return float64(late[int(part*float64(len(late)-1))]) / float64(time.Millisecond)
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}

func startBus(b *testing.B) *bus.Bus {
	b.Helper()
	server, err := bus.StartEmbedded(b.Context(), bus.EmbeddedConfig{StoreDir: b.TempDir(), Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	q, err := bus.Connect(b.Context(), bus.Config{Embedded: server})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = q.Close(context.Background())
		_ = server.Shutdown(context.Background())
	})
	if err := q.Declare(b.Context()); err != nil {
		b.Fatal(err)
	}
	return q
}
