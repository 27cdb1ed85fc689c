package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/hook"
	"github.com/keyturn/keyturn/internal/resource"
	"github.com/keyturn/keyturn/internal/secret"
)

const (
	// hookRate bounds what anybody can make this server do before a signature was looked at.
	hookRate  = 100 // a second
	hookBurst = 200
	// excerptMost is how much of an event is kept, in characters.
	excerptMost = 2000
)

// hooks takes the calls of others: /hooks/{name}, without a token, since each is verified by its own secret.
type hooks struct {
	*server
	limit *rate.Limiter
	seen  *prometheus.CounterVec
}

// hookResult is what a call led to, for the metric.
const (
	hookUnknown     = "unknown"
	hookLimited     = "limited"
	hookTooLarge    = "too_large"
	hookMediaType   = "media_type"
	hookUnverified  = "unverified"
	hookMalformed   = "malformed"
	hookHandshake   = "handshake"
	hookFailed      = "failed"
	handshakeOrigin = "WebHook-Request-Origin"
)

func (s *server) registerHooks(mux *http.ServeMux) {
	h := &hooks{server: s, limit: rate.NewLimiter(hookRate, hookBurst), seen: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyturn_hook_events_total", Help: "Calls of hooks, or their events, by what became of them.",
	}, []string{"hook", "result"})}
	if s.Registerer != nil {
		s.Registerer.MustRegister(h.seen)
	}
	mux.HandleFunc("POST /hooks/{name}", h.post)
	mux.HandleFunc("OPTIONS /hooks/{name}", h.options)
}

// refusal is an answer that changes nothing and tells nothing.
type refusal struct {
	status int
	result string
	detail string
}

func (r *refusal) Error() string { return r.detail }

// post takes events. Everything that it does can be repeated: a caller that got no answer calls again.
func (h *hooks) post(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), defaultTimeout)
	defer cancel()
	found, body, err := h.verified(ctx, w, r)
	if err != nil {
		h.refuse(w, r, found.Name, err)
		return
	}
	if code, ok := hook.Handshake(found.Source, body); ok {
		h.count(found.Name, hookHandshake)
		writeJSON(w, http.StatusOK, map[string]string{"validationResponse": code})
		return
	}
	events, err := hook.Read(found.Source, r.Header, body)
	if err != nil {
		h.refuse(w, r, found.Name, &refusal{http.StatusBadRequest, hookMalformed, err.Error()})
		return
	}
	answer := make([]hookAnswer, 0, len(events))
	for _, e := range events {
		taken, err := h.take(ctx, found, e, remoteOf(r))
		if err != nil {
			h.refuse(w, r, found.Name, err)
			return
		}
		h.count(found.Name, string(taken.Verdict))
		answer = append(answer, hookAnswer{Event: taken.EventID, Verdict: taken.Verdict, Reason: taken.Reason, Rotation: taken.Rotation})
	}
	writeJSON(w, http.StatusAccepted, map[string]any{"events": answer})
}

type hookAnswer struct {
	Event    string              `json:"event"`
	Verdict  keyturn.HookVerdict `json:"verdict"`
	Reason   string              `json:"reason,omitempty"`
	Rotation keyturn.ID          `json:"rotationId"`
}

// options is the handshake of CloudEvents, which Event Grid makes for that schema:
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection
func (h *hooks) options(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), defaultTimeout)
	defer cancel()
	found, secrets, err := h.find(ctx, r)
	origin := r.Header.Get(handshakeOrigin)
	switch {
	case err != nil:
	case found.Source != keyturn.SourceEventGrid || origin == "":
		w.Header().Set("Allow", http.MethodPost)
		err = &refusal{http.StatusMethodNotAllowed, hookMalformed, "OPTIONS is not possible here; possible: POST"}
	default:
		if err = hook.Verify(found.Source, r, nil, secrets); err != nil {
			err = &refusal{http.StatusUnauthorized, hookUnverified, err.Error()}
		}
	}
	if err != nil {
		h.refuse(w, r, found.Name, err)
		return
	}
	h.count(found.Name, hookHandshake)
	w.Header().Set("WebHook-Allowed-Origin", origin)
	w.Header().Set("WebHook-Allowed-Rate", "120")
	w.Header().Set("Allow", http.MethodPost)
	w.WriteHeader(http.StatusOK)
}

// find returns the hook and its secrets.
func (h *hooks) find(ctx context.Context, r *http.Request) (keyturn.Hook, []string, error) {
	if !h.limit.Allow() {
		return keyturn.Hook{}, nil, &refusal{http.StatusTooManyRequests, hookLimited, "too many requests; try again"}
	}
	stored, err := h.Store.Resource(ctx, keyturn.KindHook, r.PathValue("name"))
	if errors.Is(err, keyturn.ErrNotFound) {
		return keyturn.Hook{}, nil, &refusal{http.StatusNotFound, hookUnknown, "there is no such hook"}
	}
	if err != nil {
		return keyturn.Hook{}, nil, fmt.Errorf("looking for a hook: %w", err)
	}
	found, err := resource.HookOf(stored)
	if err != nil {
		return keyturn.Hook{}, nil, err
	}
	var secrets []string
	for _, ref := range []string{found.Secret, found.PreviousSecret} {
		if ref == "" {
			continue
		}
		value, err := secret.Resolve(ref)
		if err != nil {
			return found, nil, fmt.Errorf("hook %s: %w", found.Name, err)
		}
		secrets = append(secrets, value)
	}
	return found, secrets, nil
}

// verified reads a request and verifies it. The hook is set as far as it is known.
func (h *hooks) verified(ctx context.Context, w http.ResponseWriter, r *http.Request) (keyturn.Hook, []byte, error) {
	found, secrets, err := h.find(ctx, r)
	if err != nil {
		return found, nil, err
	}
	if !isJSON(r.Header) {
		return found, nil, &refusal{http.StatusUnsupportedMediaType, hookMediaType, "send JSON, with Content-Type: application/json"}
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // not every server can
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(found.MaxBody)))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return found, nil, &refusal{http.StatusRequestEntityTooLarge, hookTooLarge, fmt.Sprintf("the body is longer than %d bytes", found.MaxBody)}
	}
	if err != nil {
		return found, nil, &refusal{http.StatusBadRequest, hookMalformed, "the body could not be read"}
	}
	if err := hook.Verify(found.Source, r, body, secrets); err != nil {
		return found, nil, &refusal{http.StatusUnauthorized, hookUnverified, err.Error()}
	}
	return found, body, nil
}

// isJSON also takes a request that does not say what it is.
func isJSON(header http.Header) bool {
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false
	}
	if header.Get("Content-Type") == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && (kind == "application/json" || kind == "text/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"))
}

// take carries an event out and writes it down. An event that is known changes nothing. The rotation comes
// first, under an id that follows from the event: should the record fail, the caller is told so, calls
// again, and the same rotation is found.
func (h *hooks) take(ctx context.Context, found keyturn.Hook, e hook.Event, remote string) (keyturn.HookRequest, error) {
	before, err := h.Hooks.HookRequestOf(ctx, found.Name, e.ID)
	if err == nil {
		if before.Verdict == keyturn.HookAlerted {
			err = h.end(ctx, found, e)
		}
		before.Verdict = keyturn.HookRepeated
		return before, err
	}
	if !errors.Is(err, keyturn.ErrNotFound) {
		return before, err
	}
	record := keyturn.HookRequest{
		Hook: found.Name, EventID: e.ID, Event: clip(e.Type, maxField), Status: clip(e.Status, maxField), Remote: remote, Excerpt: clip(string(e.Raw), excerptMost),
	}
	if err := h.carryOut(ctx, found, e, &record); err != nil {
		return record, err
	}
	if err := h.Hooks.SaveHookRequest(ctx, record); err != nil {
		return record, err
	}
	if record.Verdict == keyturn.HookAlerted {
		if err := h.end(ctx, found, e); err != nil {
			return record, err
		}
	}
	h.Logger.Info("hook called", zap.String("hook", found.Name), zap.String("event", record.EventID), zap.String("type", record.Event),
		zap.String("verdict", string(record.Verdict)), zap.Stringer("rotation", record.Rotation), zap.String("reason", record.Reason))
	return record, nil
}

const maxField = 200

func clip(s string, most int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most])
	}
	return s
}

func (h *hooks) carryOut(ctx context.Context, found keyturn.Hook, e hook.Event, record *keyturn.HookRequest) error {
	rule, place := hook.Match(found, e)
	switch {
	case place < 0:
		record.Verdict, record.Reason = keyturn.HookIgnored, "no rule matches"
		return nil
	case rule.AlertOnly:
		record.Verdict = keyturn.HookAlerted
		return h.alert(ctx, found, e, record)
	}
	only, ok := hook.Narrow(found, rule, e)
	if !ok {
		record.Verdict, record.Reason = keyturn.HookIgnored, "it names no project, and the rule narrows to one: see narrow"
		return nil
	}
	rotation, created, err := h.Store.Request(ctx, keyturn.Request{
		Policy: rule.Policy, Trigger: keyturn.TriggerWebhook, TriggerID: "hook/" + found.Name + "/" + e.Alert,
		Reason: clip(strings.TrimSpace(e.Type+" "+e.Message), 500), RequestedBy: "hook:" + found.Name, Only: only,
	})
	switch {
	case errors.Is(err, keyturn.ErrNotFound):
		return fmt.Errorf("hook %s: policy %s, which its rule %d names, does not exist: %w", found.Name, rule.Policy, place+1, err)
	case errors.Is(err, keyturn.ErrConflict): // the rules were changed since
		record.Verdict, record.Reason = keyturn.HookRepeated, "the same alert asked for a rotation of another policy before"
		return nil
	case err != nil:
		return err
	}
	record.Verdict, record.Rotation = keyturn.HookRepeated, rotation.ID
	if created {
		record.Verdict = keyturn.HookRotated
		h.wake(ctx, rotation)
	}
	return nil
}

// refuse answers with as little as is useful. What went wrong here and not there is logged, and the caller
// is asked to call again.
func (h *hooks) refuse(w http.ResponseWriter, r *http.Request, name string, err error) {
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		h.Logger.Error("a hook failed; the caller is asked to call again", zap.String("hook", name),
			zap.String("request_id", requestID(r.Context())), zap.Error(err))
		refused = &refusal{http.StatusServiceUnavailable, hookFailed, "something is wrong inside the server; try again"}
	}
	h.count(name, refused.result)
	switch refused.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="keyturn hook"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "10")
	}
	writeProblem(w, refused.status, refused.detail)
}

func (h *hooks) count(name, result string) { h.seen.WithLabelValues(name, result).Inc() }

func remoteOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
