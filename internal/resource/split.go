package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	maxBytes = 1 << 20
	// maxNodes bounds a file with its aliases written out.
	maxNodes = 200_000
	maxDepth = 32
)

// chunk is a part of a file that is read by itself, so that an error in one
// document does not hide those in others.
type chunk struct {
	text   string
	line   int // lines before it
	column int // characters before it on its first line
}

// clean refuses what is no text and removes a byte order mark.
func clean(data []byte) (string, error) {
	switch {
	case len(data) > maxBytes:
		return "", fmt.Errorf("the file has %d bytes: at most %d are read; split it", len(data), maxBytes)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "", errors.New("the file is UTF-16: save it as UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return "", errors.New("the file is not UTF-8 text")
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return "", fmt.Errorf("the file is no text: byte %d is zero", i+1)
	}
	return string(data), nil
}

// split cuts a file at the lines that begin a document.
func split(text string) []chunk {
	if chunks, ok := splitJSON(text); ok {
		return chunks
	}
	var chunks []chunk
	var current strings.Builder
	start, line := 0, 0
	flush := func() {
		if hasContent(current.String()) {
			chunks = append(chunks, chunk{text: current.String(), line: start})
		}
		current.Reset()
		start = line
	}
	for l := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(l, "---"); ok && strings.TrimLeft(rest[:min(1, len(rest))], " \t\r\n") == "" {
			flush()
		}
		current.WriteString(l)
		line++
	}
	flush()
	return chunks
}

// hasContent reports whether there is more than comments, directives and markers.
func hasContent(text string) bool {
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if l != "" && l != "---" && l != "..." && !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "%") {
			return true
		}
	}
	return false
}

// splitJSON cuts a stream of JSON values. YAML reads each of them, except that
// it takes offence at tabs, which JSON allows between tokens only.
func splitJSON(text string) ([]chunk, bool) {
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return nil, false
	}
	var chunks []chunk
	decoder := json.NewDecoder(strings.NewReader(text))
	from, line, lineStart := 0, 0, 0
	for {
		var value json.RawMessage
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			return chunks, len(chunks) > 0
		}
		if err != nil {
			return nil, false
		}
		to := int(decoder.InputOffset())
		raw := strings.TrimLeft(text[from:to], " \t\r\n")
		start := to - len(raw)
		line += strings.Count(text[from:start], "\n")
		if i := strings.LastIndexByte(text[from:start], '\n'); i >= 0 {
			lineStart = from + i + 1
		}
		chunks = append(chunks, chunk{text: strings.ReplaceAll(raw, "\t", " "), line: line, column: start - lineStart})
		line += strings.Count(raw, "\n")
		if i := strings.LastIndexByte(raw, '\n'); i >= 0 {
			lineStart = start + i + 1
		}
		from = to
	}
}
