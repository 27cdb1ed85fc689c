// Package resource reads and writes the resource files of `keyturn apply`:
// YAML or JSON documents of the kinds Target, Policy, Webhook, Hook and Silence.
package resource

import (
	"encoding/json"
	"fmt"

	"github.com/keyturn/keyturn"
)

// APIVersion is the version of the documents that this package reads and writes.
const APIVersion = "keyturn/v1"

// Document is one resource of a file, known to be valid.
type Document struct {
	Kind keyturn.ResourceKind `json:"kind"`
	Name string               `json:"name"`
	Spec json.RawMessage      `json:"spec"` // canonical: keys sorted, no spaces
	File string               `json:"file"`
	Line int                  `json:"line"` // where the document begins, from 1
}

// Options are what Parse is told by those who know more.
type Options struct {
	// CheckSchedule says why a schedule can't be used; nil: any can.
	CheckSchedule func(keyturn.Schedule) error
}

// Parse reads all the documents of a file, at most 1 MiB, or none: an error is
// of type Errors and holds everything that is wrong with the file. It never
// holds the value of a field that is meant for a secret.
//
// name stands for the file in errors and documents.
func Parse(name string, data []byte, o Options) ([]Document, error) {
	text, err := clean(data)
	if err != nil {
		return nil, Errors{{File: name, Line: 1, Column: 1, Message: err.Error()}}
	}
	schemas, err := loadSchemas()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	p := &parser{file: name, options: o, schemas: schemas, budget: maxNodes}
	for _, c := range split(text) {
		p.chunk(c)
	}
	if p.seen == 0 && len(p.errors) == 0 {
		p.errors = append(p.errors, Error{File: name, Line: 1, Column: 1, Message: "the file holds no document"})
	}
	p.errors = append(p.errors, duplicates(p.documents)...)
	if err := p.errors.asError(); err != nil {
		return nil, err
	}
	return p.documents, nil
}

// duplicates reports documents of the same kind and name.
func duplicates(docs []Document) Errors {
	var found Errors
	first := make(map[key]Document, len(docs))
	for _, d := range docs {
		k := key{d.Kind, d.Name}
		before, again := first[k]
		if !again {
			first[k] = d
			continue
		}
		found = append(found, Error{
			File: d.File, Line: d.Line, Column: 1,
			Message: fmt.Sprintf("%s %s is there twice: the first is at %s:%d", d.Kind, d.Name, before.File, before.Line),
		})
	}
	return found
}

type key struct {
	kind keyturn.ResourceKind
	name string
}

// Target decodes a document of kind Target, with defaults.
func Target(d Document) (keyturn.Target, error) { return TargetOf(d.resource()) }

// Policy decodes a document of kind Policy, with defaults.
func Policy(d Document) (keyturn.Policy, error) { return PolicyOf(d.resource()) }

// TargetOf decodes a stored target, with defaults.
func TargetOf(r keyturn.Resource) (keyturn.Target, error) {
	var t keyturn.Target
	if err := decode(r, keyturn.KindTarget, &t); err != nil {
		return keyturn.Target{}, err
	}
	t.Name, t.Generation = r.Name, r.Generation
	return t.WithDefaults(), nil
}

// PolicyOf decodes a stored policy, with defaults.
func PolicyOf(r keyturn.Resource) (keyturn.Policy, error) {
	var p keyturn.Policy
	if err := decode(r, keyturn.KindPolicy, &p); err != nil {
		return keyturn.Policy{}, err
	}
	p.Name, p.Generation, p.Paused = r.Name, r.Generation, r.Status.Paused
	return p.WithDefaults(), nil
}

// WebhookOf decodes a stored webhook, with defaults.
func WebhookOf(r keyturn.Resource) (keyturn.Webhook, error) {
	var w keyturn.Webhook
	if err := decode(r, keyturn.KindWebhook, &w); err != nil {
		return keyturn.Webhook{}, err
	}
	w.Name, w.Generation = r.Name, r.Generation
	return w.WithDefaults(), nil
}

// HookOf decodes a stored hook, with defaults.
func HookOf(r keyturn.Resource) (keyturn.Hook, error) {
	var h keyturn.Hook
	if err := decode(r, keyturn.KindHook, &h); err != nil {
		return keyturn.Hook{}, err
	}
	h.Name, h.Generation = r.Name, r.Generation
	return h.WithDefaults(), nil
}

// SilenceOf decodes a stored silence.
func SilenceOf(r keyturn.Resource) (keyturn.Silence, error) {
	var s keyturn.Silence
	if err := decode(r, keyturn.KindSilence, &s); err != nil {
		return keyturn.Silence{}, err
	}
	s.Name = r.Name
	return s, nil
}

func (d Document) resource() keyturn.Resource {
	return keyturn.Resource{Kind: d.Kind, Name: d.Name, Spec: d.Spec}
}

// decode is lenient: a field that this version does not know was stored by a newer one.
func decode(r keyturn.Resource, kind keyturn.ResourceKind, into any) error {
	if r.Kind != kind {
		return fmt.Errorf("reading %s %s: expected a %s", r.Kind, r.Name, kind)
	}
	if err := json.Unmarshal(r.Spec, into); err != nil {
		return fmt.Errorf("reading %s %s: %w", r.Kind, r.Name, err)
	}
	return nil
}
