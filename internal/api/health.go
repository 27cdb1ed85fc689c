package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// readyTimeout bounds all checks of /readyz together.
const readyTimeout = 2 * time.Second

// healthz answers as long as the process does: it checks nothing, so that an
// outage of the database doesn't make an orchestrator kill every replica.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness is the answer of /readyz.
type readiness struct {
	Status string            `json:"status"` // "ready" or "unavailable"
	Checks map[string]string `json:"checks"` // "ok" or what is wrong
	// Problems says more about the checks that are not ok.
	Problems []unreadiness `json:"problems,omitempty"`
}

// unreadiness is one part that does not work.
type unreadiness struct {
	Check string    `json:"check"`
	Since time.Time `json:"since"` // the first time that /readyz noticed
	Error string    `json:"error"`
	Do    string    `json:"do,omitempty"` // what stands still, and what to do
}

// health remembers since when checks fail. The zero value is ready.
type health struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// note returns since when a check fails.
func (h *health) note(check string, failed bool, now time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !failed {
		delete(h.since, check)
		return time.Time{}
	}
	if h.since == nil {
		h.since = map[string]time.Time{}
	}
	if _, known := h.since[check]; !known {
		h.since[check] = now.UTC()
	}
	return h.since[check]
}

func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	results := make([]error, len(s.Ready))
	var wg sync.WaitGroup
	for i, check := range s.Ready {
		wg.Go(func() { results[i] = runCheck(ctx, check) })
	}
	wg.Wait()

	answer, status := readiness{Status: "ready", Checks: make(map[string]string, len(results))}, http.StatusOK
	for i, err := range results {
		check := s.Ready[i]
		answer.Checks[check.Name] = "ok"
		since := s.health.note(check.Name, err != nil, s.Now())
		if err != nil {
			answer.Checks[check.Name] = err.Error()
			answer.Problems = append(answer.Problems, unreadiness{Check: check.Name, Since: since, Error: err.Error(), Do: check.Advice})
			answer.Status, status = "unavailable", http.StatusServiceUnavailable
		}
	}
	writeJSON(w, status, answer)
}

// runCheck returns when ctx ends, also if the check does not.
func runCheck(ctx context.Context, check Check) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- fmt.Errorf("panic: %v", v)
			}
		}()
		done <- check.Run(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer within %s", readyTimeout)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
