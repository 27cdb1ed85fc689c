package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
)

func TestOnlyAdminsSeeTheWholeURLOfAWebhook(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for name, address := range map[string]string{
		"chat": "https://chat.example.com/services/T0/B0/hunter2", "query": "https://u:hunter2@chat.example.com?key=hunter2",
		"reference": "env:CHAT_URL", "bare": "https://pager.example.com/", "mail": "smtp://mail.example.com:587",
	} {
		f.store.AddResource(keyturn.KindWebhook, name, `{"url":"`+address+`","format":"slack"}`)
	}
	for _, path := range []string{"/api/v1/webhooks", "/api/v1/resources", "/api/v1/webhooks/chat", "/api/v1/webhooks/query"} {
		for role, whole := range map[keyturn.Role]bool{keyturn.RoleViewer: false, keyturn.RoleOperator: false, keyturn.RoleAdmin: true} {
			rec := f.call(t, role, http.MethodGet, path, "")
			wantStatus(t, rec, http.StatusOK)
			text := rec.Body.String()
			if strings.Contains(text, "hunter2") != whole {
				t.Errorf("%s of %s: %s", path, role, text)
			}
			if !whole && !strings.Contains(text, `"https://chat.example.com/(redacted)"`) {
				t.Errorf("%s of %s does not name the host: %s", path, role, text)
			}
		}
	}
	list := f.call(t, keyturn.RoleViewer, http.MethodGet, "/api/v1/webhooks", "").Body.String()
	for _, want := range []string{`"env:CHAT_URL"`, `"https://pager.example.com/"`, `"smtp://mail.example.com:587"`, `"format":"slack"`} {
		if !strings.Contains(list, want) {
			t.Errorf("a viewer does not see %s: %s", want, list)
		}
	}
}
