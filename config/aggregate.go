package config

import (
	"errors"

	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/decode"
)

// aggregatePart reads the rules that aggregate.rules names or holds.
func (l *loader) aggregatePart(src source, n *yaml.Node, c *Config) {
	const field = "aggregate.rules"
	var (
		set *rule.Set
		err error
	)
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		set, err = rule.LoadNode(src.file, field, n)
	case yaml.ScalarNode:
		path, text, ok := l.text(src, n, field)
		if !ok {
			return
		}
		set, err = rule.Load(path, text)
	default:
		l.add(src, n, field, "expected the path of a file of stream aggregation rules or the same document inline, found %s", decode.Describe(n))
		return
	}
	if l.ruleErrors(src, n, field, err); err != nil {
		return
	}
	l.ruleProblems(set.Warnings, true)
	c.AggregateRules = set
}

// ruleErrors takes over what stands against a file of rules.
func (l *loader) ruleErrors(src source, n *yaml.Node, field string, err error) {
	var problems rule.Errors
	if errors.As(err, &problems) {
		l.ruleProblems(problems, false)
	} else if err != nil {
		l.add(src, n, field, "%v", err)
	}
}

func (l *loader) ruleProblems(problems []rule.Problem, warning bool) {
	for _, p := range problems {
		l.errs = append(l.errs, Error{File: p.File, Line: max(p.Line, 1), Column: max(p.Column, 1), Field: p.Field, Message: p.Message, Warning: warning})
	}
}

// text reads a file whose text another package parses.
func (l *loader) text(from source, at *yaml.Node, field string) (path string, text []byte, ok bool) {
	path = from.join(at.Value)
	l.files = append(l.files, path)
	text, err := readRegular(path)
	if err != nil {
		l.add(from, at, field, "read %q: %s; the path is relative to %s", path, reason(err), displayDir(from.file))
	}
	return path, text, err == nil
}
