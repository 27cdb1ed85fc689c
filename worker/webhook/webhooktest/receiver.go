// Package webhooktest is a receiver of webhooks for tests: it verifies signatures with the library of
// Standard Webhooks, and fails, hangs or sends away on demand.
package webhooktest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// NewSecret returns a secret for signatures.
func NewSecret() string {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand aborts the program instead
	return "whsec_" + base64.StdEncoding.EncodeToString(key[:])
}

// Message is one request that arrived.
type Message struct {
	ID      string // webhook-id
	EventID string // of the CloudEvent
	Type    string // of the CloudEvent
	Path    string
	Header  http.Header
	Body    []byte
	Status  int  // what was answered; 0: nothing
	Valid   bool // its signature was verified
}

// Answer says how a request is answered.
type Answer struct {
	Status     int // 0: 200
	Body       string
	RetryAfter time.Duration
	Location   string
	Hang       bool // answers nothing until the caller gives up
}

// OK takes the message.
func OK() Answer { return Answer{Status: http.StatusOK} }

// Fail answers 500.
func Fail() Answer { return Answer{Status: http.StatusInternalServerError, Body: "broken"} }

// Hang answers nothing until the caller gives up.
func Hang() Answer { return Answer{Hang: true} }

// Gone answers 410: nothing more is wanted.
func Gone() Answer { return Answer{Status: http.StatusGone} }

// TooMany answers 429, with the time after which to come again.
func TooMany(retryAfter time.Duration) Answer {
	return Answer{Status: http.StatusTooManyRequests, RetryAfter: retryAfter}
}

// Redirect answers 307.
func Redirect(to string) Answer {
	return Answer{Status: http.StatusTemporaryRedirect, Location: to}
}

// Receiver is an HTTP server that takes webhooks.
type Receiver struct {
	URL string

	verify *standardwebhooks.Webhook // nil: signatures are not looked at

	mu       sync.Mutex
	answer   func(Message) Answer
	messages []Message
	arrived  chan struct{}
}

// New starts a receiver, which is closed when the test ends. With an empty secret it verifies nothing.
// What has no valid signature is answered 401.
func New(t testing.TB, secret string) *Receiver {
	t.Helper()
	r := &Receiver{answer: func(Message) Answer { return OK() }, arrived: make(chan struct{}, 1)}
	if secret != "" {
		var err error
		if r.verify, err = standardwebhooks.NewWebhook(secret); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// Answer makes the receiver answer so from now on.
func (r *Receiver) Answer(how Answer) { r.AnswerWith(func(Message) Answer { return how }) }

// AnswerWith makes the receiver answer each message as how says.
func (r *Receiver) AnswerWith(how func(Message) Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = how
}

// ServeHTTP takes a message.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	m := Message{ID: req.Header.Get(standardwebhooks.HeaderWebhookID), Path: req.URL.RequestURI(), Header: req.Header.Clone(), Body: body}
	var event struct{ ID, Type string }
	if json.Unmarshal(body, &event) == nil {
		m.EventID, m.Type = event.ID, event.Type
	}
	m.Valid = r.verify == nil || r.verify.Verify(body, req.Header) == nil
	r.mu.Lock()
	how := r.answer
	r.mu.Unlock()
	answer := how(m)
	if !m.Valid {
		answer = Answer{Status: http.StatusUnauthorized}
	}
	if answer.Status == 0 && !answer.Hang {
		answer.Status = http.StatusOK
	}
	m.Status = answer.Status
	r.keep(m)
	if answer.Hang {
		<-req.Context().Done()
		return
	}
	if answer.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(answer.RetryAfter/time.Second)))
	}
	if answer.Location != "" {
		w.Header().Set("Location", answer.Location)
	}
	w.WriteHeader(answer.Status)
	_, _ = io.WriteString(w, answer.Body)
}

func (r *Receiver) keep(m Message) {
	r.mu.Lock()
	r.messages = append(r.messages, m)
	r.mu.Unlock()
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}

// Messages returns everything that arrived, in its order.
func (r *Receiver) Messages() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Message(nil), r.messages...)
}

// Taken returns what was answered with 2xx, each id once.
func (r *Receiver) Taken() []Message {
	var out []Message
	seen := map[string]bool{}
	for _, m := range r.Messages() {
		if m.Status >= 200 && m.Status < 300 && !seen[m.ID] {
			seen[m.ID] = true
			out = append(out, m)
		}
	}
	return out
}

// Wait returns when done says so of what arrived, or an error when ctx ends.
func (r *Receiver) Wait(ctx context.Context, done func([]Message) bool) error {
	for {
		if messages := r.Messages(); done(messages) {
			return nil
		}
		select {
		case <-r.arrived:
		case <-ctx.Done():
			return fmt.Errorf("%d messages arrived: %w", len(r.Messages()), ctx.Err())
		}
	}
}
