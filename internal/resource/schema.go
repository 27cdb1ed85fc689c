package resource

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/keyturn/keyturn"
)

//go:embed schema/*.json
var schemaFiles embed.FS

// Schema returns the JSON Schema (draft 2020-12) of the documents of a kind.
func Schema(k keyturn.ResourceKind) ([]byte, error) {
	data, err := schemaFiles.ReadFile("schema/" + strings.ToLower(string(k)) + ".json")
	if err != nil {
		return nil, fmt.Errorf("kind %s has no schema: %w", k, keyturn.ErrNotFound)
	}
	return data, nil
}

type schemas map[keyturn.ResourceKind]schema

type schema struct {
	compiled *jsonschema.Schema
	source   any // to look up which fields there are
}

// loadSchemas compiles the schemas once, which takes milliseconds: a server may read thousands of single documents.
var loadSchemas = sync.OnceValues(compileSchemas) //nolint:gochecknoglobals // constant: made from embedded files, never changed

func compileSchemas() (schemas, error) {
	all := make(schemas)
	for _, k := range []keyturn.ResourceKind{keyturn.KindTarget, keyturn.KindPolicy, keyturn.KindWebhook, keyturn.KindHook, keyturn.KindSilence} {
		data, err := Schema(k)
		if err != nil {
			return nil, err
		}
		source, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("reading the schema of %s: %w", k, err)
		}
		name := "keyturn:" + string(k)
		c := jsonschema.NewCompiler()
		if err := c.AddResource(name, source); err != nil {
			return nil, fmt.Errorf("reading the schema of %s: %w", k, err)
		}
		compiled, err := c.Compile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the schema of %s: %w", k, err)
		}
		all[k] = schema{compiled: compiled, source: source}
	}
	return all, nil
}

// check notes everything that the schema says against a document.
func (s schema) check(t *tree, value any) {
	err := s.compiled.Validate(value)
	if err == nil {
		return
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		t.fail(nil, err.Error())
		return
	}
	s.note(t, value, invalid)
}

func (s schema) note(t *tree, value any, e *jsonschema.ValidationError) {
	for _, cause := range e.Causes {
		s.note(t, value, cause)
	}
	if len(e.Causes) > 0 {
		return
	}
	path := e.InstanceLocation
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			t.failAt(t.keys[pathKey(child(path, name))], path, s.unknownField(path, name))
		}
	case *kind.Required:
		for _, name := range k.Missing {
			t.fail(path, s.missingField(path, name))
		}
	default:
		t.fail(path, s.message(path, lookup(value, path), e))
	}
}

func (s schema) unknownField(path []string, name string) string {
	known := slices.Sorted(maps.Keys(s.fields(path)))
	message := fmt.Sprintf("unknown field %s: ", fieldName(path, name))
	if len(path) == 0 && name == "metadata" {
		return message + "name stands beside kind, without metadata"
	}
	return message + choose(name, known)
}

func (s schema) missingField(path []string, name string) string {
	message := fmt.Sprintf("the field %s is missing", name)
	field, _ := s.fields(path)[name].(map[string]any)
	if name == "apiVersion" {
		return message + ": write apiVersion: " + APIVersion
	}
	if about, ok := field["description"].(string); ok {
		return message + " (" + about + ")"
	}
	return message
}

// message says what is wrong with a value. It never shows a value that may be a secret.
func (s schema) message(path []string, value any, e *jsonschema.ValidationError) string {
	node := s.at(path)
	about, _ := node["description"].(string)
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return wrongType(k, about)
	case *kind.Enum:
		var known []string
		for _, want := range k.Want {
			known = append(known, fmt.Sprint(want))
		}
		text, _ := value.(string)
		return fmt.Sprintf("unknown value %s: %s", show(value), choose(text, known))
	case *kind.Pattern:
		if isSecret(path) {
			return literalSecret(value)
		}
		return fmt.Sprintf("%s can't be used: expected %s", show(value), about)
	case *kind.MinLength:
		return "is empty: give a value or remove it"
	case *kind.Minimum, *kind.Maximum:
		return fmt.Sprintf("%s is out of range: expected %v to %v (%s)", show(value), node["minimum"], node["maximum"], about)
	case *kind.MaxLength:
		return fmt.Sprintf("is longer than %v characters", node["maxLength"])
	case *kind.MaxItems:
		return fmt.Sprintf("has more than %v entries", node["maxItems"])
	default:
		return "does not fit the schema" // keywords that the schemas don't use
	}
}

func wrongType(k *kind.Type, about string) string {
	words := map[string]string{
		"string": "text", "number": "a number", "integer": "a whole number", "boolean": "true or false",
		"object": "a set of fields", "array": "a list", "null": "nothing",
	}
	var want []string
	for _, w := range k.Want {
		want = append(want, words[w])
	}
	message := fmt.Sprintf("expected %s, found %s", strings.Join(want, " or "), words[k.Got])
	switch {
	case k.Got == "null":
		return message + ": give a value or remove the field"
	case about != "":
		return message + " (" + about + ")"
	case slices.Contains(k.Want, "string") && (k.Got == "number" || k.Got == "boolean"):
		return message + ": put it in quotes"
	case slices.Contains(k.Want, "array"):
		return message + `: write ["…"]`
	default:
		return message
	}
}

// at returns the part of the schema that is about the values at path.
func (s schema) at(path []string) map[string]any {
	node, _ := s.source.(map[string]any)
	for _, p := range path {
		if items, ok := node["items"].(map[string]any); ok {
			node = items
			continue
		}
		fields, _ := node["properties"].(map[string]any)
		node, _ = fields[p].(map[string]any)
	}
	return node
}

func (s schema) fields(path []string) map[string]any {
	fields, _ := s.at(path)["properties"].(map[string]any)
	return fields
}
