package rule

import (
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Selectors are alternatives, each a conjunction of matchers. None at all takes every series.
type Selectors [][]*labels.Matcher

// getter is what matchers look at: labels.Labels or *labels.Builder.
type getter interface{ Get(name string) string }

func matches[T getter](alternatives Selectors, ls T) bool {
	if len(alternatives) == 0 {
		return true
	}
	for _, all := range alternatives {
		if matchesAll(all, ls) {
			return true
		}
	}
	return false
}

func matchesAll[T getter](all []*labels.Matcher, ls T) bool {
	for _, m := range all {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// String writes the alternatives with "or" between.
func (s Selectors) String() string {
	if len(s) == 0 {
		return "{}"
	}
	var alternatives []string
	for _, all := range s {
		var ms []string
		for _, m := range all {
			ms = append(ms, m.String())
		}
		alternatives = append(alternatives, "{"+strings.Join(ms, ",")+"}")
	}
	return strings.Join(alternatives, " or ")
}

// ParseSelector reads a PromQL selector, with alternatives inside the braces as
// VictoriaMetrics writes them: foo{a="b" or c=~"d"}. The name before the braces
// holds for every alternative. Names may hold dots, letters of any alphabet, and
// whatever a backslash stands before.
func ParseSelector(text string) (Selectors, error) {
	name, parts, err := alternativesOf(text)
	if err != nil {
		return nil, err
	}
	p := parser.NewParser(parser.Options{})
	var out Selectors
	for _, part := range parts {
		if part == "" && len(parts) > 1 {
			return nil, fmt.Errorf("%q is no selector: nothing stands before or behind an or", text)
		}
		ms, err := p.ParseMetricSelector(joined(quoteNames(name), quoteNames(part)))
		if err != nil {
			return nil, fmt.Errorf("%q is no selector: %w", text, err)
		}
		out = append(out, ms)
	}
	return out, nil
}

// joined is one alternative in PromQL, where a quoted name stands inside the braces.
func joined(name, part string) string {
	switch {
	case strings.HasPrefix(name, `"`) && part != "":
		return "{" + name + "," + part + "}"
	case strings.HasPrefix(name, `"`):
		return "{" + name + "}"
	case part == "" && name != "":
		return name
	}
	return name + "{" + part + "}"
}

// alternativesOf cuts name{a or b} into the name and what stands between the "or".
func alternativesOf(text string) (name string, parts []string, err error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return "", nil, fmt.Errorf("an empty text is no selector; write {} to take every series")
	}
	if strings.ContainsRune("\"'`", rune(text[0])) {
		return "", nil, fmt.Errorf("%s is no selector: a name in quotes stands inside of braces; write {%s}", text, text)
	}
	open := strings.IndexByte(text, '{')
	if open < 0 {
		return text, []string{""}, nil
	}
	if !strings.HasSuffix(text, "}") {
		return "", nil, fmt.Errorf("%q is no selector: it does not end with }", text)
	}
	name = strings.TrimSpace(text[:open])
	return name, splitOr(text[open+1 : len(text)-1]), nil
}

// splitOr cuts at the word "or" outside of quotes.
func splitOr(inside string) []string {
	var parts []string
	var quote byte
	from := 0
	for i := 0; i < len(inside); i++ {
		c := inside[i]
		switch {
		case quote != 0:
			if c == '\\' && quote != '`' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case isOr(inside, i):
			parts = append(parts, strings.TrimSpace(inside[from:i]))
			from = i + len("or")
			i++
		}
	}
	return append(parts, strings.TrimSpace(inside[from:]))
}

// isOr tells the operator from a label of that name and from the end of a longer word.
func isOr(s string, i int) bool {
	const word = "or"
	if i+len(word) > len(s) || !strings.EqualFold(s[i:i+len(word)], word) {
		return false
	}
	if i > 0 && isWord(s[i-1]) || i+len(word) < len(s) && isWord(s[i+len(word)]) {
		return false
	}
	rest := strings.TrimLeft(s[i+len(word):], " \t\n")
	return rest == "" || !strings.ContainsRune("=!", rune(rest[0]))
}

func isWord(c byte) bool {
	return c == '_' || c == ':' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
