package web

// morePages registers the pages about what is there, as opposed to what is under way.
func (s *Site) morePages() {
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
	s.form("/targets/{name}/audit-keys", s.askAuditKeys, s.auditKeys)

	s.page("GET /audit", s.auditPage)
}

// moreNavigation follows what is under way.
func moreNavigation() []navItem {
	return []navItem{
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
