package web

import (
	"compress/gzip"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/proxied"
)

// policy is the Content-Security-Policy of every page: what is shown comes from here, and nothing in a
// page's text is a script or a style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// outside wraps everything: headers, panics, the log.
func (s *Site) outside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := s.Now()
		if s.tlsHost != "" && r.Host == s.tlsHost {
			r = proxied.WithSecure(r)
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if secure(r) {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
					panic(v)
				}
				s.Logger.Error("a page panicked", zap.String("path", r.URL.Path), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
				panic(http.ErrAbortHandler)
			}
			s.Logger.Debug("page", zap.String("method", r.Method), zap.String("path", r.URL.Path),
				zap.Duration("took", s.Now().Sub(begun)), zap.String("remote", r.RemoteAddr))
		}()
		if err := keyturn.CheckURL(r.URL); err != nil {
			s.fail(w, r, nil, &apiError{Status: http.StatusBadRequest, Detail: err.Error()})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sameOrigin refuses changes that another site's page asks for.
func (s *Site) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Logger.Warn("refused a change that another site's page asked for", zap.String("path", r.URL.Path),
			zap.String("origin", r.Header.Get("Origin")), zap.String("remote", r.RemoteAddr))
		s.fail(w, r, nil, &apiError{Status: http.StatusForbidden, Detail: "this change was asked for by a page of another site: nothing was changed"})
	}))
	return protection.Handler(next)
}

// smallest is from how many bytes on an answer is worth compressing.
const smallest = 1200

// writeCompressed answers with a body. No page holds a secret that its compressed length could give away:
// cookies are not in it, and changes are kept apart by where they come from, not by a token.
func writeCompressed(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	if len(body) < smallest || !acceptsGzip(r) {
		h.Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_, _ = w.Write(body) //nolint:gosec // templates escape, and JSON is sent as JSON
		return
	}
	h.Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	zw, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is a valid one
	_, _ = zw.Write(body)
	_ = zw.Close()
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			return !ok || err != nil || weight > 0
		}
	}
	return false
}

// yearly is how long something that never changes may be kept.
const yearly = 365 * 24 * time.Hour
