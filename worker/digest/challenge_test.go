package digest

import (
	"net/http"
	"strings"
	"testing"
)

func TestFromHeader(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		headers []string
		want    challenge
		none    bool
	}{
		"as Atlas sends it": {
			headers: []string{`Digest realm="MMS Public API", domain="", nonce="kWVA9Ciu7lNaN5QdjPe8kxPMReVjbt+B", algorithm=MD5, qop="auth", stale=false`},
			want:    challenge{realm: "MMS Public API", nonce: "kWVA9Ciu7lNaN5QdjPe8kxPMReVjbt+B", algorithm: algorithmMD5, algorithmName: "MD5", qop: true},
		},
		"op instead of qop, as the documentation prints it": {
			headers: []string{`Digest realm="MMS Public API", domain="", nonce="x", algorithm=MD5, op="auth", stale=false`},
			want:    challenge{realm: "MMS Public API", nonce: "x", algorithm: algorithmMD5, algorithmName: "MD5", qop: true},
		},
		"no blanks, stale": {
			headers: []string{`Digest realm="R",nonce="n",qop="auth,auth-int",stale=TRUE,opaque="o"`},
			want:    challenge{realm: "R", nonce: "n", opaque: "o", algorithm: algorithmMD5, qop: true, stale: true},
		},
		"lower case, blanks around the equals sign, tabs": {
			headers: []string{"digest\trealm = \"R\" ,\tnonce = n ,, QOP = auth"},
			want:    challenge{realm: "R", nonce: "n", algorithm: algorithmMD5, qop: true},
		},
		"commas and escapes in quotes": {
			headers: []string{`Digest realm="a, nonce=\"no\" \\ b", nonce="n"`},
			want:    challenge{realm: `a, nonce="no" \ b`, nonce: "n", algorithm: algorithmMD5},
		},
		"several in one header": {
			headers: []string{`Basic realm="b", Digest realm="R", nonce="1", algorithm=MD5, qop="auth", Digest realm="R", nonce="2", algorithm=SHA-256, qop="auth", Negotiate abc==`},
			want:    challenge{realm: "R", nonce: "2", algorithm: algorithmSHA256, algorithmName: "SHA-256", qop: true},
		},
		"several headers": {
			headers: []string{`Digest realm="R", nonce="2", algorithm=sha-256, qop=auth`, `Negotiate`, `Digest realm="R", nonce="1", qop="auth"`},
			want:    challenge{realm: "R", nonce: "2", algorithm: algorithmSHA256, algorithmName: "sha-256", qop: true},
		},
		"unknown algorithm beside a known one": {
			headers: []string{`Digest realm="R", nonce="1", algorithm=SHA-512-256, qop="auth"`, `Digest realm="R", nonce="2", algorithm=MD5-sess, charset=UTF-8, userhash=false, future="x", qop="auth"`},
			want:    challenge{realm: "R", nonce: "2", algorithm: algorithmMD5Sess, algorithmName: "MD5-sess", qop: true},
		},
		"quote never closed":     {headers: []string{`Digest nonce="n", realm="R`}, want: challenge{realm: "R", nonce: "n", algorithm: algorithmMD5}},
		"no header":              {none: true},
		"another scheme":         {headers: []string{`Basic realm="R", nonce="n"`}, none: true},
		"no nonce":               {headers: []string{`Digest realm="R"`}, none: true},
		"nonce without value":    {headers: []string{`Digest realm="R", nonce`}, none: true},
		"no realm":               {headers: []string{`Digest nonce="n"`}, none: true},
		"only integrity":         {headers: []string{`Digest realm="R", nonce="n", qop="auth-int"`}, none: true},
		"only unknown algorithm": {headers: []string{`Digest realm="R", nonce="n", algorithm=SHA3`}, none: true},
		"rubbish":                {headers: []string{`=,",\`, `Digest`, `"`, `Digest "`, ``}, none: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := fromHeader(http.Header{"Www-Authenticate": tt.headers})
			if ok == tt.none || got != tt.want {
				t.Errorf("fromHeader(%q) = %+v, %t; want %+v, %t", tt.headers, got, ok, tt.want, !tt.none)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`Digest realm="MMS Public API", domain="", nonce="kWVA", algorithm=MD5, op="auth", stale=false`,
		`Basic realm="b", Digest realm="a\"b", nonce=x,qop="auth,auth-int", Negotiate abc==`,
		`Digest realm="R", nonce`, `=,",\`, `Digest realm="\`, `digest	realm = "R" ,, nonce = n`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, c := range parse(header) {
			if c.algorithm == algorithmUnknown || c.nonce == "" {
				t.Errorf("parse(%q) returned %+v, which can't be answered", header, c)
			}
			if len(c.nonce)+len(c.realm) > len(header) || !strings.Contains(strings.ToLower(header), "digest") {
				t.Errorf("parse(%q) made up %+v", header, c)
			}
		}
	})
}

// The examples of RFC 7616 §3.9.1 and RFC 2069 §2.4 with its errata.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	const (
		nonce  = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
		cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
	)
	tests := map[string]struct {
		c        challenge
		response string
	}{
		"MD5":     {challenge{algorithm: algorithmMD5, qop: true}, "8ca523f5e9506fed4657c9700eebdbec"},
		"SHA-256": {challenge{algorithm: algorithmSHA256, qop: true}, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.c.realm, tt.c.nonce = "http-auth@example.org", nonce
			s := newSession(tt.c, "Mufasa", "Circle of Life", testTime)
			s.cnonce = cnonce
			got := string(s.authorization(nil, http.MethodGet, "/dir/index.html", 1))
			if !strings.Contains(got, `nc=00000001, response="`+tt.response+`"`) {
				t.Errorf("authorization = %s, want the response %s", got, tt.response)
			}
		})
	}
	t.Run("RFC 2069", func(t *testing.T) {
		t.Parallel()
		c := challenge{realm: "testrealm@host.com", nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093", algorithm: algorithmMD5}
		got := string(newSession(c, "Mufasa", "CircleOfLife", testTime).authorization(nil, http.MethodGet, "/dir/index.html", 1))
		if !strings.HasSuffix(got, `uri="/dir/index.html", response="1949323746fe6a43ef61f9606e7febea"`) || strings.Contains(got, "nc=") {
			t.Errorf("authorization = %s", got)
		}
	})
}
