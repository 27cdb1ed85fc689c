package digest

import (
	"net/http"
	"strings"
)

// algorithm is a hash that a challenge may ask for.
type algorithm uint8

// In the order of preference: the strongest one that a server offers is used.
const (
	algorithmUnknown algorithm = iota
	algorithmMD5Sess
	algorithmMD5
	algorithmSHA256Sess
	algorithmSHA256
)

// challenge is what a server said about how it wants to be answered.
type challenge struct {
	realm, nonce, opaque string
	algorithm            algorithm
	algorithmName        string // as the server wrote it; empty: it named none, which means MD5
	qop                  bool   // "auth" was offered; false: the server speaks RFC 2069
	stale                bool
}

// fromHeader returns the strongest Digest challenge that can be answered, of
// any number of challenges in any number of WWW-Authenticate headers.
func fromHeader(h http.Header) (challenge, bool) {
	var best challenge
	for _, value := range h.Values("Www-Authenticate") {
		for _, c := range parse(value) {
			if c.algorithm > best.algorithm {
				best = c
			}
		}
	}
	return best, best.algorithm != algorithmUnknown
}

// parse reads the Digest challenges in one WWW-Authenticate header, leaving
// out those that can't be answered. It is lenient, because servers are: RFC 9110 §11.2
// is the grammar, everything else is skipped.
func parse(header string) []challenge {
	var (
		all    []challenge
		cur    *builder
		s      = scanner{rest: header}
		finish = func() {
			if c, ok := cur.build(); ok {
				all = append(all, c)
			}
		}
	)
	for s.next() {
		name := s.token()
		if !s.equals() {
			finish()
			cur = nil
			if strings.EqualFold(name, "Digest") {
				cur = &builder{}
			}
			continue
		}
		value := s.value()
		if cur != nil {
			cur.set(strings.ToLower(name), value)
		}
	}
	finish()
	return all
}

// builder collects the parameters of one challenge.
type builder struct {
	c        challenge
	hasRealm bool
	qop, op  *string
}

func (b *builder) set(name, value string) {
	switch name {
	case "realm":
		b.c.realm, b.hasRealm = value, true
	case "nonce":
		b.c.nonce = value
	case "opaque":
		b.c.opaque = value
	case "algorithm":
		b.c.algorithmName = value
	case "stale":
		b.c.stale = strings.EqualFold(value, "true")
	case "qop":
		b.qop = &value
	case "op":
		// What every page of MongoDB's documentation prints instead of qop:
		// https://www.mongodb.com/docs/ops-manager/v6.0/reference/api/kmip-keys/get-master-key/
		b.op = &value
	}
}

// build reports false for a challenge that can't be answered.
func (b *builder) build() (challenge, bool) {
	if b == nil || b.c.nonce == "" || !b.hasRealm {
		return challenge{}, false
	}
	b.c.algorithm = algorithmByName(b.c.algorithmName)
	if b.c.algorithm == algorithmUnknown {
		return challenge{}, false
	}
	if b.qop == nil {
		b.qop = b.op
	}
	if b.qop == nil || strings.TrimSpace(*b.qop) == "" {
		return b.c, true // RFC 2069: no qop at all
	}
	for option := range strings.SplitSeq(*b.qop, ",") {
		if strings.EqualFold(strings.TrimSpace(option), "auth") {
			b.c.qop = true
		}
	}
	return b.c, b.c.qop // only auth-int, or something newer: not spoken here
}

func algorithmByName(name string) algorithm {
	switch strings.ToUpper(name) {
	case "", "MD5":
		return algorithmMD5
	case "MD5-SESS":
		return algorithmMD5Sess
	case "SHA-256":
		return algorithmSHA256
	case "SHA-256-SESS":
		return algorithmSHA256Sess
	default:
		return algorithmUnknown
	}
}

// scanner walks through a header. Every call of next, token and value that
// finds something consumes something, so that a walk always ends.
type scanner struct{ rest string }

// next moves to the next token and reports whether there is one.
func (s *scanner) next() bool {
	s.rest = strings.TrimLeft(s.rest, " \t,=\"")
	return s.rest != ""
}

// token reads up to a separator.
func (s *scanner) token() string {
	end := strings.IndexAny(s.rest, " \t,=\"")
	if end < 0 {
		end = len(s.rest)
	}
	token := s.rest[:end]
	s.rest = s.rest[end:]
	return token
}

// equals consumes an equals sign and reports whether there was one.
func (s *scanner) equals() bool {
	after, ok := strings.CutPrefix(strings.TrimLeft(s.rest, " \t"), "=")
	if ok {
		s.rest = strings.TrimLeft(after, " \t")
	}
	return ok
}

// value reads a token or a quoted string, which it unquotes.
func (s *scanner) value() string {
	quoted, ok := strings.CutPrefix(s.rest, `"`)
	if !ok {
		return s.token()
	}
	end := strings.IndexAny(quoted, `"\`)
	if end >= 0 && quoted[end] == '"' { // nothing escaped, as nearly always
		s.rest = quoted[end+1:]
		return quoted[:end]
	}
	var b strings.Builder
	for i := 0; i < len(quoted); i++ {
		switch quoted[i] {
		case '"':
			s.rest = quoted[i+1:]
			return b.String()
		case '\\':
			i++ // whatever follows stands for itself
		}
		if i < len(quoted) {
			b.WriteByte(quoted[i])
		}
	}
	s.rest = "" // never closed
	return b.String()
}
