package web_test

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/api/apitest"
)

// as asks for a page, or sends a form, in the name of somebody with the role.
func (s *site) as(role keyturn.Role, method, path string, form url.Values) *httptest.ResponseRecorder {
	s.t.Helper()
	secret := strings.Repeat(string(role)[:1], 43)
	err := s.store.CreateSession(s.t.Context(), sha256.Sum256([]byte(secret)), keyturn.Session{Name: "person:" + string(role), Role: role}, time.Hour)
	if err != nil && !strings.Contains(err.Error(), keyturn.ErrConflict.Error()) {
		s.t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(form.Encode()))
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.AddCookie(&http.Cookie{Name: "keyturn", Value: secret}) //nolint:gosec // it is sent, not set
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	return rec
}

func keyOf(target, key string) string {
	return "/keys?" + url.Values{"which": {"all"}, "target": {target}, "key": {key}}.Encode()
}

func TestKeysAreRetiredByAdminsWhoWereAsked(t *testing.T) {
	t.Parallel()
	s := newSite(t, 4, openSQLite)
	const key = "arn:aws:kms:eu-central-1:111122223333:key/7f0c"
	now := time.Date(2026, 2, 5, 0, 0, 0, 0, time.UTC)
	old := keyturn.RetainedKey{KeyID: key, Target: "om", Sure: keyturn.SureByTime, Reasons: []string{}, Units: []keyturn.RetainedUse{}}
	keeper := &apitest.Keeper{Known: []keyturn.RetainedKey{old}}
	s.API = api.New(api.Config{Store: s.store, Now: s.clock.Now, Retained: keeper})
	path := "/keys/retire?" + url.Values{"target": {"om"}, "key": {key}}.Encode()
	form := url.Values{"target": {"om"}, "key": {key}, "reason": {"all snapshots have expired"}}

	if page := s.as(keyturn.RoleOperator, http.MethodGet, "/keys", nil).Body.String(); !strings.Contains(page, strings.ReplaceAll(path, "&", "&amp;")) {
		t.Error("the list does not lead to the question")
	}
	if page := s.as(keyturn.RoleViewer, http.MethodGet, "/keys", nil).Body.String(); strings.Contains(page, "/keys/retire") {
		t.Error("a viewer is offered what only others may")
	}
	for _, tc := range []struct {
		name   string
		r      keyturn.Retirement
		says   []string
		button bool
	}{
		{"needed", keyturn.Retirement{Key: old, Able: true, Message: "needed by 14 snapshots", Needs: []string{"14 snapshots"}}, []string{"Needed by 14 snapshots.", "14 snapshots"}, false},
		{"elsewhere", keyturn.Retirement{Key: old, Message: "nothing needs it", Advice: "deactivate it at its KMIP server"}, []string{"deactivate it at its KMIP server"}, false},
		{"unknown", keyturn.Retirement{Key: old, Able: true, Message: "not known", Unknowns: []string{"rs0 was never listed"}}, []string{"rs0 was never listed", "I accept it"}, true},
		{"free", keyturn.Retirement{Key: old, Able: true, Message: "nothing needs it"}, []string{"Nothing needs it.", "never deleted"}, true},
	} {
		keeper.Retirements = []keyturn.Retirement{tc.r}
		page := s.as(keyturn.RoleAdmin, http.MethodGet, path, nil).Body.String()
		for _, want := range tc.says {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page does not say %q", tc.name, want)
			}
		}
		if strings.Contains(page, "Disable the key</button>") != tc.button {
			t.Errorf("%s: the button is there: %v", tc.name, !tc.button)
		}
	}
	if page := s.as(keyturn.RoleOperator, http.MethodGet, path, nil).Body.String(); strings.Contains(page, "<button class=\"danger") || !strings.Contains(page, "the role admin") {
		t.Error("an operator is offered what only admins may")
	}
	if rec := s.as(keyturn.RoleViewer, http.MethodGet, path, nil); rec.Code != http.StatusForbidden {
		t.Errorf("a viewer has the target asked: %d", rec.Code)
	}
	if keeper.Done {
		t.Fatal("looking disabled the key")
	}
	for _, role := range []keyturn.Role{keyturn.RoleViewer, keyturn.RoleOperator} {
		if rec := s.as(role, http.MethodPost, "/keys/retire", form); rec.Code != http.StatusForbidden || keeper.Done {
			t.Errorf("%s: %d, done %v", role, rec.Code, keeper.Done)
		}
	}
	if rec := s.as(keyturn.RoleAdmin, http.MethodPost, "/keys/retire", form); rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "The key stays: nothing needs it") {
		t.Errorf("a key that stayed: %d %s", rec.Code, rec.Body)
	}
	keeper.Retirements[0].DisabledAt = &now
	form.Set("unknown", "accept")
	rec := s.as(keyturn.RoleAdmin, http.MethodPost, "/keys/retire", form)
	if to := rec.Header().Get("Location"); rec.Code != http.StatusSeeOther || to != keyOf("om", key) {
		t.Errorf("disabled: %d %s", rec.Code, to)
	}
	want := keyturn.RetireQuery{Target: "om", Name: key, AcceptUnknown: true, By: "person:admin", Reason: "all snapshots have expired"}
	if keeper.Query != want {
		t.Errorf("asked for %+v", keeper.Query)
	}
	entry := keyturn.AuditEntry{Actor: "person:admin", Action: "key.retire", Subject: keyturn.KeyRef{Target: "om", KeyID: key}.String()}
	if err := s.store.CreateSession(keyturn.WithAudit(t.Context(), entry), [32]byte{1}, keyturn.Session{Name: "somebody", Role: keyturn.RoleViewer}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if page := s.as(keyturn.RoleOperator, http.MethodGet, "/audit", nil).Body.String(); !strings.Contains(page, strings.ReplaceAll(keyOf("om", key), "&", "&amp;")) {
		t.Error("the audit does not lead to the key")
	}
}
