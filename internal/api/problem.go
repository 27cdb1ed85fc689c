package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// problem turns an error of a handler into an answer. Errors that nobody
// foresaw are logged in full and answered with the request's id only.
func (s *server) problem(ctx context.Context, operation string, err error) error {
	if se, ok := errors.AsType[huma.StatusError](err); ok {
		return se
	}
	if se, ok := errors.AsType[*keyturn.SystemError](err); ok {
		return huma.Error502BadGateway(se.Error())
	}
	if away, ok := errors.AsType[*keyturn.UnavailableError](err); ok {
		s.Logger.Warn("request failed, because the database is away", zap.String("operation", operation), zap.String("request_id", requestID(ctx)), zap.Error(err))
		return huma.Error503ServiceUnavailable(away.Advice)
	}
	switch {
	case errors.Is(err, keyturn.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, keyturn.ErrConflict):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, context.Canceled):
		return huma.Error503ServiceUnavailable("the request was cancelled before it was done")
	case errors.Is(err, context.DeadlineExceeded):
		return huma.Error503ServiceUnavailable("the server took too long; try again")
	}
	id := requestID(ctx)
	s.Logger.Error("request failed", zap.String("operation", operation), zap.String("request_id", id), zap.Error(err))
	return huma.Error500InternalServerError("something went wrong inside the server; its log says more under request_id " + id)
}

// missing says what there is not, when that is what the error means.
func missing(err error, what, name string) error {
	if errors.Is(err, keyturn.ErrNotFound) {
		return huma.Error404NotFound(fmt.Sprintf("there is no %s %q", what, name))
	}
	if conflict, ok := errors.AsType[*keyturn.ConflictError](err); ok {
		return huma.Error409Conflict(what + " " + name + ": " + conflict.Reason)
	}
	return fmt.Errorf("%s %q: %w", what, name, err)
}

// clearDetail makes a validation error's detail say what was wrong instead of
// only that something was.
func clearDetail(_ huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok || len(model.Errors) == 0 || model.Detail != "validation failed" {
		return v, nil
	}
	clear := *model
	first := model.Errors[0]
	clear.Detail = first.Message
	if first.Location != "" {
		clear.Detail = first.Location + ": " + first.Message
	}
	if clear.Status == http.StatusUnsupportedMediaType {
		clear.Detail += "; send JSON, with Content-Type: application/json"
	}
	return &clear, nil
}

// writeProblem answers outside of huma's handlers.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
}

// withProblems serves mux, but answers what mux doesn't know with a problem
// instead of plain text.
func withProblems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &probeWriter{header: http.Header{}}
		h.ServeHTTP(probe, r)
		switch probe.status {
		case http.StatusMethodNotAllowed:
			allow := probe.header.Get("Allow")
			w.Header().Set("Allow", allow)
			writeProblem(w, probe.status, r.Method+" is not possible here; possible: "+allow)
		case http.StatusNotFound:
			writeProblem(w, probe.status, "there is nothing at this address; the API is under "+prefix+" and described at /openapi.json")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// probeWriter finds out what mux would answer by itself.
type probeWriter struct {
	header http.Header
	status int
}

func (p *probeWriter) Header() http.Header { return p.header }

func (p *probeWriter) WriteHeader(status int) { p.status = status }

func (p *probeWriter) Write(b []byte) (int, error) { return len(b), nil }
