package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/atoll-mesh/atoll/decode"
)

// Error is one thing wrong with a configuration file.
type Error struct {
	// File is the path as it was given or written; Line and Column count from 1,
	// and are 0 where the file itself is the trouble.
	File         string
	Line, Column int
	// Field is the path of keys inside the file, such as store.retention.time.
	Field string
	// Message says what was found, what is allowed, and what to do.
	Message string
	// Warning marks what is worth a look but keeps nothing from starting.
	Warning bool
}

// Error formats as FILE:LINE:COLUMN: FIELD: MESSAGE, which editors can jump to.
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Warning {
		b.WriteString("warning: ")
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// Errors are all problems of a configuration and the files it refers to, in the
// order the files were read, then by position.
type Errors []Error

// Error lists one problem a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Fatal returns those that keep the configuration from being used.
func (e Errors) Fatal() Errors { return e.filter(false) }

// Warnings returns the others.
func (e Errors) Warnings() Errors { return e.filter(true) }

func (e Errors) filter(warning bool) Errors {
	var out Errors
	for _, one := range e {
		if one.Warning == warning {
			out = append(out, one)
		}
	}
	return out
}

// tidy sorts and takes out what is said twice.
func (e Errors) tidy(files []string) Errors {
	rank := map[string]int{}
	for i, f := range files {
		if _, ok := rank[f]; !ok {
			rank[f] = i
		}
	}
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(e, func(a, b Error) bool {
		return a.File == b.File && a.Line == b.Line && a.Column == b.Column && a.Message == b.Message
	})
}

func (l *loader) problems(file string, ps []decode.Problem) {
	for _, p := range ps {
		l.errs = append(l.errs, Error{File: file, Line: p.Line, Column: p.Column, Field: p.Path, Message: p.Message})
	}
}
