package alert

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"go.yaml.in/yaml/v3"
)

var ruleFields = []string{"record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"}

// rule checks one rule: each field alone, then what Prometheus says of the whole.
func (c *rulesChecker) rule(n *yaml.Node, group string, index int, seen map[string]*yaml.Node) {
	fields := c.mapping(n, "a rule", c.allowed(ruleFields...))
	c.onMissing(fields)
	if n.Kind != yaml.MappingNode {
		return
	}
	before := len(c.problems)
	rule := rulefmt.Rule{
		Record:        decodeField[string](c, fields["record"], "record"),
		Alert:         decodeField[string](c, fields["alert"], "alert"),
		Expr:          decodeField[string](c, fields["expr"], "expr"),
		For:           decodeField[model.Duration](c, fields["for"], "for"),
		KeepFiringFor: decodeField[model.Duration](c, fields["keep_firing_for"], "keep_firing_for"),
		Labels:        decodeField[map[string]string](c, fields["labels"], "labels"),
		Annotations:   decodeField[map[string]string](c, fields["annotations"], "annotations"),
	}
	broken := len(c.problems) > before
	where := fmt.Sprintf("group %q, rule %d", group, index)
	if name := cmp.Or(rule.Alert, rule.Record); name != "" {
		where += fmt.Sprintf(" %q", name)
	}
	c.expression(fields["expr"], rule.Expr, where)
	c.validated(n, fields, rule, where)
	if !broken {
		c.duplicate(n, rule, where, seen)
	}
}

// validated reports what rulefmt finds, but for the expression.
func (c *rulesChecker) validated(n *yaml.Node, fields map[string]*yaml.Node, rule rulefmt.Rule, where string) {
	var nodes rulefmt.RuleNode
	for name, dst := range map[string]*yaml.Node{"record": &nodes.Record, "alert": &nodes.Alert, "expr": &nodes.Expr} {
		*dst = *n // where the rule begins, if the field is missing
		if f, ok := fields[name]; ok {
			*dst = *f
		}
	}
	for _, wrapped := range rule.Validate(nodes, c.scheme, c.parser) {
		var parseErrs parser.ParseErrors
		if errors.As(&wrapped, &parseErrs) {
			continue // reported by expression, each at its place
		}
		message := wrapped.Error()
		position := positionPrefix.FindString(message)
		at := n
		if position == "" {
			at = blamed(fields, message, n)
		}
		c.positioned(at, position+where+": "+message[len(position):])
	}
}

var namesField = regexp.MustCompile(`^(invalid label name|invalid label value|invalid annotation name|label|annotation):? "?([^":]*)`)

// blamed finds the label or annotation that a message without position is about.
func blamed(fields map[string]*yaml.Node, message string, otherwise *yaml.Node) *yaml.Node {
	m := namesField.FindStringSubmatch(message)
	if m == nil {
		return otherwise
	}
	field := fields["labels"]
	if strings.Contains(m[1], "annotation") {
		field = fields["annotations"]
	}
	if field == nil {
		return otherwise
	}
	return keyNode(field, m[2])
}

// expression reports every PromQL error where it stands in the file.
func (c *rulesChecker) expression(n *yaml.Node, expr, where string) {
	if n == nil || expr == "" {
		return
	}
	_, err := c.parser.ParseExpr(expr)
	if err == nil {
		return
	}
	var errs parser.ParseErrors
	if !errors.As(err, &errs) {
		c.add(n, "%s: expr: %v", where, err)
		return
	}
	for _, e := range errs {
		line, column := scalarPosition(c.source, n, int(e.PositionRange.Start))
		c.problems = append(c.problems, Problem{File: c.file, Line: line, Column: column,
			Message: fmt.Sprintf("%s: expr: %v", where, e.Err)})
	}
}

// duplicate warns of a rule that says exactly what an earlier one said.
func (c *rulesChecker) duplicate(n *yaml.Node, rule rulefmt.Rule, where string, seen map[string]*yaml.Node) {
	if cmp.Or(rule.Alert, rule.Record) == "" {
		return
	}
	key := ruleIdentity(rule, c.groupLabels)
	if first, ok := seen[key]; ok {
		c.problems = append(c.problems, Problem{File: c.file, Line: n.Line, Column: n.Column, Warning: true,
			Message: fmt.Sprintf("%s: the same rule stands on line %d: remove one or give it other labels", where, first.Line)})
		return
	}
	seen[key] = n
}

// ruleIdentity is the same for rules of which one is too many: two alerts that
// agree in everything, or two that record the same series, which disturb each
// other whatever they compute.
func ruleIdentity(r rulefmt.Rule, group map[string]string) string {
	parts := []string{"alert", r.Alert, r.Expr}
	if r.Record != "" {
		parts = []string{"record", r.Record, ""}
	}
	return strings.Join(append(parts, rules.FromMaps(group, r.Labels).String()), "\x00")
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
	value := n.Value
	offset = min(offset, len(value))
	end := at
	for i := 0; i < len(value) && i <= offset; i++ {
		if isSpace(value[i]) {
			continue
		}
		for at < len(source) && source[at] != value[i] {
			at++
		}
		if i == offset {
			end = at
			break
		}
		at++
		end = at
	}
	if end > len(source) {
		return n.Line, n.Column
	}
	row, found := slices.BinarySearch(starts, end)
	if !found {
		row--
	}
	return row + 1, end - starts[row] + 1
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }
