package kmip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Bounds of what is read: a server's answer is data of a stranger.
const (
	maxMessage = 64 << 20 // bytes of one message: before 1.3 all keys come in one, some 50 bytes each
	maxDepth   = 16       // structures in structures
	headerSize = 8        // tag, type and length
)

// kind is an item's type, KMIP 1.4 section 9.1.1.2.
type kind uint8

const (
	kindStructure kind = iota + 1
	kindInteger
	kindLongInteger
	kindBigInteger
	kindEnumeration
	kindBoolean
	kindText
	kindBytes
	kindDateTime
	kindInterval
)

// item is one tag, type, length, value: KMIP 1.4 section 9.1.1,
// https://docs.oasis-open.org/kmip/spec/v1.4/os/kmip-spec-v1.4-os.html#_Toc490660918.
type item struct {
	tag   tag
	kind  kind
	value []byte // without padding; nil for a structure
	items []item // of a structure
}

func structure(t tag, items ...item) item { return item{tag: t, kind: kindStructure, items: items} }

func integer(t tag, v int32) item {
	return item{tag: t, kind: kindInteger, value: binary.BigEndian.AppendUint32(nil, uint32(v))} //nolint:gosec // two's complement, as the format has it
}

func enumeration[E ~uint32](t tag, v E) item {
	return item{tag: t, kind: kindEnumeration, value: binary.BigEndian.AppendUint32(nil, uint32(v))}
}

func text(t tag, v string) item { return item{tag: t, kind: kindText, value: []byte(v)} }

func rawBytes(t tag, v []byte) item { return item{tag: t, kind: kindBytes, value: v} }

// get returns the first item of a structure that has the tag.
func (i item) get(t tag) (item, bool) {
	for _, child := range i.items {
		if child.tag == t {
			return child, true
		}
	}
	return item{}, false
}

func (i item) text(t tag) string {
	child, ok := i.get(t)
	if !ok || child.kind != kindText {
		return ""
	}
	return string(child.value)
}

// number returns an integer or enumeration; ok is false when there is none.
func (i item) number(t tag) (v uint32, ok bool) {
	child, ok := i.get(t)
	if !ok {
		return 0, false
	}
	return child.uint32()
}

func (i item) uint32() (uint32, bool) {
	if i.kind != kindInteger && i.kind != kindEnumeration {
		return 0, false
	}
	return binary.BigEndian.Uint32(i.value), true
}

// time returns a date and time, in UTC; ok is false when it is none.
func (i item) time() (t time.Time, ok bool) {
	if i.kind != kindDateTime {
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint64(i.value)), 0).UTC(), true //nolint:gosec // signed, as the format has it
}

// append writes the item behind b. Values are padded to 8 bytes: section 9.1.1.4.
func (i item) append(b []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(i.tag)<<8|uint32(i.kind))
	b = append(b, 0, 0, 0, 0) // the length, when it is known
	if i.kind == kindStructure {
		for _, child := range i.items {
			b = child.append(b)
		}
	} else {
		b = append(b, i.value...)
	}
	size := len(b) - at - headerSize
	binary.BigEndian.PutUint32(b[at+4:], uint32(size)) //nolint:gosec // what we send is small
	return append(b, make([]byte, padding(size))...)
}

func padding(size int) int { return -size & 7 }

var errMalformed = errors.New("malformed message")

// parse reads one item that fills b.
func parse(b []byte) (item, error) {
	i, rest, err := parseItem(b, maxDepth)
	if err != nil {
		return item{}, err
	}
	if len(rest) > 0 {
		return item{}, fmt.Errorf("%w: %d bytes follow it", errMalformed, len(rest))
	}
	return i, nil
}

func parseItem(b []byte, depth int) (i item, rest []byte, err error) {
	if len(b) < headerSize {
		return item{}, nil, fmt.Errorf("%w: an item of %d bytes", errMalformed, len(b))
	}
	i.tag, i.kind = tag(b[0])<<16|tag(b[1])<<8|tag(b[2]), kind(b[3])
	size := int(binary.BigEndian.Uint32(b[4:]))
	b = b[headerSize:]
	if size > len(b) {
		return item{}, nil, fmt.Errorf("%w: item %06x says it has %d bytes, %d are there", errMalformed, uint32(i.tag), size, len(b))
	}
	value := b[:size]
	if err := checkSize(i.kind, size); err != nil {
		return item{}, nil, fmt.Errorf("%w: item %06x: %w", errMalformed, uint32(i.tag), err)
	}
	if i.kind == kindStructure {
		if depth == 0 {
			return item{}, nil, fmt.Errorf("%w: structures are nested more than %d deep", errMalformed, maxDepth)
		}
		for len(value) > 0 {
			var child item
			if child, value, err = parseItem(value, depth-1); err != nil {
				return item{}, nil, err
			}
			i.items = append(i.items, child)
		}
		return i, b[size:], nil
	}
	i.value = value
	if len(b) < size+padding(size) {
		return item{}, nil, fmt.Errorf("%w: item %06x lacks its padding", errMalformed, uint32(i.tag))
	}
	return i, b[size+padding(size):], nil
}

// checkSize holds the lengths that section 9.1.1.3 fixes.
func checkSize(k kind, size int) error {
	want := 0
	switch k {
	case kindInteger, kindEnumeration, kindInterval:
		want = 4
	case kindLongInteger, kindBoolean, kindDateTime:
		want = 8
	case kindStructure, kindBigInteger:
		if size%8 != 0 {
			return fmt.Errorf("%d bytes, which is no multiple of 8", size)
		}
		return nil
	case kindText, kindBytes:
		return nil
	default:
		return fmt.Errorf("unknown type %d", k)
	}
	if size != want {
		return fmt.Errorf("%d bytes instead of %d", size, want)
	}
	return nil
}
