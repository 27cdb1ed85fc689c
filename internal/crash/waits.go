//go:build unix

package crash

import (
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn/worker"
)

// Waits are the protocol's waits, as a test wants them.
type Waits struct {
	worker.Timing
	AckWait time.Duration // how long the bus waits for a worker that is silent; 0: the default
}

// ParseWaits reads "sendSlack=1s leaseMargin=500ms"; what is not named keeps its default.
func ParseWaits(text string) (Waits, error) {
	var w Waits
	fields := map[string]*time.Duration{
		"sendSlack": &w.SendSlack, "leaseMargin": &w.LeaseMargin, "planLease": &w.PlanLease,
		"requeueAfter": &w.RequeueAfter, "announceLease": &w.AnnounceLease, "ackWait": &w.AckWait,
	}
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		field := fields[name]
		if field == nil {
			return w, fmt.Errorf("%q names no wait", word)
		}
		var err error
		if *field, err = time.ParseDuration(value); err != nil {
			return w, fmt.Errorf("wait %s: %w", name, err)
		}
	}
	return w, nil
}
