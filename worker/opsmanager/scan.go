package opsmanager

import (
	"encoding/json"
	"iter"
	"math/bits"
	"reflect"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep JSON may be nested for a scanner.
const maxDepth = 64

// scanner reads JSON that looks as expected several times faster than
// encoding/json does: an automation config has megabytes, of which a few fields
// are needed. What looks otherwise is left to encoding/json, with its errors. It does not
// check all of what it skips and takes names by the letter, but takes nothing for
// whole that was cut off.
type scanner struct {
	text  string // the strings that are read are parts of it
	at    int
	depth int
	odd   bool // not as expected: what was read is worth nothing
}

// scanned can be read by a scanner.
type scanned interface{ scan(s *scanner) }

// decode reads JSON into what into points to, which is zero. Strings that are read may be parts of the text.
func decode(text string, into any) error {
	if raw, ok := into.(*rawBody); ok {
		return raw.keep(text)
	}
	if quick, ok := into.(scanned); ok {
		s := scanner{text: text}
		if quick.scan(&s); s.ended() {
			return nil
		}
		reflect.ValueOf(into).Elem().SetZero()
	}
	return json.Unmarshal([]byte(text), into)
}

// ended reports whether all was read, and was as expected.
func (s *scanner) ended() bool {
	s.peek()
	return !s.odd && s.at == len(s.text)
}

// peek skips white space and returns the byte after it; 0: the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.text); s.at++ {
		if c := s.text[s.at]; c > ' ' || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
	}
	return 0
}

// takes skips the byte if it is the next one.
func (s *scanner) takes(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// null skips a null.
func (s *scanner) null() bool {
	if s.peek() != 'n' || !strings.HasPrefix(s.text[s.at:], "null") {
		return false
	}
	s.at += len("null")
	return true
}

// opens begins an object or an array. It answers false for null.
func (s *scanner) opens(bracket byte) bool {
	if s.null() {
		return false
	}
	s.depth++
	if !s.takes(bracket) || s.depth > maxDepth {
		s.odd = true
	}
	return !s.odd
}

// next reports whether something comes before the bracket.
func (s *scanner) next(bracket byte, first bool) bool {
	if s.odd {
		return false
	}
	switch c := s.peek(); {
	case c == bracket:
		s.at++
		s.depth--
		return false
	case first:
	case c == ',':
		s.at++
	default:
		s.odd = true
	}
	return !s.odd
}

// fields loops over the names of an object's fields. The loop's body must read
// or skip each value. Of null it makes an empty loop.
func (s *scanner) fields() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !s.opens('{') {
			return
		}
		for first := true; s.next('}', first); first = false {
			var name string
			s.string(&name)
			if !s.takes(':') {
				s.odd = true
			}
			if s.odd || !yield(name) {
				return
			}
		}
	}
}

// object reads an object of strings: field says where that of a name belongs; nil: it is skipped.
func (s *scanner) object(field func(name string) *string) {
	for name := range s.fields() {
		if into := field(name); into != nil {
			s.string(into)
		} else {
			s.skip()
		}
	}
}

// elements loops over an array. The loop's body must read or skip each element.
// Of null it makes an empty loop.
func (s *scanner) elements() iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		if !s.opens('[') {
			return
		}
		for first := true; s.next(']', first); first = false {
			if !yield(struct{}{}) {
				return
			}
		}
	}
}

// string reads a string; null leaves what is there.
func (s *scanner) string(into *string) {
	if s.peek() != '"' {
		if !s.null() {
			s.odd = true
		}
		return
	}
	s.at++
	rest := s.text[s.at:]
	for i := plain(rest); i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			*into = rest[:i]
			s.at += i + 1
			return
		case c == '\\' || c < ' ' || c >= utf8.RuneSelf:
			*into = s.unusual()
			return
		}
	}
	s.odd = true
}

// plain returns how many bytes at the beginning of a text stand for themselves in a string. It looks at eight at a
// time and leaves the last few out.
// https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord
func plain(text string) int {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for i := 0; i+8 <= len(text); i += 8 {
		t := text[i : i+8]
		w := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 |
			uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
		control, quote, escape := w-' '*each, (w^'"'*each)-each, (w^'\\'*each)-each
		if found := (control | quote | escape | w) & high; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	return len(text) &^ 7
}

// unusual reads the rest of a string that does not stand for itself.
func (s *scanner) unusual() (text string) {
	for i := s.at; i < len(s.text); i++ {
		switch s.text[i] {
		case '\\':
			i++
		case '"':
			if json.Unmarshal([]byte(s.text[s.at-1:i+1]), &text) != nil {
				s.odd = true
			}
			s.at = i + 1
			return text
		}
	}
	s.odd = true
	return ""
}

// bool reads true or false; null is nil.
func (s *scanner) bool(into **bool) {
	start := s.at
	s.skip()
	switch strings.TrimSpace(s.text[start:s.at]) {
	case "true":
		*into = new(true)
	case "false":
		*into = new(false)
	case "null":
		*into = nil
	default:
		s.odd = true
	}
}

// loose reads a value of any kind as it is written.
func (s *scanner) loose(into *loose) {
	s.peek()
	start := s.at
	s.skip()
	*into = loose(s.text[start:s.at])
}

// within loops over the fields of an object: field must read or skip each value. What is no object is skipped.
func (s *scanner) within(field func(s *scanner, name string)) {
	if s.peek() != '{' {
		s.skip()
		return
	}
	for name := range s.fields() {
		field(s, name)
	}
}

// skip skips a value of any kind.
func (s *scanner) skip() {
	switch s.peek() {
	case '{':
		for range s.fields() {
			s.skip()
		}
	case '[':
		for range s.elements() {
			s.skip()
		}
	case '"':
		var ignored string
		s.string(&ignored)
	default:
		start := s.at
		for s.at < len(s.text) && isWord(s.text[s.at]) {
			s.at++
		}
		if s.at == start {
			s.odd = true
		}
	}
}

// isWord reports a byte of a number, true, false or null.
func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '+' || c == 'E'
}
