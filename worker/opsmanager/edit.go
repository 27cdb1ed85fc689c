package opsmanager

import (
	"encoding/json"
	"errors"
	"fmt"
)

// rotatedField is what makes the agents turn a process's KMIP master key when it is set to a later time.
// https://www.mongodb.com/docs/ops-manager/current/reference/api/automation-config/automation-config-parameters/
const rotatedField = "lastKmipMasterKeyRotation"

// span is a part of a text.
type span struct{ from, to int }

// edit is what takes the place of a span.
type edit struct {
	span
	text string
}

// errConfig: an automation config that can't be edited without doubt.
var errConfig = errors.New("the automation config is not as expected")

// stamp sets lastKmipMasterKeyRotation of the named processes and leaves every other byte of the config as
// it is: going through a structure would lose what this program does not know, and has done so in others.
func stamp(raw []byte, names []string, value string) ([]byte, error) {
	if !json.Valid(raw) {
		return nil, fmt.Errorf("%w: it is no JSON", errConfig)
	}
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name] = true
	}
	quoted, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("writing a time: %w", err)
	}
	e := editor{s: scanner{text: string(raw)}, wanted: wanted, value: string(quoted)}
	e.config()
	switch {
	case !e.s.ended():
		return nil, fmt.Errorf("%w: it is nested too deep", errConfig)
	case e.lists != 1:
		return nil, fmt.Errorf("%w: it has %d lists of processes", errConfig, e.lists)
	}
	for _, name := range names {
		if n := e.found[name]; n != 1 {
			return nil, fmt.Errorf("%w: it has %d processes named %q", errConfig, n, name)
		}
	}
	return e.apply(), nil
}

// editor walks through a config and collects edits, in the order of the text.
type editor struct {
	s      scanner
	wanted map[string]bool
	value  string
	lists  int
	found  map[string]int
	edits  []edit
}

func (e *editor) config() {
	e.found = make(map[string]int)
	for name := range e.s.fields() {
		if name != "processes" {
			e.s.skip()
			continue
		}
		e.lists++
		for range e.s.elements() {
			e.process()
		}
	}
}

// process collects the edits of one process. A field that is written twice is set twice: who reads it may
// take either.
func (e *editor) process() {
	if e.s.peek() != '{' {
		e.s.skip()
		return
	}
	start := e.s.at + 1
	var (
		name  string
		names int
		spans []span
	)
	for field := range e.s.fields() {
		switch field {
		case "name":
			names++
			name = ""
			if e.s.peek() == '"' {
				e.s.string(&name)
			} else {
				e.s.skip()
			}
		case rotatedField:
			e.s.peek()
			from := e.s.at
			e.s.skip()
			spans = append(spans, span{from, e.s.at})
		default:
			e.s.skip()
		}
	}
	if !e.wanted[name] {
		return
	}
	e.found[name] += names // a process with two names is none that could be told
	if len(spans) == 0 {
		e.edits = append(e.edits, edit{span{start, start}, `"` + rotatedField + `":` + e.value + ","})
	}
	for _, sp := range spans {
		e.edits = append(e.edits, edit{sp, e.value})
	}
}

func (e *editor) apply() []byte {
	out := make([]byte, 0, len(e.s.text)+len(e.edits)*(len(e.value)+len(rotatedField)+8))
	at := 0
	for _, ed := range e.edits {
		out = append(out, e.s.text[at:ed.from]...)
		out = append(out, ed.text...)
		at = ed.to
	}
	return append(out, e.s.text[at:]...)
}
