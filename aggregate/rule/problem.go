package rule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong, or without effect, at one place of a file.
type Problem struct {
	// File is the name that was given to Load.
	File string
	// Line and Column count from 1; 0 means that only the file is known.
	Line, Column int
	// Field is the path of keys, such as rules[2].interval.
	Field string
	// Message says what was found, what is allowed, and what to do.
	Message string
	// Warning marks what is accepted.
	Warning bool
}

// Error formats as FILE:LINE:COLUMN: FIELD: MESSAGE.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Errors are all problems of one file, by position.
type Errors []Problem

// Error lists one problem a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Fatal reports whether one of them is no warning.
func (e Errors) Fatal() bool {
	return slices.ContainsFunc(e, func(p Problem) bool { return !p.Warning })
}

// Sorted puts them in order, each there once.
func (e Errors) Sorted() Errors {
	slices.SortStableFunc(e, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(e)
}
