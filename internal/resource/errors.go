package resource

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a resource file.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1
	Column  int    `json:"column"` // from 1, in characters
	Path    string `json:"path"`   // such as "spec.schedule.cron"; empty: the document
	Message string `json:"message"`
}

// Error is one line: FILE:LINE:COLUMN: PATH: MESSAGE.
func (e Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", e.File, e.Line, max(1, e.Column))
	}
	if e.Path == "" {
		return where + ": " + e.Message
	}
	return where + ": " + e.Path + ": " + e.Message
}

// Errors is everything that is wrong, in the order of the file. It is never empty.
type Errors []Error

// Error is one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As and errors.Is each error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// asError sorts the errors; none is nil.
func (e Errors) asError() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	e = slices.Compact(e)
	if len(e) < maxErrors {
		return e
	}
	last := e[maxErrors-1]
	return append(e[:maxErrors:maxErrors], Error{
		File: last.File, Line: last.Line, Column: last.Column, Message: fmt.Sprintf("only the first %d errors are shown", maxErrors),
	})
}
