package keyturn

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Storable reports whether each of the databases can keep the text: valid UTF-8 without NUL, which Postgres refuses.
// https://www.postgresql.org/docs/current/datatype-character.html
func Storable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// StorableJSON reports whether the strings of a JSON document are without NUL. What is not UTF-8 is replaced when it is read.
func StorableJSON(document []byte) bool {
	escape := []byte(`\u0000`)
	for rest := document; ; {
		at := bytes.Index(rest, escape)
		if at < 0 {
			return true
		}
		backslashes := at - len(bytes.TrimRight(rest[:at], `\`)) // before the escape's own
		if backslashes%2 == 0 {
			return false
		}
		rest = rest[at+len(escape):]
	}
}

// CheckURL refuses an address whose path or query can't be looked for.
func CheckURL(u *url.URL) error {
	query, err := url.QueryUnescape(u.RawQuery)
	if Storable(u.Path) && (err != nil || Storable(query)) { // whoever reads a query that is none says so
		return nil
	}
	return errors.New("the address has a NUL, or characters that are not UTF-8: nothing is called so")
}

// MakeStorable replaces what no database can keep by U+FFFD, so that the text matches nothing that it did not match before.
func MakeStorable(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "\uFFFD"), "\uFFFD")
}
