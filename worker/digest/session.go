package digest

import (
	"crypto/md5" //nolint:gosec // RFC 7616: what Ops Manager and Atlas speak
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"sync/atomic"
	"time"
)

// session is a nonce and what is needed to use it again and again.
type session struct {
	challenge challenge
	born      time.Time
	nc        atomic.Uint32 // uses so far
	shared    atomic.Bool   // others may have used it before the request that got it

	ha1    string // hex
	cnonce string
	prefix string // the constant part of the Authorization header
}

func newSession(c challenge, username, password string, now time.Time) *session {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand aborts the program instead
	s := &session{challenge: c, born: now, cnonce: hex.EncodeToString(random[:])}
	ha1 := appendHash(nil, c.algorithm, []byte(username+":"+c.realm+":"+password))
	if s.sess() {
		// The cnonce of A1 is that of the first request: one for the whole session.
		ha1 = appendHash(nil, c.algorithm, []byte(string(ha1)+":"+c.nonce+":"+s.cnonce))
	}
	s.ha1 = string(ha1)
	s.prefix = s.header(username)
	return s
}

// header writes everything that does not change from request to request.
func (s *session) header(username string) string {
	var b strings.Builder
	b.WriteString(`Digest username=`)
	quote(&b, username)
	b.WriteString(`, realm=`)
	quote(&b, s.challenge.realm)
	b.WriteString(`, nonce=`)
	quote(&b, s.challenge.nonce)
	if s.challenge.algorithmName != "" {
		b.WriteString(`, algorithm=` + s.challenge.algorithmName)
	}
	if s.challenge.opaque != "" {
		b.WriteString(`, opaque=`)
		quote(&b, s.challenge.opaque)
	}
	if s.challenge.qop {
		b.WriteString(`, qop=auth`)
	}
	if s.challenge.qop || s.sess() {
		b.WriteString(`, cnonce="` + s.cnonce + `"`)
	}
	b.WriteString(`, uri="`)
	return b.String()
}

func (s *session) sess() bool {
	return s.challenge.algorithm == algorithmMD5Sess || s.challenge.algorithm == algorithmSHA256Sess
}

// usable reports whether the nonce may be used for the nth time under the limits.
func (s *session) usable(n uint32, now time.Time, uses uint32, age time.Duration) bool {
	return n <= uses && now.Sub(s.born) < age
}

// authorization returns the header for the nth use of the nonce, written over scratch.
func (s *session) authorization(scratch []byte, method, uri string, n uint32) []byte {
	buf := append(scratch[:0], method...)
	buf = append(buf, ':')
	buf = append(buf, uri...)
	var ha2 [2 * sha256.Size]byte
	hashed2 := appendHash(ha2[:0], s.challenge.algorithm, buf)

	buf = append(buf[:0], s.ha1...)
	buf = append(buf, ':')
	buf = append(buf, s.challenge.nonce...)
	buf = append(buf, ':')
	if s.challenge.qop {
		buf = appendCount(buf, n)
		buf = append(buf, ':')
		buf = append(buf, s.cnonce...)
		buf = append(buf, ":auth:"...)
	}
	buf = append(buf, hashed2...)
	var response [2 * sha256.Size]byte
	hashed := appendHash(response[:0], s.challenge.algorithm, buf)

	buf = append(buf[:0], s.prefix...)
	buf = appendEscaped(buf, uri)
	if s.challenge.qop {
		buf = append(buf, `", nc=`...)
		buf = appendCount(buf, n)
		buf = append(buf, `, response="`...)
	} else {
		buf = append(buf, `", response="`...)
	}
	buf = append(buf, hashed...)
	return append(buf, '"')
}

// appendHash appends the hash of text, in hex, to dst.
func appendHash(dst []byte, a algorithm, text []byte) []byte {
	if a == algorithmSHA256 || a == algorithmSHA256Sess {
		h := sha256.Sum256(text)
		return hex.AppendEncode(dst, h[:])
	}
	h := md5.Sum(text) //nolint:gosec // see the import
	return hex.AppendEncode(dst, h[:])
}

// appendCount appends the eight hex digits of nc.
func appendCount(dst []byte, n uint32) []byte {
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], n)
	return hex.AppendEncode(dst, raw[:])
}

func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return dst
}

// quote writes a quoted string.
func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	b.Write(appendEscaped(nil, s))
	b.WriteByte('"')
}
