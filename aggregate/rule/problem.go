package rule

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong, or without effect, at one place of a file.
type Problem struct {
	// File is the name that was given to Load.
	File string
	// Line and Column count from 1.
	Line, Column int
	// Field is the path of keys, such as rules[2].interval.
	Field string
	// Message says what was found, what is allowed, and what to do.
	Message string
}

// Error formats as FILE:LINE:COLUMN: FIELD: MESSAGE.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
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

func sortProblems(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}
