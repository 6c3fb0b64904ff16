package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a policy text.
type Problem struct {
	// Line and Column count from 1, columns in characters.
	Line, Column int
	Text         string
}

// Error is why Parse refused a text: all that is wrong with it, in the order of the text.
type Error struct {
	// Name is what Parse was told to call the text.
	Name     string
	Problems []Problem
}

// Error writes one problem a line, as name:line:column: text.
func (e *Error) Error() string {
	return strings.Join(lines(e.Name, e.Problems), "\n")
}

func lines(name string, problems []Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, fmt.Sprintf("%s:%d:%d: %s", name, p.Line, p.Column, p.Text))
	}
	return out
}

// problems collects what is found wrong within the tokens of one policy.
type problems struct {
	tokens []token
	found  []Problem
}

func (ps *problems) at(i int, format string, args ...any) {
	t := ps.tokens[i]
	p := Problem{t.line, t.column, fmt.Sprintf(format, args...)}
	if !slices.Contains(ps.found, p) {
		ps.found = append(ps.found, p)
	}
}

// near puts the problem at the first of the needles that is in the policy, or
// else at its beginning.
func (ps *problems) near(needles []string, format string, args ...any) {
	for _, needle := range needles {
		if i, ok := find(ps.tokens, words(needle)...); ok {
			ps.at(i, format, args...)
			return
		}
	}
	ps.at(0, format, args...)
}

func sorted(found []Problem) []Problem {
	slices.SortFunc(found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Text, b.Text))
	})
	return found
}
