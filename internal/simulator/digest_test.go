package simulator_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyturn/keyturn/internal/simulator"
)

const groupsPath = "/api/public/v1.0/groups"

func challengesOf(t *testing.T, auth simulator.Auth) []string {
	t.Helper()
	a, err := clientOf(t, newSimulator(t, simulator.Config{Auth: auth})).raw(http.MethodGet, groupsPath, nil)
	if err != nil || a.status != http.StatusUnauthorized {
		t.Fatal(a.status, err)
	}
	return a.header.Values("Www-Authenticate")
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		auth simulator.Auth
		want []string
	}{
		"LooksAsTheRecordedOne": {simulator.Auth{}, []string{`algorithm=MD5, qop="auth", stale=false`}},
		"PrintsOpAsTheDocsDo":   {simulator.Auth{PrintOp: true}, []string{`algorithm=MD5, op="auth", stale=false`}},
		"OffersAList":           {simulator.Auth{QOP: "auth,auth-int"}, []string{`algorithm=MD5, qop="auth,auth-int", stale=false`}},
		"OffersBothAlgorithms": {
			simulator.Auth{Algorithms: []string{"SHA-256", "MD5"}},
			[]string{`algorithm=SHA-256, qop="auth", stale=false`, `algorithm=MD5, qop="auth", stale=false`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := challengesOf(t, tc.auth)
			if len(got) != len(tc.want) {
				t.Fatalf("%d challenges: %q", len(got), got)
			}
			for i, want := range tc.want {
				nonce := nonceIn.FindStringSubmatch(got[i])[1]
				if full := `Digest realm="MMS Public API", domain="", nonce="` + nonce + `", ` + want; got[i] != full {
					t.Errorf("got %s\nwant %s", got[i], full)
				}
				if raw, err := base64.StdEncoding.DecodeString(nonce); err != nil || len(raw) != 24 {
					t.Errorf("nonce %q: %d bytes, %v", nonce, len(raw), err)
				}
			}
		})
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	both := simulator.Auth{Algorithms: []string{"SHA-256", "MD5"}}
	for name, tc := range map[string]struct {
		auth   simulator.Auth
		edit   func(*client)
		header func(string) string // changes the header
		nc     string
		want   int
	}{
		"LetsMD5In":                {want: 200},
		"LetsSHA256In":             {auth: both, edit: func(c *client) { c.algorithm = "SHA-256" }, want: 200},
		"LetsMD5InBesideSHA256":    {auth: both, want: 200},
		"LetsAuthIntIn":            {auth: simulator.Auth{QOP: "auth,auth-int"}, edit: func(c *client) { c.qop = "auth-int" }, want: 200},
		"ComputesWithQopForOp":     {auth: simulator.Auth{PrintOp: true}, want: 200},
		"AcceptsUnpaddedCounts":    {nc: "1", want: 200},
		"AcceptsNoSpaces":          {header: func(s string) string { return strings.ReplaceAll(s, ", ", ",") }, want: 200},
		"AcceptsQuotedAlgorithm":   {header: func(s string) string { return strings.Replace(s, "=MD5", `="MD5"`, 1) }, want: 200},
		"AcceptsEscapes":           {header: func(s string) string { return strings.Replace(s, `cnonce="a`, `cnonce="\a`, 1) }, want: 200},
		"IgnoresUnknownParameters": {header: func(s string) string { return s + `, opaque="x", userhash=false` }, want: 200},
		"RefusesUnofferedSHA256":   {edit: func(c *client) { c.algorithm = "SHA-256" }, want: 401},
		"RefusesUnofferedMD5":      {auth: simulator.Auth{Algorithms: []string{"SHA-256"}}, want: 401},
		"RefusesUnofferedAuthInt":  {edit: func(c *client) { c.qop = "auth-int" }, want: 401},
		"RefusesOtherPrivateKey":   {edit: func(c *client) { c.key.Private += "x" }, want: 401},
		"RefusesOtherPublicKey":    {edit: func(c *client) { c.key.Public += "x" }, want: 401},
		"RefusesOtherURI":          {header: func(s string) string { return strings.Replace(s, `/groups"`, `/clusters"`, 1) }, want: 401},
		"RefusesNoQop":             {header: func(s string) string { return strings.Replace(s, ", qop=auth, nc=00000001", "", 1) }, want: 401},
		"RefusesCountZero":         {nc: "00000000", want: 401},
		"RefusesCountNotHex":       {nc: "0000000g", want: 401},
		"RefusesBasic":             {header: func(string) string { return "Basic YTpi" }, want: 401},
		"RefusesHalfAHeader":       {header: func(s string) string { return s[:len(s)-1] }, want: 401},
		"RefusesAHeaderOfNames":    {header: func(string) string { return `Digest realm="R", nonce` }, want: 401},
		"RefusesAnEndlessEscape":   {header: func(string) string { return `Digest nonce="\` }, want: 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clientOf(t, newSimulator(t, simulator.Config{Auth: tc.auth}))
			if tc.edit != nil {
				tc.edit(c)
			}
			nc := tc.nc
			if nc == "" {
				nc = "00000001"
			}
			header := c.sign(http.MethodGet, groupsPath, c.challenge(), nc, "abc")
			if tc.header != nil {
				header = tc.header(header)
			}
			a, err := c.raw(http.MethodGet, groupsPath, http.Header{"Authorization": {header}})
			if err != nil || a.status != tc.want {
				t.Fatalf("%d %v %s", a.status, err, a.body)
			}
			if a.status == 401 && !strings.Contains(a.header.Get("Www-Authenticate"), "stale=false") {
				t.Errorf("challenge %q", a.header.Get("Www-Authenticate"))
			}
		})
	}
}

func TestNonce(t *testing.T) {
	t.Parallel()
	// Each step is a wait, then a request with the count; stale is "" for an answer of 200.
	type step struct {
		after time.Duration
		nc    string
		stale string
	}
	for name, tc := range map[string]struct {
		auth  simulator.Auth
		steps []step
	}{
		"TakesCountsOutOfOrder": {steps: []step{{nc: "00000003"}, {nc: "00000001"}, {nc: "00000002"}, {nc: "000003ff"}, {nc: "00000041"}}},
		"TakesEachCountOnce":    {steps: []step{{nc: "00000001"}, {nc: "00000001", stale: "false"}, {nc: "1", stale: "false"}, {nc: "00000002"}, {nc: "00000080"}, {nc: "00000080", stale: "false"}}},
		"EndsAfter1024Uses":     {steps: []step{{nc: "00000400", stale: "true"}, {nc: "000003ff"}}},
		"EndsAfterFewerUses":    {auth: simulator.Auth{NonceUses: 4}, steps: []step{{nc: "00000003"}, {nc: "00000004", stale: "true"}}},
		"EndsAfter60Seconds":    {steps: []step{{nc: "00000001"}, {after: 59 * time.Second, nc: "00000002"}, {after: time.Second, nc: "00000003", stale: "true"}}},
		"LifeDoesNotSlide":      {auth: simulator.Auth{NonceLife: 2 * time.Second}, steps: []step{{after: time.Second, nc: "1"}, {after: time.Second, nc: "2", stale: "true"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := clientOf(t, newSimulator(t, simulator.Config{Auth: tc.auth}))
				nonce := c.challenge()
				for i, s := range tc.steps {
					pass(s.after)
					a, err := c.with(http.MethodGet, groupsPath, nonce, s.nc)
					if err != nil {
						t.Fatal(err)
					}
					want := 200
					if s.stale != "" {
						want = 401
					}
					if a.status != want || !strings.HasSuffix(a.header.Get("Www-Authenticate"), s.stale) {
						t.Fatalf("step %d: %d %q", i+1, a.status, a.header.Get("Www-Authenticate"))
					}
				}
			})
		})
	}
}

func TestNonce_WrongResponseUsesItsCountUp(t *testing.T) {
	t.Parallel()
	c := clientOf(t, newSimulator(t, simulator.Config{}))
	nonce := c.challenge()
	right := c.key.Private
	c.key.Private = "wrong"
	if a, err := c.with(http.MethodGet, groupsPath, nonce, "1"); err != nil || a.status != 401 {
		t.Fatal(a.status, err)
	}
	c.key.Private = right
	if a, err := c.with(http.MethodGet, groupsPath, nonce, "1"); err != nil || a.status != 401 {
		t.Fatal("the count was free still", a.status, err)
	}
	if a, err := c.with(http.MethodGet, groupsPath, nonce, "2"); err != nil || a.status != 200 {
		t.Fatal(a.status, err)
	}
}

func TestNonce_UnknownIsStale(t *testing.T) {
	t.Parallel()
	s := newSimulator(t, simulator.Config{})
	c := clientOf(t, s)
	a, err := c.with(http.MethodGet, groupsPath, "bm9ib2R5IGdhdmUgdGhpcyBvdXQh", "1")
	if err != nil || a.status != 401 || !strings.HasSuffix(a.header.Get("Www-Authenticate"), "stale=true") {
		t.Fatal(a, err)
	}
	if got := s.Stats().Unauthorized; got != 1 {
		t.Errorf("counted %d 401s", got)
	}
}

func TestNonce_BelongsToOneNode(t *testing.T) {
	t.Parallel()
	estate := simulator.EstateOf(1)
	key := simulator.APIKey{Public: "abcdefgh", Private: "secret"}
	cfg := simulator.Config{Estate: estate, Auth: simulator.Auth{Keys: []simulator.APIKey{key}}}
	c1, c2 := clientOf(t, newSimulator(t, cfg)), clientOf(t, newSimulator(t, cfg))
	a, err := c2.with(http.MethodGet, groupsPath, c1.challenge(), "1")
	if err != nil || a.status != 401 || !strings.HasSuffix(a.header.Get("Www-Authenticate"), "stale=true") {
		t.Fatal(a, err)
	}
}

func TestNonce_EachCountOnceUnderConcurrency(t *testing.T) {
	t.Parallel()
	c := clientOf(t, newSimulator(t, simulator.Config{}))
	nonce := c.challenge()
	const counts, tries = 200, 4
	var accepted [counts + 1]atomic.Int32
	var wg sync.WaitGroup
	for range tries {
		wg.Go(func() {
			for nc := 1; nc <= counts; nc++ {
				a, err := c.with(http.MethodGet, groupsPath, nonce, fmt.Sprintf("%08x", nc))
				if err == nil && a.status == 200 {
					accepted[nc].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for nc := 1; nc <= counts; nc++ {
		if n := accepted[nc].Load(); n != 1 {
			t.Errorf("nc %d was accepted %d times", nc, n)
		}
	}
}

func TestNew_RefusesAuthThatCannotWork(t *testing.T) {
	t.Parallel()
	twice := simulator.APIKey{Public: "a", Private: "b"}
	for name, auth := range map[string]simulator.Auth{
		"Algorithm": {Algorithms: []string{"SHA-1"}},
		"QOP":       {QOP: "auth-int"},
		"Uses":      {NonceUses: 1},
		"Life":      {NonceLife: -1},
		"NoPublic":  {Keys: []simulator.APIKey{{Private: "b"}}},
		"TwiceAKey": {Keys: []simulator.APIKey{twice, twice}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := simulator.New(simulator.Config{Estate: simulator.EstateOf(1), Auth: auth}); err == nil {
				t.Error("accepted")
			}
		})
	}
}
