package resource

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

type position struct{ line, column int }

// tree turns a YAML node into the values of JSON and remembers where each came from.
type tree struct {
	*parser
	chunk  chunk
	values map[string]position // by path
	keys   map[string]position // by path: where the field's name is
	failed bool                // an error was noted
}

func pathKey(path []string) string { return strings.Join(path, "\x00") }

// fail notes an error at the value at path, or at the nearest thing around it.
func (t *tree) fail(path []string, message string) { t.failAt(t.position(path), path, message) }

func (t *tree) failAt(at position, path []string, message string) {
	t.failed = true
	if len(t.errors) < maxErrors {
		t.errors = append(t.errors, Error{
			File: t.file, Line: at.line, Column: at.column, Path: display(path), Message: message,
		})
	}
}

func (t *tree) position(path []string) position {
	for n := len(path); n >= 0; n-- {
		if at, ok := t.values[pathKey(path[:n])]; ok {
			return at
		}
	}
	return position{line: t.chunk.line + 1, column: 1}
}

func (t *tree) at(n *yaml.Node) position {
	p := position{line: t.chunk.line + n.Line, column: n.Column}
	if n.Line == 1 {
		p.column += t.chunk.column
	}
	return p
}

// display writes a path as people do: spec.select.projects[0].
func display(path []string) string {
	var b strings.Builder
	for _, p := range path {
		switch _, err := strconv.Atoi(p); {
		case err == nil:
			b.WriteString("[" + p + "]")
		case b.Len() > 0:
			b.WriteString("." + p)
		default:
			b.WriteString(p)
		}
	}
	return b.String()
}

func (t *tree) read(n *yaml.Node, path []string) any {
	at := t.at(n)
	if _, ok := t.values[pathKey(path)]; !ok {
		t.values[pathKey(path)] = at
	}
	t.budget--
	switch {
	case t.budget < 0:
		if t.budget == -1 {
			t.failAt(at, nil, fmt.Sprintf("the file has more than %d values, aliases written out: split it", maxNodes))
		}
		return nil
	case len(path) > maxDepth:
		t.failAt(at, nil, fmt.Sprintf("nested deeper than %d levels", maxDepth))
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return t.mapping(n, path)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, c := range n.Content {
			list = append(list, t.read(c, child(path, strconv.Itoa(i))))
		}
		return list
	case yaml.AliasNode:
		return t.read(n.Alias, path) // a circle ends at maxDepth: every turn makes the path longer
	default:
		return t.scalar(n, path)
	}
}

func child(path []string, name string) []string {
	return append(path[:len(path):len(path)], name)
}

func (t *tree) mapping(n *yaml.Node, path []string) any {
	fields := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		at := t.at(name)
		switch {
		case name.ShortTag() == "!!merge":
			t.failAt(at, path, "merge keys (<<) are not read: write the fields out")
			continue
		case name.Kind != yaml.ScalarNode:
			t.failAt(at, path, "the name of a field must be plain text")
			continue
		}
		if _, again := fields[name.Value]; again {
			t.failAt(at, path, fmt.Sprintf("the field %s is there twice", fieldName(path, name.Value)))
			continue
		}
		field := child(path, name.Value)
		t.keys[pathKey(field)] = at
		fields[name.Value] = t.read(value, field)
	}
	return fields
}

func (t *tree) scalar(n *yaml.Node, path []string) any {
	switch n.ShortTag() {
	case "!!str", "!!timestamp": // a date without quotes is text here
		return n.Value
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		var i int64
		if err := n.Decode(&i); err == nil {
			return json.Number(strconv.FormatInt(i, 10))
		}
		return t.float(n, path)
	case "!!float":
		return t.float(n, path)
	default:
		t.fail(path, "a value with a tag (!) is not read: put it in quotes if it is text")
		return n.Value
	}
}

func (t *tree) float(n *yaml.Node, path []string) any {
	var f float64
	if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		t.fail(path, "this is no number that can be used")
		return nil
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return json.Number(strconv.FormatInt(int64(f), 10))
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
}
