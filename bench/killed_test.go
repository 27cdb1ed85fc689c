package bench_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/bus"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/storage/postgres"
)

const (
	// schedulerOf tells a process of this test binary to be a scheduler on the database with this URL.
	schedulerOf = "KEYTURN_BENCH_SCHEDULER_OF"
	killEvery   = 2 * time.Second // one of the schedulers, in turn
	killedMost  = 2 * time.Minute // for all slots
)

func TestMain(m *testing.M) {
	if url := os.Getenv(schedulerOf); url != "" {
		if err := beScheduler(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beScheduler runs a scheduler until it is killed. What it would publish it prints.
func beScheduler(url string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { // nobody reads the other end of the input but by ending
		_, _ = os.Stdin.Read(make([]byte, 1))
		stop()
	}()
	store, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 4})
	if err != nil {
		return err
	}
	defer store.Close() //nolint:errcheck // the process ends
	scheduler.New(scheduler.Config{Store: store, Publisher: printer{}}).Run(ctx)
	return nil
}

// printer publishes a batch as one line.
type printer struct{}

func (printer) PublishRotations(_ context.Context, ids []keyturn.ID) error {
	var line strings.Builder
	for _, id := range ids {
		line.WriteString(id.String() + " ")
	}
	_, err := os.Stdout.WriteString(line.String() + "\n")
	return err
}

// published is when the wake-ups of rotations were acknowledged.
type published struct {
	mu sync.Mutex
	at map[keyturn.ID]time.Time
}

// follow publishes what a scheduler prints. A line that a kill has cut off is lost, as a message on the way would be.
func (p *published) follow(ctx context.Context, b *testing.B, q *bus.Bus, lines *bufio.Scanner) {
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var ids []keyturn.ID
		for word := range strings.FieldsSeq(lines.Text()) {
			if id, err := keyturn.ParseID(word); err == nil {
				ids = append(ids, id)
			}
		}
		if err := q.PublishRotations(ctx, ids); err != nil {
			b.Errorf("publishing: %v", err)
			return
		}
		now := time.Now()
		p.mu.Lock()
		for _, id := range ids {
			p.at[id] = now
		}
		p.mu.Unlock()
	}
}

// measureKilled runs schedulers as processes of their own and kills one (SIGKILL) every killEvery. When every slot has a
// rotation it counts: each slot one rotation, each rotation one announcement.
func measureKilled(b *testing.B, pg *schedules, slots, schedulers int) {
	b.Helper()
	q, told := startBus(b), &published{at: map[keyturn.ID]time.Time{}}
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	var following sync.WaitGroup
	start := func() *exec.Cmd {
		//nolint:gosec // this binary itself
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), schedulerOf+"="+pg.url), os.Stderr
		_, errIn := cmd.StdinPipe()
		out, errOut := cmd.StdoutPipe()
		if errIn != nil || errOut != nil {
			b.Fatal(errIn, errOut)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		following.Go(func() {
			told.follow(ctx, b, q, bufio.NewScanner(out))
			_ = cmd.Wait() // it was killed
		})
		return cmd
	}
	running := make([]*exec.Cmd, schedulers)
	for i := range running {
		running[i] = start()
	}
	kills, begin := 0, time.Now()
	for lastKill := begin; pg.rotations(b) < slots && time.Since(begin) < killedMost; {
		wait(b, 200*time.Millisecond)
		if time.Since(lastKill) < killEvery {
			continue
		}
		lastKill = time.Now()
		if err := running[kills%schedulers].Process.Kill(); err != nil {
			b.Error(err)
		}
		running[kills%schedulers] = start()
		kills++
	}
	wait(b, time.Second) // what was printed is published
	stop()
	following.Wait()
	pg.checkOnce(b, slots)
	late := pg.late(b, told.at)
	reportLate(b, late)
	b.ReportMetric(float64(kills), "kills")
	b.ReportMetric(float64(slots-len(late)), "left-to-the-sweeper")
}

func (s *schedules) rotations(b *testing.B) int {
	b.Helper()
	var n int
	if err := s.conn.QueryRow(b.Context(), `SELECT count(*) FROM rotations`).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

// checkOnce fails unless each slot of the round has one rotation, and each of those one announcement.
func (s *schedules) checkOnce(b *testing.B, slots int) {
	b.Helper()
	var due, fired, policies, announcements, announced int
	err := s.conn.QueryRow(b.Context(), `SELECT (SELECT count(*) FROM bench_slots),
		(SELECT count(*) FROM rotations), (SELECT count(*) FROM rotations r JOIN bench_slots s ON s.policy = r.policy AND s.slot = r.slot),
		(SELECT sum(cardinality(task_ids)) FROM announcements WHERE type = 'rotations'),
		(SELECT count(DISTINCT r.id) FROM announcements a, unnest(a.task_ids) t (id) JOIN rotations r ON r.id = t.id WHERE a.type = 'rotations')`).
		Scan(&due, &fired, &policies, &announcements, &announced)
	if err != nil {
		b.Fatal(err)
	}
	if got := []int{due, fired, policies, announcements, announced}; slices.ContainsFunc(got, func(n int) bool { return n != slots }) {
		b.Errorf("%d slots: %d were due, %d rotations (%d of these slots), %d announcements (of %d rotations)", slots, due, fired, policies, announcements, announced)
	}
}

// late returns how long after its slot each rotation was published.
func (s *schedules) late(b *testing.B, at map[keyturn.ID]time.Time) []time.Duration {
	b.Helper()
	ids := make([]string, 0, len(at))
	for id := range maps.Keys(at) {
		ids = append(ids, id.String())
	}
	rows, err := s.conn.Query(b.Context(), `SELECT r.id::text, s.at FROM rotations r JOIN bench_slots s ON s.policy = r.policy WHERE r.id = ANY ($1::text[]::uuid[])`, ids)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	var late []time.Duration
	for rows.Next() {
		var text string
		var slot time.Time
		if err := rows.Scan(&text, &slot); err != nil {
			b.Fatal(err)
		}
		id, err := keyturn.ParseID(text)
		if err != nil {
			b.Fatal(err)
		}
		late = append(late, at[id].Sub(slot))
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	return late
}
