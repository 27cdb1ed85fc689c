// Package peers measures the lateness of schedulers that keep their jobs in memory and nothing on disk, for
// comparison with bench/schedule_test.go. It is a module of its own, so that nobody who builds Keyturn needs them.
//
//	cd bench/peers && go test -bench . -benchtime 1x
package peers_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/robfig/cron/v3"
)

const entries = 100_000

// once is a schedule that comes once, at an instant.
type once struct{ at time.Time }

func (o once) Next(now time.Time) time.Time {
	if o.at.After(now) {
		return o.at
	}
	return now.Add(24 * time.Hour)
}

// lateness collects how late jobs began.
type lateness struct {
	mu   sync.Mutex
	late []time.Duration
	done chan struct{}
	want int
}

func (l *lateness) add(at time.Time) {
	late := time.Since(at)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late = append(l.late, late); len(l.late) == l.want {
		close(l.done)
	}
}

func (l *lateness) report(b *testing.B) {
	b.Helper()
	select {
	case <-l.done:
	case <-time.After(3 * time.Minute):
		b.Errorf("%d of %d jobs ran", len(l.late), l.want)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.late) == 0 {
		return
	}
	slices.Sort(l.late)
	at := func(part float64) float64 {
		return float64(l.late[int(part*float64(len(l.late)-1))]) / float64(time.Millisecond)
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
	b.ReportMetric(0, "ns/op")
}

// cases are how the due entries are spread.
var cases = []struct {
	name string
	due  int
	over time.Duration
}{{"1000-a-second", 10_000, 10 * time.Second}, {"100000-in-a-second", entries, 0}}

func BenchmarkRobfig(b *testing.B) {
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				l := &lateness{done: make(chan struct{}), want: c.due}
				s := cron.New(cron.WithLocation(time.UTC))
				begin := time.Now().Add(5 * time.Second)
				for i := range entries {
					if i >= c.due {
						s.Schedule(once{begin.Add(time.Hour)}, cron.FuncJob(func() {}))
						continue
					}
					at := begin.Add(c.over * time.Duration(i) / time.Duration(c.due))
					s.Schedule(once{at}, cron.FuncJob(func() { l.add(at) }))
				}
				s.Start()
				l.report(b)
				s.Stop()
			}
		})
	}
}

func BenchmarkGocron(b *testing.B) {
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				l := &lateness{done: make(chan struct{}), want: c.due}
				s, err := gocron.NewScheduler()
				if err != nil {
					b.Fatal(err)
				}
				begin := time.Now().Add(20 * time.Second)
				for i := range entries {
					at := begin.Add(time.Hour)
					if i < c.due {
						at = begin.Add(c.over * time.Duration(i) / time.Duration(c.due))
					}
					_, err := s.NewJob(gocron.OneTimeJob(gocron.OneTimeJobStartDateTime(at)), gocron.NewTask(func() {
						if i < c.due {
							l.add(at)
						}
					}))
					if err != nil {
						b.Fatal(err)
					}
				}
				s.Start()
				l.report(b)
				if err := s.Shutdown(); err != nil {
					b.Error(err)
				}
			}
		})
	}
}
