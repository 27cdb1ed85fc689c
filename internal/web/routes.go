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
	s.public("GET /sign-in/oidc", s.beginOIDC)
	s.public("GET "+callbackPath, s.endOIDC)
	s.public("POST /sign-out", s.signOut)
	s.public("POST /theme", s.setTheme)

	s.page("GET /{$}", s.overview)
	s.page("GET /rotations", s.rotations)
	s.page("GET /rotations/{id}", s.rotation)
	s.mux.HandleFunc("GET /rotations/{id}/events", s.stream)
	s.mux.HandleFunc("GET /rotations/{id}/changes", s.changes)
	s.form("/rotations/new", s.askRotate, s.requestRotation)
	s.form("/rotations/{id}/cancel", s.askCancelRotation, s.cancelRotation)
	s.form("/rotations/{id}/resume", s.askResumeRotation, s.resumeRotation)
	s.page("GET /tasks/{id}", s.task)
	s.form("/tasks/{id}/resolve", s.askResolveTask, s.resolveTask)

	s.through("GET /audit/export", func(v *visit) string { return "/audit/export?" + query("format", v.URL.Query().Get("format")) })

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
