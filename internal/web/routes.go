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
	s.routesOfRotations()
	s.routesOfThings()
	s.page("GET /audit", s.auditPage)
	s.through("GET /audit/export", func(v *visit) string { return "/audit/export?" + query("format", v.URL.Query().Get("format")) })
	s.public("/", s.nowhere)
}

// routesOfRotations are about what is under way.
func (s *Site) routesOfRotations() {
	s.page("GET /rotations", s.rotations)
	s.page("GET /rotations/{id}", s.rotation)
	s.mux.HandleFunc("GET /rotations/{id}/events", s.stream)
	s.mux.HandleFunc("GET /rotations/{id}/changes", s.changes)
	s.form("/rotations/new", s.askRotate, s.requestRotation)
	s.form("/rotations/{id}/cancel", s.askCancelRotation, s.cancelRotation)
	s.form("/rotations/{id}/resume", s.askResumeRotation, s.resumeRotation)
	s.page("GET /tasks/{id}", s.task)
	s.form("/tasks/{id}/resolve", s.askResolveTask, s.resolveTask)
}

// routesOfThings are about what is there.
func (s *Site) routesOfThings() {
	s.page("GET /fleet", s.fleetPage)
	s.mux.HandleFunc("GET /fleet/cells.json", s.fleetCells)
	s.mux.HandleFunc("GET /fleet/at", s.fleetPlace)
	s.page("GET /units/{id}", s.unit)
	s.page("GET /calendar", s.calendar)

	s.page("GET /policies", s.policies)
	s.page("GET /policies/{name}", s.policy)
	s.form("/policies/{name}/pause", s.askPause, s.pause)
	s.form("/policies/{name}/resume", s.askResume, s.resume)

	s.page("GET /alerts", s.alerts)
	s.page("GET /alerts/{id}", s.alert)
	s.form("/alerts/{id}/ack", s.askAck, s.ack)
	s.form("/alerts/{id}/silence", s.askSilence, s.silence)
	s.page("GET /silences/{name}", s.silencePage)

	s.page("GET /webhooks", s.webhooks)
	s.page("GET /webhooks/{name}", s.webhook)
	s.form("/webhooks/{name}/replay", s.askReplayAll, s.replayAll)
	s.form("/webhooks/{name}/test", s.askTest, s.testWebhook)
	s.page("GET /deliveries/{id}", s.delivery)
	s.form("/deliveries/{id}/replay", s.askReplay, s.replay)
	s.page("GET /incoming/{name}", s.hook)

	s.page("GET /targets", s.targets)
	s.page("GET /targets/{name}", s.target)
	s.page("GET /targets/{name}/doctor", s.doctor)
	s.form("/targets/{name}/thresholds", s.askThresholds, s.thresholds)
	s.form("/targets/{name}/observe", s.askObserve, s.observe)

	s.page("GET /keys", s.keys)
	s.form("/keys/retire", s.askRetire, s.retire)
	s.form("/targets/{name}/audit-keys", s.askAuditKeys, s.auditKeys)
}

// navigation is what the pages offer on the left, in this order.
func navigation() []navItem {
	return []navItem{
		{Key: "overview", Title: "Overview", Path: "/", Icon: "home"},
		{Key: "rotations", Title: "Rotations", Path: "/rotations", Icon: "turn"},
		{Key: "fleet", Title: "Fleet", Path: "/fleet", Icon: "grid"},
		{Key: "keys", Title: "Keys", Path: "/keys", Icon: "key"},
		{Key: "calendar", Title: "Calendar", Path: "/calendar", Icon: "cal"},
		{Key: "policies", Title: "Policies", Path: "/policies", Icon: "list"},
		{Key: "alerts", Title: "Alerts", Path: "/alerts", Icon: "bell"},
		{Key: "webhooks", Title: "Webhooks", Path: "/webhooks", Icon: "hook"},
		{Key: "targets", Title: "Targets", Path: "/targets", Icon: "target"},
		{Key: "audit", Title: "Audit", Path: "/audit", Icon: "book"},
	}
}

// navItem is one way to go.
type navItem struct {
	Key, Title, Path, Icon string
}
