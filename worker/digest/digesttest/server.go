// Package digesttest is an HTTP Digest server for tests, by the rules of
// Jetty's DigestAuthenticator, from which Ops Manager's challenges seem to come, or stricter ones.
package digesttest

import (
	"crypto/md5" //nolint:gosec // the protocol's
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Rules are how a Guard treats those who ask. The zero value lets nobody in.
type Rules struct {
	Username, Password string
	// MaxAge and MaxCount are after what a nonce is forgotten; 0: 60s and 1,024.
	MaxAge   time.Duration
	MaxCount int
	// Increasing refuses an nc that is not above all that came before.
	Increasing bool
	// NeverStale says stale=false also of a nonce that was forgotten.
	NeverStale bool
	// Challenge writes the WWW-Authenticate headers; nil: as Ops Manager does.
	Challenge func(nonce string, stale bool) []string
	// SHA256 expects SHA-256 instead of MD5; NoQOP the answers of RFC 2069.
	SHA256, NoQOP bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Guard lets only those through who answer its challenges.
type Guard struct {
	rules Rules
	next  http.Handler

	pair, escape *regexp.Regexp

	mu         sync.Mutex
	nonces     map[string]*nonce
	made       int
	challenges int // 401s to requests without credentials
	refusals   int // 401s to requests with credentials
	admitted   int
	bodies     int // requests with a body but without credentials
}

type nonce struct {
	born time.Time
	used map[uint64]bool
	top  uint64
}

// Counts are what a Guard has seen.
type Counts struct{ Challenges, Refusals, Admitted, NakedBodies int }

// Realm is that of Ops Manager.
const Realm = "MMS Public API"

// New returns a Guard before next.
func New(rules Rules, next http.Handler) *Guard {
	if rules.MaxAge == 0 {
		rules.MaxAge = time.Minute
	}
	if rules.MaxCount == 0 {
		rules.MaxCount = 1024
	}
	if rules.Now == nil {
		rules.Now = time.Now
	}
	if rules.Challenge == nil {
		rules.Challenge = func(nonce string, stale bool) []string {
			return []string{fmt.Sprintf(`Digest realm=%q, domain="", nonce=%q, algorithm=MD5, qop="auth", stale=%t`, Realm, nonce, stale)}
		}
	}
	return &Guard{
		rules: rules, next: next, nonces: make(map[string]*nonce),
		pair:   regexp.MustCompile(`(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^,\s"]*))`),
		escape: regexp.MustCompile(`\\(.)`),
	}
}

// Counts returns what was seen so far.
func (g *Guard) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Counts{g.challenges, g.refusals, g.admitted, g.bodies}
}

// Forget forgets all nonces, as a restart does.
func (g *Guard) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.nonces)
}

func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ok, fresh, stale := g.admit(r)
	if ok {
		g.next.ServeHTTP(w, r)
		return
	}
	for _, c := range g.rules.Challenge(fresh, stale) {
		w.Header().Add("WWW-Authenticate", c)
	}
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte("refused by the guard"))
}

// admit decides, and makes a new nonce for those who are not let in.
func (g *Guard) admit(r *http.Request) (ok bool, fresh string, stale bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	auth := r.Header.Get("Authorization")
	if auth == "" {
		g.challenges++
		if r.ContentLength != 0 {
			g.bodies++
		}
		return false, g.fresh(), false
	}
	ok, stale = g.check(r, g.params(auth))
	if ok {
		g.admitted++
		return true, "", false
	}
	g.refusals++
	return false, g.fresh(), stale && !g.rules.NeverStale
}

func (g *Guard) fresh() string {
	g.made++
	name := fmt.Sprintf("n%d+/==", g.made)
	g.nonces[name] = &nonce{born: g.rules.Now(), used: make(map[uint64]bool)}
	return name
}

func (g *Guard) check(r *http.Request, p map[string]string) (ok, stale bool) {
	if p["username"] != g.rules.Username || p["response"] != g.response(r.Method, p) || p["uri"] != r.RequestURI {
		return false, false
	}
	n := g.nonces[p["nonce"]]
	if n == nil || g.rules.Now().Sub(n.born) >= g.rules.MaxAge {
		return false, true
	}
	if g.rules.NoQOP {
		return true, false
	}
	count, err := strconv.ParseUint(p["nc"], 16, 32)
	if err != nil || len(p["nc"]) != 8 || count == 0 || p["qop"] != "auth" {
		return false, false
	}
	if count >= uint64(g.rules.MaxCount) { //nolint:gosec // a small number
		return false, true
	}
	if n.used[count] || g.rules.Increasing && count <= n.top {
		return false, false
	}
	n.used[count], n.top = true, max(n.top, count)
	return true, false
}

func (g *Guard) response(method string, p map[string]string) string {
	ha1 := g.hash(g.rules.Username + ":" + p["realm"] + ":" + g.rules.Password)
	if strings.HasSuffix(strings.ToLower(p["algorithm"]), "-sess") {
		ha1 = g.hash(ha1 + ":" + p["nonce"] + ":" + p["cnonce"])
	}
	ha2 := g.hash(method + ":" + p["uri"])
	if g.rules.NoQOP {
		return g.hash(ha1 + ":" + p["nonce"] + ":" + ha2)
	}
	return g.hash(strings.Join([]string{ha1, p["nonce"], p["nc"], p["cnonce"], p["qop"], ha2}, ":"))
}

func (g *Guard) hash(s string) string {
	if g.rules.SHA256 {
		h := sha256.Sum256([]byte(s))
		return hex.EncodeToString(h[:])
	}
	h := md5.Sum([]byte(s)) //nolint:gosec // the protocol's
	return hex.EncodeToString(h[:])
}

// params reads an Authorization header, by other means than the code under test.
func (g *Guard) params(header string) map[string]string {
	found := make(map[string]string)
	for _, m := range g.pair.FindAllStringSubmatch(header, -1) {
		found[m[1]] = g.escape.ReplaceAllString(m[2], "$1") + m[3]
	}
	return found
}
