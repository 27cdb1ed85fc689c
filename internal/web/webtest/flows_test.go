package webtest_test

import "testing"

// flow is something that people do.
type flow struct {
	name string
	try  func(*testing.T, *browser, *world)
}

// flows are tried one after the other, in one world.
func flows() []flow {
	return []flow{
		{"SignsInAndOut", signsInAndOut},
	}
}

func signsInAndOut(t *testing.T, b *browser, w *world) {
	tb := b.open(t, w.url)
	tb.visit("/rotations?policy=careful")
	tb.wantAt("/sign-in")
	tb.fill("Token", "kt_wrong")
	tb.press("Sign in")
	tb.want("This token is unknown, revoked or expired.")
	tb.forgive("status of 401")
	tb.visit("/rotations?policy=careful")
	tb.fill("Token", w.viewer)
	tb.press("Sign in")
	tb.wantAt("/rotations")
	tb.want("bob")
	tb.press("Sign out")
	tb.wantAt("/sign-in")
	tb.visit("/")
	tb.wantAt("/sign-in")
}
