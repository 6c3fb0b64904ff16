package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grafana/regexp"
	"go.yaml.in/yaml/v3"
)

func relabelKeys() []string {
	return []string{"if", "action", "source_labels", "separator", "target_label", "regex", "modulus", "replacement", "match", "labels"}
}

// demand says what an action wants of its config.
type demand struct {
	sources    int  // at least
	target     bool // must be there
	noTarget   bool
	noRegex    bool
	conditions bool // sources may be absent where there is "if"
	modulus    bool
}

func actions() map[string]demand {
	return map[string]demand{
		"replace":          {target: true},
		"replace_all":      {sources: 1, target: true},
		"keep":             {sources: 1, conditions: true},
		"drop":             {sources: 1, conditions: true},
		"keep_if_equal":    {sources: 2, noTarget: true, noRegex: true},
		"drop_if_equal":    {sources: 2, noTarget: true, noRegex: true},
		"keep_if_contains": {sources: 1, target: true, noRegex: true},
		"drop_if_contains": {sources: 1, target: true, noRegex: true},
		"keepequal":        {target: true, noRegex: true},
		"dropequal":        {target: true, noRegex: true},
		"hashmod":          {sources: 1, target: true, modulus: true},
		"uppercase":        {sources: 1, target: true},
		"lowercase":        {sources: 1, target: true},
		"keep_metrics":     {},
		"drop_metrics":     {},
		"labelmap":         {},
		"labelmap_all":     {},
		"labeldrop":        {},
		"labelkeep":        {},
		"graphite":         {noTarget: true, noRegex: true},
	}
}

func (r *reader) relabelling(n *yaml.Node, field string) relabelling {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, field, "expected a list of relabel configs, found %s", describe(n))
		return nil
	}
	var out relabelling
	for i, c := range n.Content {
		if s := r.step(r.follow(c, field), item(field, i)); s != nil {
			out = append(out, s)
		}
	}
	return out
}

// step returns nil after a problem.
func (r *reader) step(n *yaml.Node, field string) *step {
	before := len(r.problems)
	keys := r.mapping(n, field, relabelKeys())
	s := &step{action: "replace", separator: ";", replacement: "$1"}
	known := r.actionOf(keys, field, s)
	if e, ok := keys["source_labels"]; ok {
		s.source, _ = r.texts(e.value, join(field, "source_labels"))
	}
	for name, to := range map[string]*string{"separator": &s.separator, "target_label": &s.target, "replacement": &s.replacement} {
		if e, ok := keys[name]; ok && !isNull(e.value) {
			*to, _ = r.text(e.value, join(field, name))
		}
	}
	if e, ok := keys["if"]; ok {
		s.condition = r.selectors(e.value, join(field, "if"))
	}
	if e, ok := keys["modulus"]; ok {
		const most = 1<<53 - 1
		m, _ := r.number(e.value, join(field, "modulus"), 1, most)
		s.modulus = uint64(m)
	}
	regex := r.regex(keys, field, s)
	if known && keys != nil {
		r.demands(n, field, keys, s)
		r.graphite(n, field, keys, s)
	}
	if len(r.problems) > before {
		return nil
	}
	s.text = fmt.Sprintf("%s if=%s source=%q sep=%q target=%q regex=%q replacement=%q mod=%d", s.action, s.condition, s.source, s.separator, s.target, regex, s.replacement, s.modulus)
	if s.graphite != nil {
		s.text += fmt.Sprintf(" match=%s labels=%v", s.graphite.name, s.graphite.labels)
	}
	if metrics, ok := strings.CutSuffix(s.action, "_metrics"); ok {
		s.action, s.source = metrics, []string{"__name__"}
	}
	return s
}

func (r *reader) actionOf(keys map[string]entry, field string, s *step) (known bool) {
	e, ok := keys["action"]
	if !ok {
		return true
	}
	text, ok := r.text(e.value, join(field, "action"))
	if !ok {
		return false
	}
	if text != "" {
		s.action = strings.ToLower(text)
	}
	table := actions()
	if _, ok := table[s.action]; ok {
		return true
	}
	var names []string
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	hint := ""
	if near := nearest(text, names); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	r.fail(e.value, join(field, "action"), "no such action %s%s; there are %s", quote(text), hint, strings.Join(names, ", "))
	return false
}

// regex compiles what is there; a list means alternatives.
func (r *reader) regex(keys map[string]entry, field string, s *step) string {
	const everything, ungrouped = "(.*)", ".*"
	text := everything
	e, ok := keys["regex"]
	where := join(field, "regex")
	switch {
	case !ok || isNull(e.value):
	case e.value.Kind == yaml.SequenceNode:
		parts, _ := r.texts(e.value, where)
		text = strings.Join(parts, "|")
	default:
		text, _ = r.text(e.value, where)
	}
	s.plain = slices.Contains([]string{everything, ".*", "^.*$", "^(.*)$"}, text)
	if s.plain {
		text = everything
	}
	part := text
	if s.plain {
		part = ungrouped // as vmagent has it: $1 is nothing in replace_all and labelmap_all
	}
	var err error
	if s.part, err = regexp.Compile(part); err == nil {
		s.full, err = regexp.Compile("^(?s:" + text + ")$")
	}
	if err != nil {
		r.fail(e.value, where, "%s is no regular expression: %v", quote(text), err)
	}
	return text
}

// demands checks what the action wants.
func (r *reader) demands(n *yaml.Node, field string, keys map[string]entry, s *step) {
	d := actions()[s.action]
	has := func(name string) bool { e, ok := keys[name]; return ok && !isNull(e.value) }
	if len(s.source) < d.sources && (!d.conditions || !has("if")) {
		r.fail(n, field, "action %s wants source_labels with at least %d labels, found %d", s.action, d.sources, len(s.source))
	}
	if d.target && s.target == "" {
		r.fail(n, field, "action %s wants target_label", s.action)
	}
	if d.noTarget && has("target_label") {
		r.fail(keys["target_label"].key, join(field, "target_label"), "action %s takes none; remove it", s.action)
	}
	if d.noRegex && has("regex") {
		r.fail(keys["regex"].key, join(field, "regex"), "action %s takes none; remove it", s.action)
	}
	if d.modulus && !has("modulus") {
		r.fail(n, field, "action %s wants modulus, a number from 1", s.action)
	}
	if strings.HasSuffix(s.action, "_metrics") {
		if (!has("regex") || keys["regex"].value.Value == "" && len(keys["regex"].value.Content) == 0) && !has("if") {
			r.fail(n, field, "action %s wants regex", s.action)
		}
		if has("source_labels") {
			r.fail(keys["source_labels"].key, join(field, "source_labels"), "action %s looks at the metric name; remove it", s.action)
		}
	}
}

// graphite reads match and labels, which belong to that action alone.
func (r *reader) graphite(n *yaml.Node, field string, keys map[string]entry, s *step) {
	match, hasMatch := keys["match"]
	labels, hasLabels := keys["labels"]
	if s.action != "graphite" {
		for name, e := range map[string]entry{"match": match, "labels": labels} {
			if e.key != nil {
				r.fail(e.key, join(field, name), "belongs to action graphite alone, not to %s; remove it", s.action)
			}
		}
		return
	}
	for _, none := range []string{"source_labels", "replacement"} {
		if e, ok := keys[none]; ok {
			r.fail(e.key, join(field, none), "action graphite takes none; remove it")
		}
	}
	if !hasMatch || !hasLabels {
		r.fail(n, field, "action graphite wants match and labels")
		return
	}
	text, ok := r.text(match.value, join(field, "match"))
	if !ok {
		return
	}
	pattern, err := graphitePattern(text)
	if err != nil {
		r.fail(match.value, join(field, "match"), "%s: %v", quote(text), err)
		return
	}
	s.graphite = &graphite{name: pattern}
	for name, e := range r.mapping(labels.value, join(field, "labels"), nil) {
		template, _ := r.text(e.value, join(field, "labels."+name))
		s.graphite.labels = append(s.graphite.labels, graphiteLabel{name, template})
	}
	slices.SortFunc(s.graphite.labels, func(a, b graphiteLabel) int { return strings.Compare(a.name, b.name) })
}

// selectors reads a selector or a list of alternatives.
func (r *reader) selectors(n *yaml.Node, field string) Selectors {
	if n.Kind != yaml.SequenceNode {
		text, ok := r.text(n, field)
		if !ok {
			return nil
		}
		return r.selector(n, field, text)
	}
	var out Selectors
	for i, c := range n.Content {
		c = r.follow(c, field)
		if text, ok := r.text(c, item(field, i)); ok {
			out = append(out, r.selector(c, item(field, i), text)...)
		}
	}
	return out
}

func (r *reader) selector(n *yaml.Node, field, text string) Selectors {
	s, err := ParseSelector(text)
	if err != nil {
		r.fail(n, field, "%v", err)
	}
	if len(s) == 1 && len(s[0]) == 0 {
		r.warn(n, field, "{} takes every series here, and none in vmagent; leave it out to say so, or write what is meant")
	}
	return s
}
