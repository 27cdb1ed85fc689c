package web

import "net/http"

// routes registers everything that the site serves. A page takes a `page`, a change a `form`: a page with
// a form at the same address, which asks before anything is changed.
func (s *Site) routes() {
	s.mux.Handle("GET /assets/{name}", s.assets)
	s.mux.Handle("GET /favicon.ico", http.RedirectHandler(s.assets.url("icon.svg"), http.StatusFound))

	s.public("GET /sign-in", s.showSignIn)
	s.public("POST /sign-in", s.signIn)
	s.public("GET /sign-in/code", s.showCode)
	s.public("POST /sign-in/code", s.signInByCode)
	s.public("POST /sign-out", s.signOut)
	s.public("POST /theme", s.setTheme)

	s.page("GET /{$}", s.overview)
	s.page("GET /rotations", s.rotations)

	s.morePages()

	s.public("/", s.nowhere)
}

// navigation is what the pages offer on the left, in this order.
func navigation() []navItem {
	return append([]navItem{
		{Key: "overview", Title: "Overview", Path: "/", Icon: "home"},
		{Key: "rotations", Title: "Rotations", Path: "/rotations", Icon: "turn"},
	}, moreNavigation()...)
}

// navItem is one way to go.
type navItem struct {
	Key, Title, Path, Icon string
}
