package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn"
)

// maxErrors bounds what one file is told.
const maxErrors = 100

// parser reads the chunks of one file.
type parser struct {
	file      string
	options   Options
	schemas   schemas
	budget    int // nodes that may still be read
	seen      int // documents
	documents []Document
	errors    Errors
}

func (p *parser) chunk(c chunk) {
	decoder := yaml.NewDecoder(strings.NewReader(c.text))
	for len(p.errors) < maxErrors {
		var root yaml.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			p.errors = append(p.errors, p.syntaxError(c, err))
			return
		}
		if len(root.Content) != 1 || root.Content[0].Tag == "!!null" {
			continue
		}
		p.seen++
		p.document(c, root.Content[0])
	}
}

func (p *parser) document(c chunk, root *yaml.Node) {
	t := &tree{parser: p, chunk: c, values: make(map[string]position), keys: make(map[string]position)}
	value := t.read(root, nil)
	fields, ok := value.(map[string]any)
	if !ok {
		t.fail(nil, "a document is a set of fields: apiVersion, kind, name and spec")
		return
	}
	kind, ok := t.kind(fields)
	if !ok {
		return
	}
	before := len(p.errors)
	p.schemas[kind].check(t, value)
	switch kind {
	case keyturn.KindTarget:
		checkTarget(t, value)
	case keyturn.KindPolicy:
		checkPolicy(t, value, p.options.CheckSchedule)
	case keyturn.KindWebhook:
		checkWebhook(t, value)
	case keyturn.KindHook:
		checkHook(t, value)
	case keyturn.KindSilence:
		checkSilence(t, value)
	}
	if len(p.errors) > before || t.failed {
		return
	}
	spec, err := marshal(fields["spec"])
	if err != nil {
		t.fail([]string{"spec"}, err.Error())
		return
	}
	name, _ := fields["name"].(string)
	p.documents = append(p.documents, Document{
		Kind: kind, Name: name, Spec: spec, File: p.file, Line: t.values[""].line,
	})
}

// kind finds out what the document is about; without that nothing else can be said.
func (t *tree) kind(fields map[string]any) (keyturn.ResourceKind, bool) {
	kinds := []string{
		string(keyturn.KindTarget), string(keyturn.KindPolicy), string(keyturn.KindWebhook), string(keyturn.KindHook), string(keyturn.KindSilence),
	}
	value, there := fields["kind"]
	if !there {
		t.fail(nil, "the field kind is missing: write kind: "+strings.Join(kinds, ", kind: "))
		return "", false
	}
	text, _ := value.(string)
	for _, k := range kinds {
		if text == k {
			return keyturn.ResourceKind(k), true
		}
	}
	t.fail([]string{"kind"}, fmt.Sprintf("unknown kind %s: %s", show(value), choose(text, kinds)))
	return "", false
}

// syntaxError says in one line what the YAML reader said, without repeating
// anything of the file: it may be a secret.
func (p *parser) syntaxError(c chunk, err error) Error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	e := Error{File: p.file, Line: c.line + 1, Column: c.column + 1}
	if m := regexp.MustCompile(`^(?:.*: )?line (\d+): (.*)$`).FindStringSubmatch(message); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			e.Line, e.Column = c.line+n, 1
		}
		message = m[2]
	}
	if line, ok := tabbed(c.text); ok {
		e.Line, e.Column = c.line+line, 1
		e.Message = "a tab can't indent YAML: use spaces"
		return e
	}
	if strings.Contains(message, "unknown anchor") {
		message = "unknown anchor: a value that begins with * must be in quotes"
	}
	message, _, _ = strings.Cut(message, "\n")
	e.Message = "this is no YAML: " + message
	return e
}

func tabbed(text string) (line int, ok bool) {
	for l := range strings.Lines(text) {
		line++
		if strings.HasPrefix(strings.TrimLeft(l, " "), "\t") && strings.TrimSpace(l) != "" {
			return line, true
		}
	}
	return 0, false
}

// marshal writes a value in the one form in which equal values are equal bytes.
func marshal(value any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
