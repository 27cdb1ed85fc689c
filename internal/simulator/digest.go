package simulator

import (
	"cmp"
	"crypto/md5" //nolint:gosec // G501: digest authentication of the real server is MD5
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// realm is what every Ops Manager says.
const realm = "MMS Public API"

// Algorithms of the challenge.
const (
	AlgorithmMD5    = "MD5"
	AlgorithmSHA256 = "SHA-256"
)

// Auth says how requests are authenticated. The rules are those of Jetty's
// DigestAuthenticator, which the recorded answers of the real server fit:
// https://github.com/jetty/jetty.project (jetty-security).
type Auth struct {
	// Keys are the API keys that are let in; none: one is made with random values.
	Keys []APIKey
	// Algorithms are offered in this order, each in a header of its own; none: MD5.
	Algorithms []string
	// QOP is the list in the challenge: "auth" (also if empty) or "auth,auth-int".
	QOP string
	// PrintOp writes op="auth" for qop="auth", as every page of the documentation does. The
	// server computes with qop all the same.
	PrintOp bool
	// NonceLife counts from the nonce's making, whether it is used or not; 0 means 60s.
	NonceLife time.Duration
	// NonceUses is the first nc that is too high; 0 means 1024.
	NonceUses int
}

// APIKey is a pair of keys with what it may do.
type APIKey struct {
	Public, Private string
	ReadOnly        bool // every PUT is refused
	NoProjects      bool // it is in no project
}

// account is an APIKey with its hashes and counts.
type account struct {
	key      APIKey
	ha1      [2][]byte // by algorithm, in hexadecimal
	requests counter
	inFlight gauge
}

// The algorithms by number.
const (
	algMD5 = iota
	algSHA256
)

// authenticator checks digests. It is safe for concurrent use.
type authenticator struct {
	accounts map[string]*account
	order    []*account
	offered  [2]bool
	tails    []string // what follows the nonce in each challenge
	authInt  bool
	uses     int
	nonces   *nonces
	scratch  sync.Pool
}

// scratch is what one check needs.
type scratch struct {
	auth   authorization
	text   []byte
	digest []byte
}

func newAuthenticator(cfg Auth) (*authenticator, error) {
	a := &authenticator{
		accounts: map[string]*account{},
		uses:     cmp.Or(cfg.NonceUses, 1024),
		nonces:   newNonces(cmp.Or(cfg.NonceLife, time.Minute)),
	}
	a.scratch.New = func() any { return &scratch{text: make([]byte, 0, 512), digest: make([]byte, 0, 64)} }
	if a.uses < 2 || a.uses > 1<<20 || a.nonces.life < 0 {
		return nil, fmt.Errorf("a nonce of %d uses and %v can't work: give it 2 to 1048576 uses and a life above 0", a.uses, a.nonces.life)
	}
	if err := a.offer(cfg); err != nil {
		return nil, err
	}
	keys := cfg.Keys
	if len(keys) == 0 {
		keys = []APIKey{newAPIKey()}
	}
	for _, k := range keys {
		if k.Public == "" || a.accounts[k.Public] != nil {
			return nil, fmt.Errorf("the API key %q is empty or there twice: give every key a public part of its own", k.Public)
		}
		acc := &account{key: k}
		a1 := []byte(k.Public + ":" + realm + ":" + k.Private)
		acc.ha1 = [2][]byte{algMD5: hexSum(algMD5, nil, a1), algSHA256: hexSum(algSHA256, nil, a1)}
		a.accounts[k.Public] = acc
		a.order = append(a.order, acc)
	}
	return a, nil
}

// offer prepares the challenges.
func (a *authenticator) offer(cfg Auth) error {
	qop := cmp.Or(cfg.QOP, "auth")
	tokens := strings.Split(strings.ReplaceAll(qop, " ", ""), ",")
	a.authInt = slices.Contains(tokens, "auth-int")
	if !slices.Contains(tokens, "auth") {
		return fmt.Errorf("qop %q can't be offered: write auth or auth,auth-int", qop)
	}
	parameter := "qop"
	if cfg.PrintOp {
		parameter = "op"
	}
	algorithms := cfg.Algorithms
	if len(algorithms) == 0 {
		algorithms = []string{AlgorithmMD5}
	}
	for _, name := range algorithms {
		alg, ok := algorithmNumber(name)
		if !ok {
			return fmt.Errorf("algorithm %q can't be offered: write %s or %s", name, AlgorithmMD5, AlgorithmSHA256)
		}
		a.offered[alg] = true
		a.tails = append(a.tails, `", algorithm=`+name+`, `+parameter+`="`+qop+`", stale=`)
	}
	return nil
}

func algorithmNumber(name string) (alg int, ok bool) {
	switch {
	case name == "", strings.EqualFold(name, AlgorithmMD5):
		return algMD5, true
	case strings.EqualFold(name, AlgorithmSHA256):
		return algSHA256, true
	default:
		return 0, false
	}
}

// newAPIKey makes a key of the real ones' form.
func newAPIKey() APIKey {
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // never fails, says its documentation
	public := make([]byte, 8)
	for i := range public {
		public[i] = 'a' + raw[i]%26
	}
	id := hex.EncodeToString(raw[8:])
	private := strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	return APIKey{Public: string(public), Private: private}
}

// challenges returns the values of WWW-Authenticate with a new nonce.
func (a *authenticator) challenges(now time.Time, stale bool) []string {
	n := a.nonces.issue(now)
	end := "false"
	if stale {
		end = "true"
	}
	values := make([]string, len(a.tails))
	for i, tail := range a.tails {
		values[i] = `Digest realm="` + realm + `", domain="", nonce="` + n.value + tail + end
	}
	return values
}

// check returns who sent the request; nil: nobody that is let in. stale says
// that only the nonce was at fault.
func (a *authenticator) check(r *http.Request, now time.Time) (acc *account, stale bool) {
	header := r.Header["Authorization"]
	if len(header) == 0 {
		return nil, false
	}
	s, _ := a.scratch.Get().(*scratch)
	defer a.scratch.Put(s)
	if !s.auth.parse(header[0]) {
		return nil, false
	}
	if good, stale := a.checkNonce(&s.auth, now); !good {
		return nil, stale
	}
	acc = a.accounts[s.auth.username]
	alg, ok := algorithmNumber(s.auth.algorithm)
	if acc == nil || !ok || !a.offered[alg] || s.auth.uri != r.RequestURI {
		return nil, false
	}
	if !a.response(s, alg, acc, r) {
		return nil, false
	}
	return acc, false
}

// checkNonce takes the count before the response is looked at, as the real
// server does: a wrong response uses its count up too.
func (a *authenticator) checkNonce(auth *authorization, now time.Time) (good, stale bool) {
	n := a.nonces.find(auth.nonce, now)
	if n == nil {
		return false, true
	}
	count, ok := auth.count()
	switch {
	case !ok || count == 0:
		return false, false
	case count >= uint64(a.uses): //nolint:gosec // G115: positive
		return false, true
	default:
		return n.use(count, a.uses), false
	}
}

// response computes what the response has to be and compares.
func (a *authenticator) response(s *scratch, alg int, acc *account, r *http.Request) bool {
	t := append(s.text[:0], r.Method...)
	t = append(t, ':')
	t = append(t, s.auth.uri...)
	switch {
	case s.auth.qop == "auth":
	case s.auth.qop == "auth-int" && a.authInt:
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return false
		}
		t = append(t, ':')
		t = append(t, hexSum(alg, nil, body)...)
	default:
		return false
	}
	ha2 := hexSum(alg, s.digest[:0], t)
	t = append(t[:0], acc.ha1[alg]...)
	for _, part := range [...]string{s.auth.nonce, s.auth.nc, s.auth.cnonce, s.auth.qop} {
		t = append(t, ':')
		t = append(t, part...)
	}
	t = append(t, ':')
	t = append(t, ha2...)
	want := hexSum(alg, s.digest[:0], t)
	s.text, s.digest = t, want
	return constantEqual(want, s.auth.response)
}

func constantEqual(want []byte, got string) bool {
	if len(want) != len(got) {
		return false
	}
	var buf [64]byte
	return subtle.ConstantTimeCompare(want, append(buf[:0], got...)) == 1
}

// hexSum appends the sum of text in hexadecimal.
func hexSum(alg int, to, text []byte) []byte {
	if alg == algSHA256 {
		sum := sha256.Sum256(text)
		return hex.AppendEncode(to, sum[:])
	}
	sum := md5.Sum(text) //nolint:gosec // G401: see the import
	return hex.AppendEncode(to, sum[:])
}
