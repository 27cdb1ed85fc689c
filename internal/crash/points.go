//go:build unix

package crash

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/worker"
)

// duringDelay is how long after the begin of a call its point "during" comes.
const duringDelay = 8 * time.Millisecond

// Points are the points of one process. At most one is armed.
type Points struct {
	log   *zap.Logger
	armed atomic.Pointer[armed]
}

// armed is the point at which something happens.
type armed struct {
	name   string
	signal syscall.Signal
	left   atomic.Int64 // passings until it happens
}

// New returns points of which none is armed.
func New(log *zap.Logger) *Points { return &Points{log: log} }

// Names returns every point: those of the ports, and what surrounds a delivery.
func Names() []string {
	names := slices.Clone(portPoints())
	for _, kind := range []string{"rotations", "tasks", "triggers"} {
		names = append(names, kind+".delivered", kind+".handled", kind+".Ack.before", kind+".Ack.after", kind+".Reject.before", kind+".Reject.after")
	}
	names = append(names, "api.Request.before", "api.Request.after")
	slices.Sort(names)
	return names
}

// Arm makes the process kill itself (SIGKILL) when it passes a point for the n-th time from
// now on: "store.Intend.after 3". With "stop" at the end it stops (SIGSTOP) instead, until
// somebody continues it.
func (p *Points) Arm(at string) error {
	fields := strings.Fields(at)
	if len(fields) == 0 || len(fields) > 3 {
		return fmt.Errorf("%q: expected POINT [PASSING] [stop]", at)
	}
	a := &armed{name: fields[0], signal: syscall.SIGKILL}
	if !slices.Contains(Names(), a.name) {
		return fmt.Errorf("there is no point %q; points: %s", a.name, strings.Join(Names(), ", "))
	}
	passing := int64(1)
	for _, field := range fields[1:] {
		n, err := strconv.ParseInt(field, 10, 32)
		switch {
		case field == "stop":
			a.signal = syscall.SIGSTOP
		case err != nil || n < 1:
			return fmt.Errorf("%q: expected the number of a passing, from 1, or stop", field)
		default:
			passing = n
		}
	}
	a.left.Store(passing)
	p.armed.Store(a)
	return nil
}

// Listen arms what lines say, and answers each with "armed" or what is wrong. When they end, so
// does the process: whoever started it is gone.
func (p *Points) Listen(lines io.Reader, answers io.Writer) {
	scanner := bufio.NewScanner(lines)
	for scanner.Scan() {
		answer := "armed"
		if err := p.Arm(scanner.Text()); err != nil {
			answer = err.Error()
		}
		_, _ = fmt.Fprintln(answers, answer) // nobody reads it: nobody waits for it
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // can't fail: it is ourselves
}

// Pass is called at a point.
func (p *Points) Pass(name string) {
	a := p.armed.Load()
	if a == nil || a.name != name || a.left.Add(-1) != 0 {
		return
	}
	p.log.Warn("crash point", zap.String("point", name), zap.Stringer("signal", a.signal))
	_ = syscall.Kill(os.Getpid(), a.signal) // can't fail: it is ourselves
	if a.signal == syscall.SIGKILL {
		select {} // nothing happens any more, not even while the kernel is at it
	}
	<-time.After(20 * time.Millisecond) // until the stop has reached all threads
}

// during passes a point while a call is under way, if it takes that long. It
// does nothing unless the point is armed.
func (p *Points) during(name string) (returned func()) {
	if a := p.armed.Load(); a == nil || a.name != name {
		return func() {}
	}
	timer := time.AfterFunc(duringDelay, func() { p.Pass(name) })
	return func() { timer.Stop() }
}

// Worker puts points around the ports of a worker.
func (p *Points) Worker(cfg worker.Config) worker.Config {
	cfg.Store = storePoints{cfg.Store, p}
	cfg.Queue = queuePoints{cfg.Queue, p}
	cfg.Systems = systemsPoints{cfg.Systems, p}
	cfg.Targets = targetsPoints{cfg.Targets, p}
	if cfg.Sender != nil {
		cfg.Deliveries = deliveriesPoints{cfg.Deliveries, p}
		cfg.Sender = senderPoints{cfg.Sender, p}
	}
	return cfg
}

// Alerts puts points around the ports of an evaluation of alerts.
func (p *Points) Alerts(cfg alerts.Config) alerts.Config {
	cfg.Store = alertsPoints{cfg.Store, p}
	return cfg
}

// Scheduler puts points around the ports of a scheduler.
func (p *Points) Scheduler(cfg scheduler.Config) scheduler.Config {
	cfg.Store = schedulePoints{cfg.Store, p}
	cfg.Publisher = publisherPoints{cfg.Publisher, p}
	return cfg
}

// handler puts points around what happens to deliveries.
func (p *Points) handler(kind string, handle func(context.Context, worker.Delivery)) func(context.Context, worker.Delivery) {
	return func(ctx context.Context, d worker.Delivery) {
		p.Pass(kind + ".delivered")
		handle(ctx, delivery{d, p, kind})
		p.Pass(kind + ".handled")
	}
}

type delivery struct {
	worker.Delivery
	points *Points
	kind   string
}

func (d delivery) Ack() {
	d.points.Pass(d.kind + ".Ack.before")
	d.Delivery.Ack()
	d.points.Pass(d.kind + ".Ack.after")
}

func (d delivery) Reject(ctx context.Context, reason string) error {
	d.points.Pass(d.kind + ".Reject.before")
	err := d.Delivery.Reject(ctx, reason)
	d.points.Pass(d.kind + ".Reject.after")
	return err
}
