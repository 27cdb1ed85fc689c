package atlas

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/keyturn/keyturn/worker/rest"
)

// buckets remember until when Atlas wants no requests for a project, or for the whole account (""). Its limits are
// token buckets of endpoint sets by project: https://www.mongodb.com/docs/atlas/api/api-rate-limit/
type buckets struct {
	now func() time.Time

	mu    sync.Mutex
	until map[string]time.Time
}

const (
	// emptyPause is how long a project is left alone whose bucket is empty, if the server does not say: the bucket
	// of encryptionAtRest gets 1000 tokens a minute, so that many are there again after it.
	emptyPause = time.Second
	// retryAfterMax: a longer Retry-After is a mistake.
	retryAfterMax = time.Hour
)

// held returns how long the project must be left alone.
func (b *buckets) held(project string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, most := b.now(), time.Duration(0)
	for _, name := range []string{"", project} {
		until, ok := b.until[name]
		switch d := until.Sub(now); {
		case !ok:
		case d <= 0 || d > retryAfterMax: // over, or the clock was set back
			delete(b.until, name)
		default:
			most = max(most, d)
		}
	}
	return most
}

func (b *buckets) hold(project string, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until == nil {
		b.until = map[string]time.Time{}
	}
	if until := b.now().Add(d); until.After(b.until[project]) {
		b.until[project] = until
	}
}

// answered looks at the headers of an answer. Any of them may be missing.
func (b *buckets) answered(project string, status int, h http.Header) {
	switch {
	case status == http.StatusTooManyRequests:
		d := rest.RetryAfter(h, b.now(), retryAfterMax)
		if d == 0 {
			d = 10 * time.Second
		}
		b.hold(project, d)
	case h.Get("RateLimit-Remaining") == "0":
		b.hold(project, emptyPause)
	}
}

// wait waits until the project may be asked again. It answers false, and how long that would take, if it is later
// than the context's deadline, or than most if there is none.
func (b *buckets) wait(ctx context.Context, project string, most time.Duration) (time.Duration, bool) {
	for {
		d := b.held(project)
		if d == 0 {
			return 0, true
		}
		if deadline, ok := ctx.Deadline(); ok {
			most = time.Until(deadline)
		}
		if d >= most {
			return d, false
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return d, false
		}
	}
}
