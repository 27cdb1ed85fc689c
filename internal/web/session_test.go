package web

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// TestSessionsOfAProviderEndSooner: nobody asks the provider again while one lives, whatever it decides then.
func TestSessionsOfAProviderEndSooner(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		token          keyturn.ID
		longest, other time.Duration
		want           time.Duration
	}{
		"BegunWithAToken": {token: keyturn.ID{1}, want: 24 * time.Hour},
		"ByTheProvider":   {want: 4 * time.Hour},
		"AsConfigured":    {other: 10 * time.Minute, want: 10 * time.Minute},
		"NeverLonger":     {longest: time.Hour, want: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &fakeStore{sessions: map[[32]byte]keyturn.Session{}}
			s := &Site{Config: Config{Store: store, SessionMax: tc.longest, OIDCSessionMax: tc.other}.withDefaults()}
			rec := httptest.NewRecorder()
			err := s.begin(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), keyturn.Session{Token: tc.token, Name: "person:ann"})
			if err != nil {
				t.Fatal(err)
			}
			cookies := rec.Result().Cookies() //nolint:bodyclose // there is none
			if len(cookies) != 1 || time.Duration(cookies[0].MaxAge)*time.Second != tc.want {
				t.Errorf("the cookies are %v, want one that lives for %s", cookies, tc.want)
			}
			for _, kept := range store.sessions {
				if life := kept.ExpiresAt.Sub(kept.SeenAt).Round(time.Second); life != tc.want {
					t.Errorf("the session lives for %s, want %s", life, tc.want)
				}
			}
		})
	}
}
