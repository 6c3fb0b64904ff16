package alert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// CheckRules returns everything wrong with a rule file, in the order of its
// lines: YAML, unknown and doubled fields, what Prometheus refuses, PromQL
// errors at their place in the file, and, as warnings, rules that stand twice.
func CheckRules(file string, content []byte, p parser.Parser) []Problem {
	_, problems := checkRules(file, content, p, model.UTF8Validation)
	return problems
}

// checkRules also returns the groups, unless some problem is no warning. What
// Prometheus itself says has the last word, and comes first: only a file with
// something to point at is walked node by node.
func checkRules(file string, content []byte, p parser.Parser, scheme model.ValidationScheme) (*rulefmt.RuleGroups, Problems) {
	if scheme == model.UnsetValidation {
		scheme = model.UTF8Validation
	}
	groups, errs := rulefmt.Parse(content, false, scheme, p, slog.New(slog.DiscardHandler))
	if len(errs) == 0 && !repetitive(groups) && !bytes.Contains(content, []byte("\n---")) {
		return groups, nil
	}
	c := &rulesChecker{file: file, source: content, parser: p, scheme: scheme}
	c.document()
	if refused, _ := c.problems.split(); len(refused) == 0 {
		for _, err := range errs {
			c.positioned(nil, err.Error())
		}
	}
	if refused, _ := c.problems.split(); len(refused) > 0 {
		groups = nil
	}
	return groups, c.problems.sorted()
}

func repetitive(groups *rulefmt.RuleGroups) bool {
	seen := map[string]bool{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			key := ruleIdentity(r, g.Labels)
			if seen[key] {
				return true
			}
			seen[key] = true
		}
	}
	return false
}

type rulesChecker struct {
	file     string
	source   []byte
	parser   parser.Parser
	scheme   model.ValidationScheme
	problems Problems
	// groupLabels are those of the group at hand.
	groupLabels map[string]string
	// global allows what only rules of the whole network say.
	global bool
}

func (c *rulesChecker) add(at *yaml.Node, format string, args ...any) {
	p := Problem{File: c.file, Message: fmt.Sprintf(format, args...)}
	if at != nil {
		p.Line, p.Column = at.Line, at.Column
	}
	c.problems = append(c.problems, p)
}

// The two ways in which positions come inside messages.
var (
	positionPrefix = regexp.MustCompile(`^(\d+):(\d+): (?:\d+:\d+: )?`)
	linePrefix     = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)
	decoderPrefix  = regexp.MustCompile(`(?m)^(?:yaml: )?(?:unmarshal errors:\n\s*)?(?:line \d+: )?`)
)

// positioned adds a message that may begin with its own position; otherwise it
// gets that of the node.
func (c *rulesChecker) positioned(at *yaml.Node, message string) {
	p := Problem{File: c.file, Message: message}
	if at != nil {
		p.Line, p.Column = at.Line, at.Column
	}
	if m := positionPrefix.FindStringSubmatch(message); m != nil {
		line, _ := strconv.Atoi(m[1])
		column, _ := strconv.Atoi(m[2])
		if line > 0 {
			p.Line, p.Column = line, column
		}
		p.Message = message[len(m[0]):]
	} else if m := linePrefix.FindStringSubmatch(message); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Column = firstColumn(c.source, p.Line)
		p.Message = message[len(m[0]):]
	}
	c.problems = append(c.problems, p)
}

// firstColumn is where a line's text begins.
func firstColumn(source []byte, line int) int {
	lines := bytes.Split(source, []byte("\n"))
	if line < 1 || line > len(lines) {
		return 0
	}
	text := lines[line-1]
	return len(text) - len(bytes.TrimLeft(text, " \t-")) + 1
}

func (c *rulesChecker) document() {
	decoder := yaml.NewDecoder(bytes.NewReader(c.source))
	var doc yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return // an empty file holds no rules, as in Prometheus
	}
	if err != nil {
		c.positioned(nil, err.Error())
		return
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		c.problems = append(c.problems, Problem{File: c.file, Line: second.Line, Column: second.Column, Warning: true,
			Message: "only the first document of a rule file is read: put this one in a file of its own"})
	}
	root := resolved(doc.Content[0])
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return
	}
	fields := c.mapping(root, "a rule file", []string{"groups"})
	groups, ok := fields["groups"]
	if !ok {
		return
	}
	names := map[string]bool{}
	seen := map[string]*yaml.Node{}
	for _, g := range c.sequence(groups, "groups") {
		c.group(g, names, seen)
	}
}

// mapping returns a mapping's values by key, and reports keys that are not
// among the allowed ones or stand twice.
func (c *rulesChecker) mapping(n *yaml.Node, what string, allowed []string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		c.add(n, "%s must be a mapping of %s, got %s", what, strings.Join(allowed, ", "), kindOf(n))
		return out
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			merged = append(merged, resolved(value))
			continue
		}
		if !slices.Contains(allowed, key.Value) {
			c.add(key, "unknown field %q in %s: allowed are %s", key.Value, what, strings.Join(allowed, ", "))
			continue
		}
		if first, dup := out[key.Value]; dup {
			c.add(key, "field %q stands twice in %s, first on line %d: remove one", key.Value, what, first.Line)
			continue
		}
		out[key.Value] = resolved(value)
	}
	for _, m := range merged {
		mergeInto(out, m, allowed)
	}
	return out
}

// mergeInto adds what a merge key (<<) brings and the mapping does not have.
// Fields it cannot have are reported where they stand.
func mergeInto(out map[string]*yaml.Node, from *yaml.Node, allowed []string) {
	if from.Kind == yaml.SequenceNode {
		for _, one := range from.Content {
			// A list of lists would be a cycle or nonsense: mappings only.
			if one = resolved(one); one.Kind == yaml.MappingNode {
				mergeInto(out, one, allowed)
			}
		}
		return
	}
	for i := 0; i+1 < len(from.Content); i += 2 {
		key := from.Content[i].Value
		if _, own := out[key]; !own && slices.Contains(allowed, key) {
			out[key] = resolved(from.Content[i+1])
		}
	}
}

func (c *rulesChecker) sequence(n *yaml.Node, what string) []*yaml.Node {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil
	case n.Kind != yaml.SequenceNode:
		c.add(n, "%s must be a list, got %s", what, kindOf(n))
		return nil
	}
	out := make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		out[i] = resolved(item)
	}
	return out
}

func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		if n.Tag == "!!null" {
			return "nothing"
		}
		return strconv.Quote(n.Value)
	}
}

func (c *rulesChecker) group(n *yaml.Node, names map[string]bool, seen map[string]*yaml.Node) {
	fields := c.mapping(n, "a rule group", c.allowed("name", "interval", "query_offset", "limit", "rules", "labels"))
	c.onMissing(fields)
	name := ""
	if f, ok := fields["name"]; ok {
		name = f.Value
	}
	switch {
	case n.Kind != yaml.MappingNode:
		return
	case name == "":
		c.add(n, "a rule group needs a name that is not empty")
	case names[name]:
		c.add(fields["name"], "group name %q stands twice in this file: rename one", name)
	}
	names[name] = true
	decodeField[model.Duration](c, fields["interval"], "interval")
	decodeField[model.Duration](c, fields["query_offset"], "query_offset")
	decodeField[int](c, fields["limit"], "limit")
	c.groupLabels = decodeField[map[string]string](c, fields["labels"], "labels")
	for _, k := range slices.Sorted(maps.Keys(c.groupLabels)) {
		if !c.scheme.IsValidLabelName(k) || k == model.MetricNameLabel {
			c.add(keyNode(fields["labels"], k), "group %q: invalid label name %q", name, k)
		}
	}
	list, ok := fields["rules"]
	if !ok {
		return
	}
	for i, r := range c.sequence(list, "rules") {
		c.rule(r, name, i+1, seen)
	}
}

// decodeField decodes one field alone, so that its error hides no other.
func decodeField[T any](c *rulesChecker, n *yaml.Node, field string) T {
	var v T
	if n == nil {
		return v
	}
	if err := n.Decode(&v); err != nil {
		var zero T
		text := decoderPrefix.ReplaceAllString(err.Error(), "")
		c.add(n, "%s is %s: %s", field, kindOf(n), strings.TrimSpace(text))
		return zero
	}
	return v
}

func keyNode(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return n
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i]
		}
	}
	return n
}
