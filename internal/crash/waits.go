//go:build unix

package crash

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/worker"
)

// Waits are the protocol's waits, as a test wants them.
type Waits struct {
	worker.Timing
	AckWait time.Duration // how long the bus waits for a worker that is silent; 0: the default
	// PlanPart is how many units of a plan are saved at a time, so that small estates have large plans; 0: the default.
	PlanPart int

	LookLease     time.Duration // the longest lease of a look at keys, and wait after one that broke; 0: as asked
	DeliveryLease time.Duration // the longest lease of deliveries; 0: as asked
	// AlertsAhead is by how much the evaluation of alerts believes that its time has come earlier. It is then
	// one and the same evaluation in each process, so only one may run at a time.
	AlertsAhead time.Duration
}

// Worker shortens leases that a worker asks for.
func (w Waits) Worker(cfg worker.Config) worker.Config {
	cfg.Timing, cfg.PlanPart = w.Timing, w.PlanPart
	if w.LookLease > 0 {
		cfg.Store = quickLooks{cfg.Store, w.LookLease}
	}
	if w.DeliveryLease > 0 && cfg.Deliveries != nil {
		cfg.Deliveries = quickDeliveries{cfg.Deliveries, w.DeliveryLease}
	}
	return cfg
}

// Alerts makes the evaluation of alerts look, and tell, sooner.
func (w Waits) Alerts(cfg alerts.Config) alerts.Config {
	if w.AlertsAhead > 0 {
		cfg.Owner = "the only one" // the next process need not wait for the lease of the one that died
		cfg.Store = quickAlerts{cfg.Store, w.AlertsAhead}
	}
	return cfg
}

type quickLooks struct {
	worker.Store
	most time.Duration
}

func (q quickLooks) ClaimLook(
	ctx context.Context, owner string, looks []keyturn.Look, wait keyturn.LookWait, lease time.Duration,
) (string, time.Time, error) {
	return q.Store.ClaimLook(ctx, owner, looks, wait, min(lease, q.most))
}

func (q quickLooks) RenewLook(ctx context.Context, target, owner string, lease time.Duration) (bool, error) {
	return q.Store.RenewLook(ctx, target, owner, min(lease, q.most))
}

func (q quickLooks) EndLook(ctx context.Context, target, owner string, began time.Time, done bool, retry time.Duration) error {
	return q.Store.EndLook(ctx, target, owner, began, done, min(retry, q.most))
}

type quickDeliveries struct {
	worker.DeliveryStore
	most time.Duration
}

func (q quickDeliveries) ClaimDeliveries(ctx context.Context, webhook string, limit int, lease time.Duration) ([]keyturn.Delivery, error) {
	return q.DeliveryStore.ClaimDeliveries(ctx, webhook, limit, min(lease, q.most))
}

type quickAlerts struct {
	alerts.Store
	ahead time.Duration
}

func (q quickAlerts) ClaimSweep(ctx context.Context, owner string, lease time.Duration) (keyturn.AlertSweep, error) {
	sweep, err := q.Store.ClaimSweep(ctx, owner, lease)
	if !sweep.FactsAt.IsZero() {
		sweep.FactsAt = sweep.FactsAt.Add(-q.ahead)
	}
	return sweep, err
}

func (q quickAlerts) DueGroups(ctx context.Context, now time.Time, limit int) ([]keyturn.AlertGroupState, error) {
	return q.Store.DueGroups(ctx, now.Add(q.ahead), limit)
}

// ParseWaits reads "sendSlack=1s leaseMargin=500ms planPart=5"; what is not named keeps its default.
func ParseWaits(text string) (Waits, error) {
	var w Waits
	fields := map[string]*time.Duration{
		"sendSlack": &w.SendSlack, "leaseMargin": &w.LeaseMargin, "planLease": &w.PlanLease, "makeMost": &w.MakeMost,
		"requeueAfter": &w.RequeueAfter, "announceLease": &w.AnnounceLease, "ackWait": &w.AckWait,
		"lookLease": &w.LookLease, "deliveryLease": &w.DeliveryLease, "alertsAhead": &w.AlertsAhead,
	}
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch field := fields[name]; {
		case name == "planPart":
			w.PlanPart, err = strconv.Atoi(value)
		case field == nil:
			return w, fmt.Errorf("%q names no wait", word)
		default:
			*field, err = time.ParseDuration(value)
		}
		if err != nil {
			return w, fmt.Errorf("wait %s: %w", name, err)
		}
	}
	return w, nil
}
