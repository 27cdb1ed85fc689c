package webtest_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"github.com/keyturn/keyturn/internal/client"
)

// issuer is an OpenID Connect provider at which everybody is signed in already.
type issuer struct {
	url string
	key *rsa.PrivateKey

	mu     sync.Mutex
	groups any                   // of whoever comes next
	refuse bool                  // whoever comes next is refused
	nonce  string                // sent instead of the one that was asked for
	codes  map[string]url.Values // what was asked for, by code
}

func startIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	is := &issuer{key: key, codes: map[string]url.Values{}}
	keys := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "k1", Algorithm: oidc.RS256}}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": is.url, "authorization_endpoint": is.url + "/authorize", "token_endpoint": is.url + "/token",
			"jwks_uri": is.url + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /authorize", is.authorize)
	mux.HandleFunc("POST /token", is.token)
	mux.Handle("/keys", keys)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	// To a browser, localhost is another site than 127.0.0.1.
	is.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	keys.SetIssuer(is.url)
	return is
}

func (is *issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	is.mu.Lock()
	defer is.mu.Unlock()
	back := url.Values{"state": {q.Get("state")}}
	if is.refuse {
		back.Set("error", "access_denied")
	} else {
		code := rand.Text()
		is.codes[code] = q
		back.Set("code", code)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound) //nolint:gosec // it is what issuers do
}

func (is *issuer) token(w http.ResponseWriter, r *http.Request) {
	is.mu.Lock()
	defer is.mu.Unlock()
	asked, ok := is.codes[r.PostFormValue("code")]
	delete(is.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	id, secret, _ := r.BasicAuth()
	w.Header().Set("Content-Type", "application/json")
	if !ok || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || id != "keyturn" || secret != "hush" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
		return
	}
	nonce := asked.Get("nonce")
	if is.nonce != "" {
		nonce = is.nonce
	}
	claims, _ := json.Marshal(map[string]any{
		"iss": is.url, "aud": "keyturn", "sub": "4711", "email": "ann@example.com", "email_verified": true,
		"nonce": nonce, "teams": is.groups, "exp": time.Now().Add(time.Minute).Unix(), "iat": time.Now().Unix(),
	})
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": "x", "token_type": "Bearer", "id_token": oidctest.SignIDToken(is.key, "k1", oidc.RS256, string(claims)),
	})
}

// set changes what the issuer says of whoever comes next.
func (is *issuer) set(groups any, refuse bool, nonce string) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.groups, is.refuse, is.nonce = groups, refuse, nonce
}

// freeAddress is one at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func tryOIDC(t *testing.T, b *browser) {
	is := startIssuer(t)
	secretFile := t.TempDir() + "/secret"
	if err := os.WriteFile(secretFile, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	server, _ := serve(t, map[string]any{
		"listen": address, "public_url": "http://" + address, "oidc_issuer": is.url, "oidc_client_id": "keyturn",
		"oidc_client_secret": "file:" + secretFile, "oidc_groups_claim": "teams",
		"oidc_roles": []string{"CN=ops,DC=example=operator", "everybody=viewer"},
	})
	t.Run("SignsInAcrossSites", func(t *testing.T) {
		is.set([]string{"everybody", "CN=ops,DC=example"}, false, "")
		tb := b.open(t, server.URL())
		tb.visit("/rotations?state=failed")
		tb.press("Sign in with your organisation")
		tb.wantAt("/rotations")
		tb.want("person:ann@example.com operator")
		tb.visit("/sign-in")
		tb.wantAt("/")
		raw, err := os.ReadFile(server.AdminTokenFile())
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(client.Config{Server: server.URL(), Token: strings.TrimSpace(string(raw))})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		entries, err := c.Audit(t.Context(), 1)
		if err != nil || len(entries) != 1 || entries[0].Actor != "person:ann@example.com" || entries[0].Action != "session.begin" || entries[0].Remote != "127.0.0.1" {
			t.Errorf("the audit is %+v, %v", entries, err)
		}
	})
	for _, tc := range []struct {
		name   string
		groups any
		refuse bool
		nonce  string
		change func(*url.URL)
		status int
		says   string
	}{
		{name: "OneGroupAsText", groups: "everybody", status: http.StatusOK, says: "One moment"},
		{name: "NoGroupWithARole", groups: []string{"guests"}, status: http.StatusForbidden, says: "None of your groups"},
		{name: "NoGroups", status: http.StatusForbidden, says: "None of your groups"},
		{name: "Refused", refuse: true, status: http.StatusUnauthorized, says: "did not sign you in"},
		{name: "AnothersNonce", groups: "everybody", nonce: "stolen", status: http.StatusUnauthorized, says: "belongs to another sign-in"},
		{
			name: "AnothersState", groups: "everybody", status: http.StatusUnauthorized, says: "begun elsewhere",
			change: func(u *url.URL) { u.RawQuery = strings.Replace(u.RawQuery, "state=", "state=x", 1) },
		},
		{
			name: "CodeThatIsNone", groups: "everybody", status: http.StatusUnauthorized, says: "did not accept",
			change: func(u *url.URL) { u.RawQuery = strings.Replace(u.RawQuery, "code=", "code=x", 1) },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is.set(tc.groups, tc.refuse, tc.nonce)
			status, body, signedIn := roundTrip(t, server.URL(), tc.change)
			if status != tc.status || !strings.Contains(body, tc.says) {
				t.Errorf("status %d, want %d; says %s, want %q", status, tc.status, body, tc.says)
			}
			if want := tc.status == http.StatusOK; signedIn != want {
				t.Errorf("signed in: %t, want %t", signedIn, want)
			}
		})
	}
}

// roundTrip signs in as a browser does, changing the address that the issuer sends it back to.
func roundTrip(t *testing.T, site string, change func(*url.URL)) (status int, body string, signedIn bool) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/sign-in/callback" && change != nil {
			change(r.URL)
		}
		return nil
	}}
	get := func(path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	status, body = get("/sign-in/oidc")
	_, home := get("/")
	return status, body, strings.Contains(home, "Oldest key")
}
