package simulator

import "strings"

// authorization is what a client sent, RFC 7616 section 3.4.
type authorization struct {
	username, nonce, uri, qop, nc, cnonce, response, algorithm string
}

// parse splits the header by hand: it runs for every request. It reports
// whether the header is a digest's and well formed. Unknown parameters are
// ignored, as the RFC asks.
func (a *authorization) parse(header string) bool {
	*a = authorization{}
	scheme, rest, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "digest") {
		return false
	}
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			return true
		}
		eq := strings.IndexByte(rest, '=')
		if eq < 1 {
			return false
		}
		name := strings.TrimRight(rest[:eq], " \t")
		value, after, ok := parameterValue(strings.TrimLeft(rest[eq+1:], " \t"))
		if !ok {
			return false
		}
		a.set(name, value)
		rest = after
	}
}

func parameterValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], true
	}
	end := strings.IndexAny(s[1:], `"\`)
	if end < 0 {
		return "", "", false
	}
	if s[1+end] == '"' {
		return s[1 : 1+end], s[end+2:], true
	}
	return escapedValue(s[1:])
}

// escapedValue reads a quoted string with escapes, behind its first quote.
func escapedValue(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

func (a *authorization) set(name, value string) {
	switch {
	case strings.EqualFold(name, "username"):
		a.username = value
	case strings.EqualFold(name, "nonce"):
		a.nonce = value
	case strings.EqualFold(name, "uri"):
		a.uri = value
	case strings.EqualFold(name, "qop"):
		a.qop = value
	case strings.EqualFold(name, "nc"):
		a.nc = value
	case strings.EqualFold(name, "cnonce"):
		a.cnonce = value
	case strings.EqualFold(name, "response"):
		a.response = value
	case strings.EqualFold(name, "algorithm"):
		a.algorithm = value
	}
}

// count reads nc as a number; ok is false for what is no hexadecimal number of
// 1 to 8 digits.
func (a *authorization) count() (n uint64, ok bool) {
	if len(a.nc) == 0 || len(a.nc) > 8 {
		return 0, false
	}
	for i := range len(a.nc) {
		c := a.nc[i]
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | uint64(c-'A'+10)
		default:
			return 0, false
		}
	}
	return n, true
}
