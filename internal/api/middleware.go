package api

import (
	"context"
	"net/http"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

type requestIDKey struct{}

// requestID returns the id under which the request is logged.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// outside wraps everything: request id, security headers, log, panics.
func (s *server) outside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.Now()
		id := keyturn.NewID(start).String()
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
		securityHeaders(w.Header())
		w.Header().Set("X-Request-Id", id)
		rec := &statusWriter{ResponseWriter: w}
		defer s.finishRequest(rec, r, start)
		if err := keyturn.CheckURL(r.URL); err != nil {
			writeProblem(rec, http.StatusBadRequest, err.Error())
			return
		}
		next.ServeHTTP(rec, r)
	})
}

// finishRequest logs the request and answers for a handler that panicked.
func (s *server) finishRequest(w *statusWriter, r *http.Request, start time.Time) {
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
			panic(v)
		}
		s.Logger.Error("request panicked", zap.String("request_id", requestID(r.Context())),
			zap.String("path", r.URL.Path), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		if w.status != 0 {
			panic(http.ErrAbortHandler) // half an answer is out: cut the connection
		}
		writeProblem(w, http.StatusInternalServerError,
			"something went wrong inside the server; its log says more under request_id "+requestID(r.Context()))
	}
	s.Logger.Debug("request", zap.String("method", r.Method), zap.String("path", r.URL.Path),
		zap.Int("status", w.status), zap.Duration("took", s.Now().Sub(start)),
		zap.String("remote", r.RemoteAddr), zap.String("request_id", requestID(r.Context())))
}

// securityHeaders are for browsers that are led here: nothing of the API is to
// be shown, guessed at, framed or kept.
func securityHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

// statusWriter remembers the status that was sent.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
