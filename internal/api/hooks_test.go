package api_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what MongoDB signs with
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
)

// hookMemory keeps what came in, and the alerts that were raised.
type hookMemory struct {
	mu     sync.Mutex
	kept   []keyturn.HookRequest
	raised []keyturn.ExternalAlert // that begin
	open   map[string]bool         // those that are not over
	fail   error                   // of the next SaveHookRequest
	ending error                   // of the next end of an alert
	// between is called once, after a beginning was looked up and before it is written down.
	between func()
}

func (m *hookMemory) HookRequestOf(_ context.Context, hook, eventID string) (keyturn.HookRequest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.kept {
		if r.Hook == hook && r.EventID == eventID {
			return r, nil
		}
	}
	return keyturn.HookRequest{}, keyturn.ErrNotFound
}

func (m *hookMemory) SaveHookRequest(_ context.Context, r keyturn.HookRequest) error {
	m.mu.Lock()
	if between := m.between; between != nil {
		m.between = nil
		m.mu.Unlock()
		between()
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	if err := m.fail; err != nil {
		m.fail = nil
		return err
	}
	m.kept = append(m.kept, r)
	return nil
}

func (m *hookMemory) HookRequests(context.Context, string, keyturn.Page) ([]keyturn.HookRequest, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.kept), "", nil
}

func (m *hookMemory) RaiseExternal(_ context.Context, a keyturn.ExternalAlert) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open == nil {
		m.open = map[string]bool{}
	}
	if a.Open {
		m.raised = append(m.raised, a)
	} else if err := m.ending; err != nil {
		m.ending = nil
		return err
	}
	m.open[a.Hook+"/"+a.Key] = a.Open
	return nil
}

const (
	hookSecret  = "hunter2hunter2"
	hookRules   = `[{"match":{"eventTypes":["*NEEDS_ROTATION","Microsoft.KeyVault.Key*","KMS *","KeyOld","key.old"]},"policy":"quarterly"},{"match":{"eventTypes":["*_INVALID"]},"alertOnly":true}]`
	standardKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

type hookFixture struct {
	*fixture
	memory *hookMemory
}

// newHookFixture has one hook for each source, under its name.
func newHookFixture(t *testing.T) *hookFixture {
	t.Helper()
	path := func(value string) string {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	memory := &hookMemory{}
	f := newFixture(t, func(c *api.Config) { c.Hooks, c.Alerts = memory, memory })
	plain, standard, previous := path(hookSecret), path(standardKey), path("previous-secret")
	for _, source := range []string{"atlas", "ops-manager", "eventgrid", "eventbridge", "alertmanager", "standard"} {
		secret := plain
		if source == "standard" {
			secret = standard
		}
		f.store.AddResource(keyturn.KindHook, source,
			`{"source":"`+source+`","secret":"file:`+secret+`","previousSecret":"file:`+previous+`","rules":`+hookRules+`,"maxBody":4096}`)
	}
	return &hookFixture{fixture: f, memory: memory}
}

func (f *hookFixture) post(t *testing.T, path, body string, header map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	f.http.ServeHTTP(rec, req)
	return rec
}

func (f *hookFixture) rotations(t *testing.T) []keyturn.Rotation {
	t.Helper()
	all, _, err := f.store.Rotations(t.Context(), keyturn.RotationFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantNothing checks that a request changed nothing.
func (f *hookFixture) wantNothing(t *testing.T) {
	t.Helper()
	if got := f.rotations(t); len(got) != 0 || len(f.memory.kept) != 0 || len(f.memory.raised) != 0 {
		t.Errorf("it made %d rotations, %d records and %d alerts", len(got), len(f.memory.kept), len(f.memory.raised))
	}
}

func mms(body, secret string) map[string]string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(body))
	return map[string]string{"X-MMS-Event": "alert.open", "X-MMS-Signature": base64.StdEncoding.EncodeToString(mac.Sum(nil))}
}

func standardHeader(t *testing.T, id, body string, at time.Time) map[string]string {
	t.Helper()
	signer, err := standardwebhooks.NewWebhook(standardKey)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := signer.Sign(id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"webhook-id": id, "webhook-timestamp": strconv.FormatInt(at.Unix(), 10), "webhook-signature": signature}
}

const mmsAlert = `{"id":"a1","groupId":"p1","clusterName":"orders","eventTypeName":"AWS_ENCRYPTION_KEY_NEEDS_ROTATION","status":"OPEN","updated":"2026-01-01T00:00:00Z"}`

func TestHookStartsOneRotationForEachAlert(t *testing.T) {
	t.Parallel()
	grid := `[{"id":"e1","eventType":"Microsoft.KeyVault.KeyNearExpiry","subject":"k","data":{"VaultName":"v","ObjectName":"k"}}]`
	cloud := `{"specversion":"1.0","id":"e1","source":"/v","type":"Microsoft.KeyVault.KeyExpired","data":{"VaultName":"v"}}`
	bridge := `{"id":"b1","detail-type":"KMS CMK Deletion","source":"aws.kms","resources":["arn:aws:kms:x"],"detail":{"key-id":"k"}}`
	prometheus := `{"version":"4","status":"firing","alerts":[{"status":"firing","fingerprint":"f1","startsAt":"2026-01-01T00:00:00Z","labels":{"alertname":"KeyOld"}}]}`
	standard := `{"type":"key.old","timestamp":"2026-01-01T00:00:00Z","data":{"projectId":"p1"}}`
	tests := map[string]struct {
		path, body string
		header     map[string]string
		key        string
		only       keyturn.Selection
	}{
		"atlas": {"/hooks/atlas", mmsAlert, mms(mmsAlert, hookSecret), "hook/atlas/a1", keyturn.Selection{Projects: []string{"p1"}, Clusters: []string{"orders"}}},
		"previous secret": {
			"/hooks/ops-manager", mmsAlert, mms(mmsAlert, "previous-secret"), "hook/ops-manager/a1",
			keyturn.Selection{Projects: []string{"p1"}, Clusters: []string{"orders"}},
		},
		"event grid by query":      {"/hooks/eventgrid?code=" + hookSecret, grid, nil, "hook/eventgrid/e1", keyturn.Selection{}},
		"event grid as CloudEvent": {"/hooks/eventgrid", cloud, map[string]string{"X-Keyturn-Token": hookSecret, "Content-Type": "application/cloudevents+json"}, "hook/eventgrid/e1", keyturn.Selection{}},
		"event bridge":             {"/hooks/eventbridge", bridge, map[string]string{"X-Api-Key": hookSecret}, "hook/eventbridge/b1", keyturn.Selection{}},
		"alertmanager":             {"/hooks/alertmanager", prometheus, map[string]string{"Authorization": "Bearer " + hookSecret}, "hook/alertmanager/f1@2026-01-01T00:00:00Z", keyturn.Selection{}},
		"standard":                 {"/hooks/standard", standard, standardHeader(t, "m1", standard, time.Now()), "hook/standard/m1", keyturn.Selection{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newHookFixture(t)
			for range 3 {
				wantStatus(t, f.post(t, tc.path, tc.body, tc.header), http.StatusAccepted)
			}
			got := f.rotations(t)
			if len(got) != 1 || got[0].Trigger != keyturn.TriggerWebhook || got[0].TriggerID != tc.key || got[0].Policy != "quarterly" {
				t.Fatalf("rotations are %+v, want one by %s", got, tc.key)
			}
			if !slices.Equal(got[0].Only.Projects, tc.only.Projects) || !slices.Equal(got[0].Only.Clusters, tc.only.Clusters) {
				t.Errorf("narrowed to %+v, want %+v", got[0].Only, tc.only)
			}
			if kept := f.memory.kept; len(kept) != 1 || kept[0].Verdict != keyturn.HookRotated || kept[0].Rotation != got[0].ID || strings.Contains(kept[0].Excerpt, hookSecret) {
				t.Errorf("written down are %+v", kept)
			}
		})
	}
}

func TestHookRefuses(t *testing.T) {
	t.Parallel()
	forged := strings.Replace(mmsAlert, `"p1"`, `"p2"`, 1)
	standard := `{"type":"key.old","data":{}}`
	long := `{"id":"` + strings.Repeat("x", 5000) + `"}`
	tests := map[string]struct {
		path, body string
		header     map[string]string
		status     int
	}{
		"unsigned":                {"/hooks/atlas", mmsAlert, nil, 401},
		"signed by another":       {"/hooks/atlas", mmsAlert, mms(mmsAlert, "other"), 401},
		"changed on the way":      {"/hooks/atlas", forged, mms(mmsAlert, hookSecret), 401},
		"no base64":               {"/hooks/atlas", mmsAlert, map[string]string{"X-MMS-Signature": "%%%"}, 401},
		"empty signature":         {"/hooks/atlas", mmsAlert, map[string]string{"X-MMS-Signature": ""}, 401},
		"a token is no signature": {"/hooks/atlas?code=" + hookSecret, mmsAlert, map[string]string{"Authorization": "Bearer " + hookSecret}, 401},
		"standard, too old":       {"/hooks/standard", standard, standardHeader(t, "m1", standard, time.Now().Add(-6*time.Minute)), 401},
		"standard, too new":       {"/hooks/standard", standard, standardHeader(t, "m1", standard, time.Now().Add(6*time.Minute)), 401},
		"standard, unsigned":      {"/hooks/standard", standard, nil, 401},
		"wrong token":             {"/hooks/eventgrid?code=x", "[]", nil, 401},
		"no token":                {"/hooks/alertmanager", `{"alerts":[]}`, nil, 401},
		"unknown":                 {"/hooks/nobody", mmsAlert, mms(mmsAlert, hookSecret), 404},
		"too long":                {"/hooks/atlas", long, mms(long, hookSecret), 413},
		"no JSON by its name":     {"/hooks/atlas", mmsAlert, map[string]string{"Content-Type": "text/plain"}, 415},
		"packed":                  {"/hooks/atlas", mmsAlert, map[string]string{"Content-Encoding": "gzip"}, 415},
		"no JSON":                 {"/hooks/atlas", "nonsense", mms("nonsense", hookSecret), 400},
		"no id":                   {"/hooks/atlas", `{"eventTypeName":"X"}`, mms(`{"eventTypeName":"X"}`, hookSecret), 400},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newHookFixture(t)
			p := wantProblem(t, f.post(t, tc.path, tc.body, tc.header), tc.status)
			if strings.Contains(p.Detail, hookSecret) {
				t.Errorf("the secret is shown: %s", p.Detail)
			}
			f.wantNothing(t)
		})
	}
	f := newHookFixture(t)
	wantProblem(t, f.call(t, keyturn.RoleAdmin, http.MethodGet, "/hooks/atlas", ""), http.StatusMethodNotAllowed)
}

func TestHookRules(t *testing.T) {
	t.Parallel()
	alert := func(id, kind, status, group string) string {
		return `{"id":"` + id + `","groupId":"` + group + `","eventTypeName":"` + kind + `","status":"` + status + `","updated":"u"}`
	}
	tests := map[string]struct {
		body    string
		verdict keyturn.HookVerdict
		raised  int
	}{
		"no rule":             {alert("a", "HOST_DOWN", "OPEN", "p"), keyturn.HookIgnored, 0},
		"closed":              {alert("a", "AWS_ENCRYPTION_KEY_NEEDS_ROTATION", "CLOSED", "p"), keyturn.HookIgnored, 0},
		"no project":          {alert("a", "AWS_ENCRYPTION_KEY_NEEDS_ROTATION", "OPEN", ""), keyturn.HookIgnored, 0},
		"alert only":          {alert("a", "AWS_ENCRYPTION_KEY_INVALID", "OPEN", "p"), keyturn.HookAlerted, 1},
		"end of an alert":     {alert("a", "AWS_ENCRYPTION_KEY_INVALID", "CLOSED", "p"), keyturn.HookAlerted, 0},
		"neither nor":         {alert("a", "AWS_ENCRYPTION_KEY_INVALID", "TRACKING", "p"), keyturn.HookIgnored, 0},
		"informational event": {alert("a", "GCP_ENCRYPTION_KEY_NEEDS_ROTATION", "INFORMATIONAL", "p"), keyturn.HookRotated, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newHookFixture(t)
			for range 2 {
				wantStatus(t, f.post(t, "/hooks/atlas", tc.body, mms(tc.body, hookSecret)), http.StatusAccepted)
			}
			if len(f.memory.kept) != 1 || f.memory.kept[0].Verdict != tc.verdict || len(f.memory.raised) != tc.raised {
				t.Errorf("written down are %+v, raised %+v", f.memory.kept, f.memory.raised)
			}
			if rotated := len(f.rotations(t)) == 1; rotated != (tc.verdict == keyturn.HookRotated) {
				t.Errorf("rotations are %+v", f.rotations(t))
			}
		})
	}
}

// TestHookThatComesLate: an alert whose end is known does not begin any more, in whatever order its calls come.
func TestHookThatComesLate(t *testing.T) {
	t.Parallel()
	alert := func(id, status, updated string) string {
		return `{"id":"` + id + `","groupId":"p","eventTypeName":"AWS_ENCRYPTION_KEY_INVALID","status":"` + status + `","updated":"` + updated + `"}`
	}
	call := func(t *testing.T, f *hookFixture, body string) *httptest.ResponseRecorder {
		t.Helper()
		return f.post(t, "/hooks/atlas", body, mms(body, hookSecret))
	}
	const now = "2026-03-01T12:00:00Z"
	for name, calls := range map[string][]string{
		"end last":      {alert("a", "OPEN", now), alert("a", "CLOSED", now)},
		"end first":     {alert("a", "CLOSED", now), alert("a", "OPEN", now)},
		"told again":    {alert("a", "OPEN", now), alert("a", "CLOSED", now), alert("a", "OPEN", "2026-03-01T13:00:00Z")},
		"ended twice":   {alert("a", "CLOSED", now), alert("a", "CANCELLED", "2026-03-01T13:00:00Z"), alert("a", "OPEN", now)},
		"long ago":      {alert("a", "OPEN", "2020-03-01T12:00:00Z")},
		"no rule's end": {strings.Replace(alert("a", "CLOSED", now), "_INVALID", "_LOST", 1), alert("a", "OPEN", now)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newHookFixture(t)
			for _, body := range calls {
				wantStatus(t, call(t, f, body), http.StatusAccepted)
			}
			if last := f.memory.kept[len(f.memory.kept)-1]; f.memory.open["atlas/a"] || last.Verdict == keyturn.HookIgnored && last.Reason == "" {
				t.Errorf("open are %v, the last one is %+v", f.memory.open, last)
			}
		})
	}
	t.Run("another one begins", func(t *testing.T) {
		t.Parallel()
		f := newHookFixture(t)
		for _, body := range []string{alert("a", "CLOSED", now), alert("b", "OPEN", now)} {
			wantStatus(t, call(t, f, body), http.StatusAccepted)
		}
		if !f.memory.open["atlas/b"] {
			t.Errorf("open are %v", f.memory.open)
		}
	})
	for name, order := range map[string][2]string{"the end comes meanwhile": {"OPEN", "CLOSED"}, "the beginning comes meanwhile": {"CLOSED", "OPEN"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newHookFixture(t)
			f.memory.between = func() { wantStatus(t, call(t, f, alert("a", order[1], now)), http.StatusAccepted) }
			wantStatus(t, call(t, f, alert("a", order[0], now)), http.StatusAccepted)
			if len(f.memory.kept) != 2 || f.memory.open["atlas/a"] {
				t.Errorf("open are %v after %+v", f.memory.open, f.memory.kept)
			}
		})
	}
	t.Run("an end that failed halfway comes again", func(t *testing.T) {
		t.Parallel()
		f := newHookFixture(t)
		f.memory.between = func() {
			wantStatus(t, call(t, f, alert("a", "OPEN", now)), http.StatusAccepted)
			f.memory.mu.Lock()
			defer f.memory.mu.Unlock()
			f.memory.ending = errors.New("the database died")
		}
		wantProblem(t, call(t, f, alert("a", "CLOSED", now)), http.StatusServiceUnavailable)
		if !f.memory.open["atlas/a"] {
			t.Fatal("nothing is left to be ended")
		}
		wantStatus(t, call(t, f, alert("a", "CLOSED", now)), http.StatusAccepted)
		if f.memory.open["atlas/a"] {
			t.Error("it goes on for ever")
		}
	})
}

func TestHookNeverWidens(t *testing.T) {
	t.Parallel()
	f := newHookFixture(t)
	body := strings.Replace(strings.Replace(mmsAlert, `"p1"`, `"*"`, 1), `"orders"`, `"[a-z]*?"`, 1)
	wantStatus(t, f.post(t, "/hooks/atlas", body, mms(body, hookSecret)), http.StatusAccepted)
	only := f.rotations(t)[0].Only
	if only.MatchProject("anything", "") || only.Match(keyturn.Unit{ProjectID: "*", ClusterName: "abc"}) || !only.Match(keyturn.Unit{ProjectID: "*", ClusterName: "[a-z]*?"}) {
		t.Errorf("what an alert names became a glob: %+v", only)
	}
}

func TestHookThatFailsHalfwayFindsTheSameRotation(t *testing.T) {
	t.Parallel()
	f := newHookFixture(t)
	f.memory.fail = errors.New("the database died")
	rec := f.post(t, "/hooks/atlas", mmsAlert, mms(mmsAlert, hookSecret))
	wantProblem(t, rec, http.StatusServiceUnavailable)
	if rec.Header().Get("Retry-After") == "" {
		t.Error("the caller is not told to call again")
	}
	wantStatus(t, f.post(t, "/hooks/atlas", mmsAlert, mms(mmsAlert, hookSecret)), http.StatusAccepted)
	if got := f.rotations(t); len(got) != 1 || len(f.memory.kept) != 1 || f.memory.kept[0].Rotation != got[0].ID {
		t.Errorf("%d rotations, written down %+v", len(got), f.memory.kept)
	}
}

func TestEventGridHandshakes(t *testing.T) {
	t.Parallel()
	f := newHookFixture(t)
	body := `[{"id":"1","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"C0DE"}}]`
	wantProblem(t, f.post(t, "/hooks/eventgrid", body, nil), http.StatusUnauthorized)
	rec := f.post(t, "/hooks/eventgrid?code="+hookSecret, body, nil)
	wantStatus(t, rec, http.StatusOK)
	var answer map[string]string
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || answer["validationResponse"] != "C0DE" {
		t.Errorf("answered %s", rec.Body)
	}
	for path, want := range map[string]int{"/hooks/eventgrid?code=" + hookSecret: 200, "/hooks/eventgrid": 401, "/hooks/atlas": 405, "/hooks/nobody": 404} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, path, nil)
		req.Header.Set("WebHook-Request-Origin", "eventgrid.azure.net")
		rec := httptest.NewRecorder()
		f.http.ServeHTTP(rec, req)
		if rec.Code != want || want == 200 && rec.Header().Get("WebHook-Allowed-Origin") != "eventgrid.azure.net" {
			t.Errorf("%s: answered %d %v", path, rec.Code, rec.Header())
		}
	}
	f.wantNothing(t)
}

func TestHookIsLimited(t *testing.T) {
	t.Parallel()
	f := newHookFixture(t)
	for range 1000 {
		if rec := f.post(t, "/hooks/nobody", "{}", nil); rec.Code == http.StatusTooManyRequests {
			if rec.Header().Get("Retry-After") == "" {
				t.Error("the caller is not told when to call again")
			}
			return
		}
	}
	t.Error("1,000 requests at once were all looked at")
}
