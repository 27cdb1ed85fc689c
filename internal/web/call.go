package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/keyturn/keyturn"
)

// apiError is what the API answered instead of what it was asked for.
type apiError struct {
	Status int
	Detail string // one line that says what to do
}

func (e *apiError) Error() string { return e.Detail }

// again reports whether the same form, filled in otherwise, may be accepted.
func (e *apiError) again() bool {
	switch e.Status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusBadGateway:
		return true
	default:
		return false
	}
}

// get asks the API for what is at a path below /api/v1, in the name of the visitor.
func (v *visit) get(ctx context.Context, path string, out any) error {
	return v.call(ctx, http.MethodGet, path, nil, out)
}

// call asks the API for something in the name of the visitor: in is sent as JSON unless nil, and the
// answer read into out unless nil. What the API refuses is an *apiError.
func (v *visit) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("asking the API for %s: %w", path, err)
		}
		body = bytes.NewReader(encoded)
	}
	caller := keyturn.Caller{Name: v.session.Name, Role: v.session.Role, Remote: v.RemoteAddr}
	rec, err := v.site.ask(keyturn.WithCaller(ctx, caller), method, path, body, nil)
	if err != nil {
		return err
	}
	return rec.read(path, out)
}

// ask makes a request to the API in this process.
func (s *Site) ask(ctx context.Context, method, path string, body io.Reader, header http.Header) (*recorder, error) {
	req, err := http.NewRequestWithContext(ctx, method, "/api/v1"+path, body) //nolint:gosec // it goes to a handler in this process
	if err != nil {
		return nil, fmt.Errorf("asking the API for %s: %w", path, err)
	}
	req.RequestURI = req.URL.RequestURI()
	if header != nil {
		req.Header = header
	}
	if req.ContentLength != 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	rec := &recorder{header: http.Header{}}
	s.API.ServeHTTP(rec, req)
	return rec, nil
}

// through lets the API answer a request itself, in the name of the visitor: for files.
func (s *Site) through(pattern string, path func(*visit) string) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, ok := s.enter(w, r)
		if !ok {
			return
		}
		caller := keyturn.Caller{Name: v.session.Name, Role: v.session.Role, Remote: r.RemoteAddr}
		req, err := http.NewRequestWithContext(keyturn.WithCaller(r.Context(), caller), r.Method, "/api/v1"+path(v), http.NoBody)
		if err != nil {
			s.fail(w, r, &v.session, err)
			return
		}
		req.RequestURI = req.URL.RequestURI()
		s.API.ServeHTTP(w, req)
	})
}

// recorder keeps what the API answers.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// SetReadDeadline is for handlers that bound how long a body may take: this one is there already.
func (r *recorder) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is for handlers that stream.
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// read reads the answer into out.
func (r *recorder) read(path string, out any) error {
	if r.status >= http.StatusBadRequest {
		var problem struct {
			Detail string `json:"detail"`
		}
		_ = json.Unmarshal(r.body.Bytes(), &problem)
		if problem.Detail == "" {
			problem.Detail = http.StatusText(r.status)
		}
		return &apiError{Status: r.status, Detail: problem.Detail}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(r.body.Bytes(), out); err != nil {
		return fmt.Errorf("reading the API's answer for %s: %w", path, err)
	}
	return nil
}

// listing is one page of a listing of the API.
type listing[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// list asks the API for one page of a listing.
func list[T any](ctx context.Context, v *visit, path string) (listing[T], error) {
	var out listing[T]
	return out, v.get(ctx, path, &out)
}
