package keyturn

import "context"

// Caller is who asks the API for something, when that was found out before the API is asked: a person
// who is signed in to the pages. It travels in a context, which nothing from outside can fill.
type Caller struct {
	Name   string // as it is written down: "token:ci", or "person:ann@example.com"
	Role   Role
	Remote string // the address that the request came from; empty: unknown
}

type callerKey struct{}

// WithCaller returns a context whose requests to the API are the caller's.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns the caller of a context, if there is one.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// Covers reports whether the bearer of r may do what needs the role.
func (r Role) Covers(needed Role) bool {
	rank := map[Role]int{RoleViewer: 1, RoleOperator: 2, RoleAdmin: 3}
	return rank[r] > 0 && rank[needed] > 0 && rank[r] >= rank[needed]
}
