package keyturn

import (
	"crypto/rand"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// ID names a rotation, a task or a key record. It is a UUIDv7 (RFC 9562 §5.7):
// ids made later sort after ids made earlier, to the millisecond.
type ID [16]byte

// NewID returns a fresh id that sorts by now.
func NewID(now time.Time) ID {
	var id ID
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(id[:6], ms[2:])
	_, _ = rand.Read(id[6:]) // never fails: crypto/rand aborts the program instead
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseID reads the 36 character form of an id.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("%q is not an id: expected a UUID such as 019a9d2e-7c00-7000-8000-000000000000", s)
	}
	var digits [32]byte
	copy(digits[:8], s[:8])
	copy(digits[8:12], s[9:13])
	copy(digits[12:16], s[14:18])
	copy(digits[16:20], s[19:23])
	copy(digits[20:], s[24:])
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return ID{}, fmt.Errorf("%q is not an id: %w", s, err)
	}
	return id, nil
}

// IsZero reports whether the id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the 36 character form.
func (id ID) String() string {
	var b [36]byte
	return string(id.appendTo(b[:0]))
}

// appendTo appends the 36 character form.
func (id ID) appendTo(to []byte) []byte {
	to = hex.AppendEncode(to, id[:4])
	for _, part := range [...][]byte{id[4:6], id[6:8], id[8:10], id[10:]} {
		to = hex.AppendEncode(append(to, '-'), part)
	}
	return to
}

// MarshalText writes the 36 character form; the zero id is the empty string.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return id.appendTo(make([]byte, 0, 36)), nil
}

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// Value stores the id as its text form and the zero id as NULL.
func (id ID) Value() (driver.Value, error) {
	if id.IsZero() {
		return nil, nil //nolint:nilnil // NULL is the value
	}
	return id.String(), nil
}

// Scan reads what Value stored.
func (id *ID) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*id = ID{}
		return nil
	case string:
		return id.UnmarshalText([]byte(v))
	case []byte:
		return id.UnmarshalText(v)
	default:
		return fmt.Errorf("reading an id: unexpected %T", src)
	}
}
