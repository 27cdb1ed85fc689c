package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

const (
	// heartbeat keeps proxies from cutting a stream that has nothing to say.
	heartbeat = 15 * time.Second
	// checkSession is how often a stream looks whether its session goes on.
	checkSession = 30 * time.Second
	// writeTimeout is how long a reader may be slow. It takes the place of the server's, which is for whole answers.
	writeTimeout = 20 * time.Second
	// retry is how long a browser waits before it connects again.
	retry = 2 * time.Second
)

// sessionStreams is how many streams a session may have at once: whoever opens more asks every few seconds,
// so that nobody alone holds all connections.
const sessionStreams = 32

// streams counts the open streams of each session.
type streams struct {
	mu   sync.Mutex
	open map[[32]byte]int
}

// begin reports whether the session may have one more stream, which has to be ended.
func (s *streams) begin(session [32]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[session] >= sessionStreams {
		return false
	}
	if s.open == nil {
		s.open = map[[32]byte]int{}
	}
	s.open[session]++
	return true
}

func (s *streams) end(session [32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[session]--; s.open[session] <= 0 {
		delete(s.open, session)
	}
}

// message is what a page that follows a rotation is told, by a stream or when it asks.
type message struct {
	Mark   string            `json:"mark"`
	Parts  map[string]string `json:"parts,omitempty"` // by the id of the element that they replace the content of
	Say    string            `json:"say,omitempty"`
	Reload bool              `json:"reload,omitempty"` // the page looks otherwise now
	Ended  bool              `json:"ended,omitempty"`  // nothing more will come by itself
}

// empty reports whether there is nothing to tell.
func (m message) empty() bool { return len(m.Parts) == 0 && !m.Reload && m.Say == "" }

// followed is the rotation and the page of it that a request follows.
func (s *Site) followed(ctx context.Context, v *visit) (*watch, int, error) {
	id, err := keyturn.ParseID(v.PathValue("id"))
	if err != nil {
		return nil, 0, &apiError{Status: http.StatusNotFound, Detail: "there is no rotation " + v.PathValue("id")}
	}
	w, err := s.watch(ctx, id)
	switch {
	case errors.Is(err, keyturn.ErrNotFound):
		return nil, 0, &apiError{Status: http.StatusNotFound, Detail: "there is no rotation " + id.String()}
	case errors.Is(err, errTooMany):
		return nil, 0, &apiError{Status: http.StatusServiceUnavailable, Detail: err.Error()}
	}
	return w, pageNumber(v.Request), err
}

func pageNumber(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || n < 1 || n > 1_000_000 {
		return 1
	}
	return n
}

// changes answers with what came after the mark `since`: for browsers whose stream does not get through.
func (s *Site) changes(w http.ResponseWriter, r *http.Request) {
	v, ok := s.enterQuietly(w, r)
	if !ok {
		return
	}
	watched, page, err := s.followed(r.Context(), v)
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer watched.leave()
	m, _, err := watched.after(r.URL.Query().Get("since"), page)
	if err != nil {
		s.refuse(w, err)
		return
	}
	body, err := json.Marshal(m)
	if err != nil {
		s.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	writeCompressed(w, r, http.StatusOK, body)
}

// enterQuietly lets in who is signed in; others get a status, not a page. It does not count as a use.
func (s *Site) enterQuietly(w http.ResponseWriter, r *http.Request) (*visit, bool) {
	v, err := s.identify(r)
	switch {
	case errors.Is(err, errSignedOut):
		http.Error(w, "sign in", http.StatusUnauthorized)
	case err != nil:
		s.refuse(w, err)
	}
	return v, err == nil
}

func (s *Site) refuse(w http.ResponseWriter, err error) {
	if refused, ok := errors.AsType[*apiError](err); ok {
		http.Error(w, refused.Detail, refused.Status)
		return
	}
	s.Logger.Warn("following a rotation", zap.Error(err))
	if away, ok := errors.AsType[*keyturn.UnavailableError](err); ok {
		http.Error(w, away.Advice, http.StatusServiceUnavailable)
		return
	}
	http.Error(w, "something went wrong; the page asks again", http.StatusServiceUnavailable)
}

// stream sends what happens to a rotation as server-sent events, until it has ended, the session has, or
// the server shuts down. See https://html.spec.whatwg.org/multipage/server-sent-events.html
func (s *Site) stream(w http.ResponseWriter, r *http.Request) {
	v, ok := s.enterQuietly(w, r)
	if !ok {
		return
	}
	if !s.streams.begin(v.hash) {
		w.Header().Set("Retry-After", "10")
		s.refuse(w, &apiError{Status: http.StatusTooManyRequests, Detail: "too many pages of this session follow rotations; the page asks instead"})
		return
	}
	defer s.streams.end(v.hash)
	watched, page, err := s.followed(r.Context(), v)
	if err != nil {
		s.refuse(w, err)
		return
	}
	defer watched.leave()
	mark := r.Header.Get("Last-Event-ID")
	if mark == "" {
		mark = r.URL.Query().Get("since")
	}
	out := &eventWriter{w: w, control: http.NewResponseController(w)}
	// The server's deadlines are for requests and answers that end soon.
	if err := out.control.SetReadDeadline(time.Time{}); err != nil {
		s.refuse(w, fmt.Errorf("keeping a stream open: %w", err))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	if err := out.write(fmt.Sprintf("retry: %d\n\n", retry.Milliseconds())); err != nil {
		return
	}
	if err := s.follow(r.Context(), v, watched, out, mark, page); err != nil && r.Context().Err() == nil {
		s.Logger.Debug("a stream ended", zap.Error(err))
	}
}

func (s *Site) follow(ctx context.Context, v *visit, watched *watch, out *eventWriter, mark string, page int) error {
	beat, check := time.NewTicker(heartbeat), time.NewTicker(checkSession)
	defer beat.Stop()
	defer check.Stop()
	for {
		m, news, err := watched.after(mark, page)
		if err != nil {
			return err
		}
		if !m.empty() {
			if err := out.event("", m.Mark, m); err != nil {
				return err
			}
		}
		mark = m.Mark
		if m.Ended {
			return out.event("ended", m.Mark, message{Mark: m.Mark})
		}
		select {
		case <-news:
		case <-beat.C:
			if err := out.write(": still here\n\n"); err != nil {
				return err
			}
		case <-check.C:
			if !v.still(ctx) {
				return out.event("signed-out", mark, message{Mark: mark})
			}
		case <-ctx.Done():
			return nil
		case <-s.live.Done():
			return nil
		}
	}
}

// eventWriter writes server-sent events.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (e *eventWriter) event(kind, id string, m message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	text := "id: " + id + "\n"
	if kind != "" {
		text += "event: " + kind + "\n"
	}
	return e.write(text + "data: " + string(data) + "\n\n")
}

func (e *eventWriter) write(text string) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("keeping a stream open: %w", err)
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.control.Flush()
}
