package simulator

import (
	"encoding/json"
	"strconv"
)

// jsonBuf builds JSON by appending: listings of thousands of entities are
// answered without reflection. Commas come by themselves.
type jsonBuf struct {
	b []byte
}

func (j *jsonBuf) comma() {
	if n := len(j.b); n > 0 {
		switch j.b[n-1] {
		case '{', '[', ':', ',':
		default:
			j.b = append(j.b, ',')
		}
	}
}

func (j *jsonBuf) open(c byte) {
	j.comma()
	j.b = append(j.b, c)
}

func (j *jsonBuf) close(c byte) { j.b = append(j.b, c) }

func (j *jsonBuf) key(k string) {
	j.comma()
	j.b = append(j.b, '"')
	j.b = append(j.b, k...)
	j.b = append(j.b, '"', ':')
}

func (j *jsonBuf) str(k, v string) {
	j.key(k)
	j.value(v)
}

func (j *jsonBuf) value(v string) {
	j.comma()
	for i := range len(v) {
		if c := v[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			j.b = appendJSON(j.b, v)
			return
		}
	}
	j.b = append(j.b, '"')
	j.b = append(j.b, v...)
	j.b = append(j.b, '"')
}

// text writes a string that is put together from parts, of which none has a character that JSON escapes: names and ids
// that the estate made up.
func (j *jsonBuf) text(k string, parts ...string) {
	j.comma()
	b := append(j.b, '"')
	b = append(b, k...)
	b = append(b, `":"`...)
	for _, part := range parts {
		b = append(b, part...)
	}
	j.b = append(b, '"')
}

func (j *jsonBuf) num(k string, v int) {
	j.key(k)
	j.b = strconv.AppendInt(j.b, int64(v), 10)
}

func (j *jsonBuf) bool(k string, v bool) {
	j.key(k)
	j.b = strconv.AppendBool(j.b, v)
}

// raw appends JSON that is ready.
func (j *jsonBuf) raw(k, v string) {
	j.key(k)
	j.b = append(j.b, v...)
}

func appendJSON(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil { // a string can always be encoded
		return append(b, `""`...)
	}
	return append(b, quoted...)
}
