package app_test

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what MongoDB signs with
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/client"
)

// alertsOfOthers checks that a rule with alertOnly makes an alert, which ends when its sender says so.
func (w *world) alertsOfOthers(t *testing.T) {
	t.Parallel()
	r := start(t, w.settings(t, "embedded"))
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hunter2hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := r.client.Apply(t.Context(), client.ApplyRequest{Documents: []client.Document{{Name: "hooks.yaml", Content: fmt.Sprintf(`
apiVersion: keyturn/v1
kind: Hook
name: atlas
spec: {source: atlas, secret: "file:%[1]s", rules: [{match: {status: [OPEN]}, alertOnly: true}]}
---
apiVersion: keyturn/v1
kind: Hook
name: prometheus
spec: {source: alertmanager, secret: "file:%[1]s", rules: [{alertOnly: true}]}
`, secret)}}})
	if err != nil {
		t.Fatal(err)
	}
	atlas := func(status string) {
		body := `{"id":"a1","groupId":"p1","eventTypeName":"AWS_ENCRYPTION_KEY_INVALID","status":"` + status + `","updated":"` + status + `"}`
		mac := hmac.New(sha1.New, []byte("hunter2hunter2"))
		mac.Write([]byte(body))
		r.call(t, "/hooks/atlas", "X-MMS-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)), body)
	}
	prometheus := func(status string) {
		r.call(t, "/hooks/prometheus", "Authorization", "Bearer hunter2hunter2", `{"alerts":[{"status":"`+status+
			`","fingerprint":"f1","startsAt":"2026-01-01T00:00:00Z","labels":{"alertname":"KMIPDown","severity":"critical"},"annotations":{"summary":"KMIP is down"}}]}`)
	}
	for _, status := range []string{"OPEN", "OPEN", "TRACKING"} {
		atlas(status)
	}
	prometheus("firing")
	open := r.external(t)
	if len(open) != 2 || open[0].Subject != "prometheus/f1@2026-01-01T00:00:00Z" || open[0].Severity != keyturn.SeverityCritical ||
		open[0].Message != "hook prometheus: KMIPDown: KMIP is down" || open[1].Subject != "atlas/a1" || open[1].Severity != keyturn.SeverityWarning {
		t.Errorf("open are %+v", open)
	}
	atlas("CLOSED")
	prometheus("resolved")
	if open := r.external(t); len(open) != 0 {
		t.Errorf("after their end %+v are open", open)
	}
}

func (r *running) external(t *testing.T) []keyturn.Alert {
	t.Helper()
	all, err := r.client.Alerts(t.Context(), keyturn.AlertFilter{Kind: keyturn.AlertExternal}, 100)
	if err != nil {
		t.Fatal(err)
	}
	var open []keyturn.Alert
	for _, a := range all {
		if a.State != keyturn.AlertResolved {
			open = append(open, a)
		}
	}
	return open
}

// call calls a hook, which must take it.
func (r *running) call(t *testing.T, path, header, value, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(header, value)
	caller := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := caller.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%s answered %s", path, resp.Status)
	}
}
