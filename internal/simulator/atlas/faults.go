package atlas

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"net/http"
	"time"
)

// Faults says what goes wrong. The zero value: nothing. Which request meets a fault is decided by Seed, the project
// and how many requests of its kind it saw.
type Faults struct {
	Seed  uint64 `json:"seed"`
	PATCH Rates  `json:"patch"`
	GET   Rates  `json:"get"`

	RetryAfter time.Duration `json:"retryAfter"` // of 429, in whole seconds; 0: 1s
	SlowFor    time.Duration `json:"slowFor"`    // 0: 5s
	LateAfter  time.Duration `json:"lateAfter"`  // 0: 1s
	// Codes are answered, one after the other, to the PATCHes that come next.
	Codes []string `json:"codes"`
}

// Rates are the shares of requests, 0 to 1, that meet each fault; a request meets at most one.
type Rates struct {
	ErrorBefore float64 `json:"errorBefore"` // 500, not executed
	ErrorAfter  float64 `json:"errorAfter"`  // 500, executed
	TooMany     float64 `json:"tooMany"`     // 429, not executed
	ResetBefore float64 `json:"resetBefore"` // connection reset, not executed
	ResetAfter  float64 `json:"resetAfter"`  // connection reset, executed
	Slow        float64 `json:"slow"`        // executed at once, answered after SlowFor
	Late        float64 `json:"late"`        // connection reset, executed LateAfter later
}

type fault int

const (
	faultNone fault = iota
	faultErrorBefore
	faultErrorAfter
	faultTooMany
	faultResetBefore
	faultResetAfter
	faultSlow
	faultLate
)

// draw decides what happens to a request.
func (s *Simulator) draw(method, project string) fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	rates := s.faults.GET
	if method == http.MethodPatch {
		rates = s.faults.PATCH
	}
	if rates == (Rates{}) {
		return faultNone
	}
	name := method + project
	s.draws[name]++
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, s.faults.Seed))
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, s.draws[name]))
	sum := h.Sum64()
	sum ^= sum >> 29
	sum *= 0xbf58476d1ce4e5b9
	at := float64(sum>>11) / (1 << 53)
	for i, rate := range []float64{rates.ErrorBefore, rates.ErrorAfter, rates.TooMany, rates.ResetBefore, rates.ResetAfter, rates.Slow, rates.Late} {
		if at < rate {
			return faultErrorBefore + fault(i)
		}
		at -= rate
	}
	return faultNone
}

// nextCode takes the next of the codes that are to be answered.
func (s *Simulator) nextCode() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults.Codes) == 0 {
		return ""
	}
	code := s.faults.Codes[0]
	s.faults.Codes = s.faults.Codes[1:]
	return code
}

// delays are how long things take that go wrong.
type delays struct{ slow, late, retryAfter time.Duration }

func (s *Simulator) delays() delays {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults
	return delays{cmp.Or(f.SlowFor, 5*time.Second), cmp.Or(f.LateAfter, time.Second), cmp.Or(f.RetryAfter.Round(time.Second), time.Second)}
}

// take takes one token of a project's bucket, which is full again after a refusal.
func (s *Simulator) take(project string) (left int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[project] >= s.cfg.Remaining {
		s.used[project] = 0
		return 0, false
	}
	s.used[project]++
	return s.cfg.Remaining - s.used[project], true
}

// wait waits, or until the simulator ends.
func (s *Simulator) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.done:
	}
}

// abort breaks the connection without an answer.
func abort() { panic(http.ErrAbortHandler) }
