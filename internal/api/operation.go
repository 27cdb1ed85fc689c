package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
)

// prefix is where the API lives. A change that breaks a client gets a new one.
const prefix = "/api/v1"

const (
	defaultTimeout = 30 * time.Second
	// planTimeout is long because a target with thousands of projects is asked for each
	// of them; servers' write timeouts must be longer.
	planTimeout = 4 * time.Minute
	// bodyTimeout bounds how long a client may take to send its request.
	bodyTimeout   = 15 * time.Second
	maxBody       = 64 << 10
	maxApplyBody  = 8 << 20
	roleExtension = "x-role"
)

// operation is one row of the API: what it is called and who may call it.
type operation struct {
	id, method, path string
	summary, tag     string
	role             keyturn.Role
	status           int           // of success; default 200
	timeout          time.Duration // default defaultTimeout
	maxBody          int64         // bytes; default maxBody
}

// handle registers an operation. It is the only way to add one, so that each
// has a role, a timeout, a bound on its body, and errors that say something.
func handle[I, O any](s *server, op operation, fn func(context.Context, *I) (*O, error)) {
	if !op.role.Covers(keyturn.RoleViewer) {
		panic("operation " + op.id + " has no role")
	}
	timeout, limit := defaultTimeout, int64(maxBody)
	if op.timeout > 0 {
		timeout = op.timeout
	}
	if op.maxBody > 0 {
		limit = op.maxBody
	}
	huma.Register(s.huma, huma.Operation{
		OperationID:     op.id,
		Method:          op.method,
		Path:            prefix + op.path,
		Summary:         op.summary,
		Description:     "Needs the role " + string(op.role) + ".",
		Tags:            []string{op.tag},
		DefaultStatus:   op.status,
		MaxBodyBytes:    limit,
		BodyReadTimeout: bodyTimeout,
		Errors:          []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict},
		Security:        []map[string][]string{{"token": {}}},
		Extensions:      map[string]any{roleExtension: string(op.role)},
		Middlewares:     huma.Middlewares{s.authorize(op.role)},
	}, func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		out, err := fn(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, op.id, err)
		}
		return out, nil
	})
}

// Paging is embedded by the inputs of paged listings.
type Paging struct {
	After string `query:"after" maxLength:"500" doc:"The cursor that the page before returned as next."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"500" doc:"How many items to return at most."`
}

// page reads the cursor. Cursors are opaque to callers, so that what the
// database orders by may change.
func (p Paging) page() (keyturn.Page, error) {
	after, err := base64.RawURLEncoding.DecodeString(p.After)
	if err != nil || p.After != "" && !utf8.Valid(after) {
		return keyturn.Page{}, huma.Error422UnprocessableEntity("query.after: this is not the next of any page")
	}
	return keyturn.Page{After: string(after), Limit: p.Limit}, nil
}

// listOutput is the answer of every listing.
type listOutput[T any] struct {
	Body List[T]
}

// List is one page of a listing.
type List[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next" doc:"The cursor of the next page; empty at the end."`
}

func listed[T any](items []T, next string, err error) (*listOutput[T], error) {
	if err != nil {
		return nil, err
	}
	if items == nil {
		items = []T{}
	}
	cursor := base64.RawURLEncoding.EncodeToString([]byte(next))
	return &listOutput[T]{Body: List[T]{Items: items, Next: cursor}}, nil
}
