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
		answer.Checks[s.Ready[i].Name] = "ok"
		if err != nil {
			answer.Checks[s.Ready[i].Name] = err.Error()
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
