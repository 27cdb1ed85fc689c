package worker

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// healthEvery bounds how often one process writes down that a target answers, or does not.
const healthEvery = 5 * time.Second

// HealthStore is where it is written down whether targets answer: alerts are made of it.
type HealthStore interface {
	// TargetTrouble notes that a target does not answer, or refuses its credentials (rejected), until
	// TargetAnswered. Since when stays what it was while the trouble is the same.
	TargetTrouble(ctx context.Context, target string, rejected bool, words string) error
	TargetAnswered(ctx context.Context, target string) error
}

// health tells the database how targets are. It is only news: what can't be written down is dropped.
type health struct {
	store HealthStore
	now   func() time.Time
	log   *zap.Logger

	mu sync.Mutex
	by map[string]*condition
}

// condition is what was last written down of a target.
type condition struct {
	troubled bool
	at       time.Time
}

// worthTelling reports whether the news is to be written down: when it is another, or from time to time,
// because other processes write too.
func (h *health) worthTelling(target string, troubled bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil {
		h.by = map[string]*condition{}
	}
	c, now := h.by[target], h.now()
	if c != nil && c.troubled == troubled && now.Sub(c.at) < healthEvery {
		return false
	}
	h.by[target] = &condition{troubled: troubled, at: now}
	return true
}

// answered notes that a call succeeded.
func (h *health) answered(ctx context.Context, target string) {
	if !h.worthTelling(target, false) {
		return
	}
	if err := h.store.TargetAnswered(ctx, target); err != nil {
		h.log.Warn("noting that a target answers", zap.String("target", target), zap.Error(err))
	}
}

// failed notes an error that is about the target as a whole. One that says "later" comes from a target
// that answers.
func (h *health) failed(ctx context.Context, target string, err *keyturn.SystemError) {
	if !err.Target || err.Code == "rate_limited" || err.Code == "canceled" || !h.worthTelling(target, true) {
		return
	}
	rejected := err.Code == "unauthorized" || err.Code == "forbidden"
	if err := h.store.TargetTrouble(ctx, target, rejected, err.Error()); err != nil {
		h.log.Warn("noting the trouble of a target", zap.String("target", target), zap.Error(err))
	}
}

// unusable notes that a target can't be called at all, for example because a secret is missing.
func (h *health) unusable(ctx context.Context, target string, cause error) {
	h.failed(ctx, target, &keyturn.SystemError{Target: true, Code: keyturn.AsSystemError(cause, keyturn.KindTransient).Code, Err: cause})
}
