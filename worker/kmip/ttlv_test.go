package kmip

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestEncoding compares with the examples of KMIP 1.4 section 9.1.2.
func TestEncoding(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		item item
		want []byte
	}{
		"Integer":     {integer(0x420020, 8), []byte("\x42\x00\x20\x02\x00\x00\x00\x04\x00\x00\x00\x08\x00\x00\x00\x00")},
		"Enumeration": {enumeration(tag(0x420020), uint32(255)), []byte("\x42\x00\x20\x05\x00\x00\x00\x04\x00\x00\x00\xFF\x00\x00\x00\x00")},
		"Text":        {text(0x420020, "Hello World"), []byte("\x42\x00\x20\x07\x00\x00\x00\x0BHello World\x00\x00\x00\x00\x00")},
		"Bytes":       {rawBytes(0x420020, []byte{1, 2, 3}), []byte("\x42\x00\x20\x08\x00\x00\x00\x03\x01\x02\x03\x00\x00\x00\x00\x00")},
		"Structure": {
			structure(0x420020, enumeration(tag(0x420004), uint32(254)), integer(0x420005, 255)),
			[]byte("\x42\x00\x20\x01\x00\x00\x00\x20\x42\x00\x04\x05\x00\x00\x00\x04\x00\x00\x00\xFE\x00\x00\x00\x00\x42\x00\x05\x02\x00\x00\x00\x04\x00\x00\x00\xFF\x00\x00\x00\x00"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.item.append(nil)
			if !bytes.Equal(got, test.want) {
				t.Errorf("wrote %x, want %x", got, test.want)
			}
			back, err := parse(test.want)
			if err != nil || !bytes.Equal(back.append(nil), test.want) {
				t.Errorf("read %+v, %v", back, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	deep := integer(tagState, 1)
	for range maxDepth + 2 {
		deep = structure(tagAttribute, deep)
	}
	for name, bad := range map[string][]byte{
		"Nothing":           {},
		"ShortHeader":       []byte("\x42\x00\x20\x02\x00"),
		"MoreThanIsThere":   []byte("\x42\x00\x20\x07\x7F\xFF\xFF\xFFabc"),
		"WrongLength":       []byte("\x42\x00\x20\x02\x00\x00\x00\x08\x00\x00\x00\x08\x00\x00\x00\x00"),
		"UnknownType":       []byte("\x42\x00\x20\x0C\x00\x00\x00\x00"),
		"MissingPadding":    []byte("\x42\x00\x20\x07\x00\x00\x00\x03abc"),
		"SomethingBehind":   append(integer(tagState, 1).append(nil), 0),
		"DeeplyNested":      deep.append(nil),
		"BrokenInStructure": []byte("\x42\x00\x20\x01\x00\x00\x00\x08\x42\x00\x04\x05\x00\x00\x00\x04"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := parse(bad); !errors.Is(err, errMalformed) {
				t.Errorf("read %+v, %v", got, err)
			}
		})
	}
}

// TestAnswers are of servers that don't keep to the rules.
func TestAnswers(t *testing.T) {
	t.Parallel()
	ok := func(id ...byte) item {
		return structure(tagBatchItem, rawBytes(tagUniqueBatchItemID, id), enumeration(tagResultStatus, uint32(statusSuccess)), structure(tagResponsePayload))
	}
	refused := structure(tagBatchItem, enumeration(tagResultStatus, uint32(1)), enumeration(tagResultReason, reasonNotSupported), text(tagResultMessage, "one at a time"))
	for name, test := range map[string]struct {
		items []item
		want  string // in the error; empty: none
	}{
		"InAnotherOrder":  {items: []item{ok(0, 0, 0, 1), ok(0, 0, 0, 0)}},
		"TooFew":          {items: []item{ok(0, 0, 0, 0)}, want: "1 answers to 2 questions"},
		"TooMany":         {items: []item{ok(0, 0, 0, 0), ok(0, 0, 0, 1), ok(0, 0, 0, 2)}, want: "nothing that was asked"},
		"TheSameTwice":    {items: []item{ok(0, 0, 0, 1), ok(0, 0, 0, 1)}, want: "nothing that was asked"},
		"RefusedAsAWhole": {items: []item{refused}, want: "one at a time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answers(structure(tagResponseMessage, append([]item{structure(tagResponseHeader)}, test.items...)...).append(nil), 2)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// FuzzParse: whatever a server sends is read or refused, and what is read can be written again.
func FuzzParse(f *testing.F) {
	f.Add(request(Version{1, 4}, getAttributes(Version{1, 4}, []string{"1", "2"})))
	f.Add(request(Version{2, 0}, []call{{op: opLocate, payload: locate(Version{2, 0}, "name", 0)}}))
	f.Add([]byte("\x42\x00\x20\x01\x00\x00\x00\x08\x42\x00\x04\x05\x00\x00\x00\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := parse(b)
		if err != nil {
			return
		}
		_ = keyOf(i)
		again, err := parse(i.append(nil))
		if err != nil || !bytes.Equal(again.append(nil), i.append(nil)) {
			t.Errorf("%x is read as %+v, and can't be written: %v", b, i, err)
		}
		_, _ = answers(b, 2)
	})
}
