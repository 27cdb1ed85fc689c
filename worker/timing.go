package worker

import (
	"cmp"
	"time"
)

// Timing are the waits that decide how soon the work of a process that died is
// taken up. Zero fields have the defaults below, which are what operators get: no setting
// changes them. Tests that kill processes by the hundred make them short.
type Timing struct {
	// SendSlack is how long after its intent a change may still be sent. A process that was
	// stopped for longer in between sends nothing. Default 5s.
	SendSlack time.Duration
	// LeaseMargin is what a lease lasts beyond the last moment at which the change can be under way. Default 15s.
	LeaseMargin time.Duration
	// MakeMost is how long one call of Make may take, if the target's requests may not take longer. Default 1m.
	MakeMost time.Duration
	// PlanLease is how long a planner that is silent keeps its rotation. Default 1m.
	PlanLease time.Duration
	// RequeueAfter is when a task that was handed out, and that nobody holds, counts as lost by the
	// queue, if nothing waits there any more. Handing it out twice does no harm, but costs a call. Default 1m.
	RequeueAfter time.Duration
	// AnnounceLease is how long an announcer that is silent keeps what it took. Default 30s.
	AnnounceLease time.Duration
}

func (t Timing) withDefaults() Timing {
	return Timing{
		SendSlack:     cmp.Or(t.SendSlack, 5*time.Second),
		LeaseMargin:   cmp.Or(t.LeaseMargin, 15*time.Second),
		MakeMost:      cmp.Or(t.MakeMost, time.Minute),
		PlanLease:     cmp.Or(t.PlanLease, time.Minute),
		RequeueAfter:  cmp.Or(t.RequeueAfter, time.Minute),
		AnnounceLease: cmp.Or(t.AnnounceLease, 30*time.Second),
	}
}
