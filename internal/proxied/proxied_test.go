package proxied_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keyturn/keyturn/internal/proxied"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		trusted    []string
		remote     string
		forwarded  []string
		proto      string
		tls        bool
		wantRemote string
		wantSecure bool
	}{
		"believes nobody by default":               {nil, "10.0.0.1:5", []string{"192.0.2.7"}, "https", false, "10.0.0.1:5", false},
		"does not believe who is not named":        {[]string{"10.1.0.0/16"}, "10.0.0.1:5", []string{"192.0.2.7"}, "https", false, "10.0.0.1:5", false},
		"believes a named proxy":                   {[]string{"10.0.0.1"}, "10.0.0.1:5", []string{"192.0.2.7"}, "https", false, "192.0.2.7:0", true},
		"takes the last that is no proxy":          {[]string{"10.0.0.0/8"}, "10.0.0.1:5", []string{"198.51.100.1, 192.0.2.7, 10.0.0.9"}, "", false, "192.0.2.7:0", false},
		"joins headers":                            {[]string{"10.0.0.0/8"}, "10.0.0.1:5", []string{"198.51.100.1", "192.0.2.7"}, "http", false, "192.0.2.7:0", false},
		"stops at what is no address":              {[]string{"10.0.0.0/8"}, "10.0.0.1:5", []string{"192.0.2.7, unknown, 10.0.0.9"}, "", false, "10.0.0.9:0", false},
		"keeps the proxy when it names nobody":     {[]string{"10.0.0.0/8"}, "10.0.0.1:5", nil, "", false, "10.0.0.1:5", false},
		"knows addresses in IPv6 that are of IPv4": {[]string{"10.0.0.0/8"}, "[::ffff:10.0.0.1]:5", []string{"2001:db8::1"}, "", false, "[2001:db8::1]:0", false},
		"sees its own TLS":                         {nil, "192.0.2.1:5", nil, "", true, "192.0.2.1:5", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trusted, err := proxied.Parse(tc.trusted)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.RemoteAddr = tc.remote
			for _, f := range tc.forwarded {
				r.Header.Add("X-Forwarded-For", f)
			}
			if tc.proto != "" {
				r.Header.Set("X-Forwarded-Proto", tc.proto)
			}
			if tc.tls {
				r.TLS = &tls.ConnectionState{}
			}
			proxied.Handler(trusted, http.HandlerFunc(func(_ http.ResponseWriter, got *http.Request) {
				if got.RemoteAddr != tc.wantRemote || proxied.Secure(got) != tc.wantSecure {
					t.Errorf("from %s, secure %t; want %s, %t", got.RemoteAddr, proxied.Secure(got), tc.wantRemote, tc.wantSecure)
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	if _, err := proxied.Parse([]string{"example.com"}); err == nil {
		t.Error("a name was taken for an address")
	}
}
