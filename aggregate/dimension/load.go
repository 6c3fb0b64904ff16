package dimension

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// Load reads a file that holds dimension_rules (and dimension_concurrency) and
// nothing else. The problems are all there are, each at its place; what is
// decoded is to be used only if none of them is fatal. A nil parser is
// upstream's default.
func Load(file string, content []byte, p parser.Parser) (Config, rule.Errors) {
	l := newLoader(file, content, p)
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(content)).Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return Config{}, nil
	case err != nil:
		l.syntax(err)
		return Config{}, l.problems
	}
	root := resolved(doc.Content[0])
	if isNull(root) {
		return Config{}, nil
	}
	fields := l.mapping(root, "", "the file", []string{"dimension_rules", "dimension_concurrency"})
	return l.config(root, fields["dimension_rules"], fields["dimension_concurrency"])
}

// LoadList reads the list below dimension_rules out of a larger document, whose
// text is content: for whoever reads the rest of it.
func LoadList(file string, content []byte, list *yaml.Node, p parser.Parser) (Config, rule.Errors) {
	if list == nil {
		return Config{}, nil
	}
	return newLoader(file, content, p).config(list, resolved(list), nil)
}

func newLoader(file string, content []byte, p parser.Parser) *loader {
	if p == nil {
		p = parser.NewParser(parser.Options{})
	}
	return &loader{file: file, source: content, parser: p, nodes: map[string]*yaml.Node{}}
}

type loader struct {
	file     string
	source   []byte
	parser   parser.Parser
	problems rule.Errors
	nodes    map[string]*yaml.Node // by path
	broken   []string              // paths whose values were no good
}

func (l *loader) add(at *yaml.Node, path, format string, args ...any) {
	l.problems = append(l.problems, rule.Problem{File: l.file, Line: at.Line, Column: at.Column, Field: path, Message: fmt.Sprintf(format, args...)})
}

func (l *loader) syntax(err error) {
	message, line := err.Error(), 0
	if m := yamlLine().FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	l.problems = append(l.problems, rule.Problem{File: l.file, Line: line, Column: min(line, 1), Message: message + ": correct the YAML"})
}

func yamlLine() *regexp.Regexp { return regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )`) }

func (l *loader) config(root, list, concurrency *yaml.Node) (Config, rule.Errors) {
	var c Config
	if concurrency != nil {
		decodeField(l, concurrency, "dimension_concurrency", &c.Concurrency)
	}
	switch {
	case list == nil || isNull(list):
	case list.Kind != yaml.SequenceNode:
		l.add(list, "dimension_rules", "must be a list of rules, found %s: begin each with a dash", describe(list))
	default:
		for i, item := range list.Content {
			c.Rules = append(c.Rules, l.rule(resolved(item), fmt.Sprintf("dimension_rules[%d]", i)))
		}
	}
	_, found := compileAll(c, compiler{parser: l.parser})
	for _, f := range found {
		l.found(root, f)
	}
	return c, l.problems.Sorted()
}

// found puts a finding where its field stands, or the deepest there is of it.
func (l *loader) found(root *yaml.Node, f finding) {
	if slices.ContainsFunc(l.broken, func(b string) bool {
		return b == f.path || strings.HasPrefix(f.path, b+".") || strings.HasPrefix(f.path, b+"[")
	}) {
		return // the value was refused already
	}
	at, ok := l.nodes[f.path]
	for path := f.path; !ok; at, ok = l.nodes[path] {
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			at = root
			break
		}
		path = path[:cut]
	}
	p := rule.Problem{File: l.file, Line: at.Line, Column: at.Column, Field: f.path, Message: f.message, Warning: f.warning}
	if f.offset >= 0 && at.Kind == yaml.ScalarNode {
		p.Line, p.Column = scalarPosition(l.source, at, f.offset)
	}
	l.problems = append(l.problems, p)
}

func ruleFields() []string {
	return []string{"name", "record", "expr", "metric", "function", "range", "aggregate", "group_by", "without",
		"split_by", "filter", "labels", "interval", "query_offset", "spread", "max_rules", "scope", "on_missing"}
}

func (l *loader) rule(n *yaml.Node, path string) Rule {
	var r Rule
	l.nodes[path] = n
	fields := l.mapping(n, path, "a rule", ruleFields())
	if n.Kind != yaml.MappingNode {
		l.broken = append(l.broken, path)
		return r
	}
	for name, into := range map[string]any{
		"name": &r.Name, "record": &r.Record, "expr": &r.Expr, "metric": &r.Metric, "function": &r.Function,
		"range": &r.Range, "aggregate": &r.Aggregate, "group_by": &r.GroupBy, "without": &r.Without,
		"split_by": &r.SplitBy, "filter": &r.Filter, "labels": &r.Labels, "interval": &r.Interval,
		"query_offset": &r.QueryOffset, "max_rules": &r.MaxRules, "scope": &r.Scope,
		"on_missing": &r.OnMissing,
	} {
		if f := fields[name]; f != nil {
			decodeField(l, f, path+"."+name, into)
		}
	}
	if f := fields["spread"]; f != nil {
		r.Spread = new(model.Duration)
		decodeField(l, f, path+".spread", r.Spread)
	}
	return r
}

// decodeField decodes one field alone, so that its error hides no other.
func decodeField(l *loader, n *yaml.Node, path string, into any) {
	l.remember(n, path)
	if err := n.Decode(into); err != nil {
		l.broken = append(l.broken, path)
		message := decoderPrefix().ReplaceAllString(err.Error(), "")
		l.add(n, path, "cannot be %s: %s", describe(n), strings.TrimSpace(message))
	}
}

func decoderPrefix() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\s*(?:yaml: )?(?:unmarshal errors:\n\s*)?(?:line \d+: )?`)
}

// remember notes where a field and its parts stand.
func (l *loader) remember(n *yaml.Node, path string) {
	l.nodes[path] = n
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			l.nodes[fmt.Sprintf("%s[%d]", path, i)] = resolved(item)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			l.nodes[path+"."+n.Content[i].Value] = n.Content[i]
		}
	}
}

// mapping returns the values by key, and reports keys that are not known or
// stand twice. A merge key (<<) adds what the mapping does not have.
func (l *loader) mapping(n *yaml.Node, path, what string, allowed []string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		l.add(n, path, "%s must be a mapping of %s, found %s", what, strings.Join(allowed, ", "), describe(n))
		return out
	}
	own := map[string]*yaml.Node{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolved(n.Content[i+1])
		switch first := own[key.Value]; {
		case key.Tag == "!!merge" && value.Kind == yaml.SequenceNode:
			for _, one := range value.Content {
				merged = append(merged, resolved(one))
			}
		case key.Tag == "!!merge":
			merged = append(merged, value)
		case !slices.Contains(allowed, key.Value):
			l.add(key, strings.TrimPrefix(path+"."+key.Value, "."), "unknown key; allowed here: %s", strings.Join(allowed, ", "))
		case first != nil:
			l.add(key, strings.TrimPrefix(path+"."+key.Value, "."), "the key is written twice, first in line %d; keep one", first.Line)
		default:
			own[key.Value], out[key.Value] = key, value
		}
	}
	for _, m := range merged {
		for i := 0; m.Kind == yaml.MappingNode && i+1 < len(m.Content); i += 2 {
			key := m.Content[i].Value
			if _, has := out[key]; !has && slices.Contains(allowed, key) {
				out[key] = resolved(m.Content[i+1])
			}
		}
	}
	return out
}

func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

// scalarPosition maps an offset in a scalar's value to its line and column in
// the file. Folding, indenting and quoting change only white space, quotes and
// backslashes, so that walking both texts over everything else keeps in step.
func scalarPosition(source []byte, n *yaml.Node, offset int) (line, column int) {
	starts := []int{0}
	for i, b := range source {
		if b == '\n' {
			starts = append(starts, i+1)
		}
	}
	if n.Line < 1 || n.Line > len(starts) {
		return n.Line, n.Column
	}
	at := starts[n.Line-1] + n.Column - 1
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && n.Line < len(starts) {
		at = starts[n.Line] // past the header
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		at++
	}
	end := at
	for i := 0; i < len(n.Value) && i <= offset; i++ {
		if isSpace(n.Value[i]) {
			continue
		}
		for at < len(source) && source[at] != n.Value[i] {
			at++
		}
		if end = at; i == offset {
			break
		}
		at++
		end = at
	}
	if end > len(source) {
		return n.Line, n.Column
	}
	row, exact := slices.BinarySearch(starts, end)
	if !exact {
		row--
	}
	return row + 1, end - starts[row] + 1
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }
