package config

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/alert"
	"github.com/atoll-mesh/atoll/decode"
)

// ruleFiles checks every file that rule_files names or matches.
func (l *loader) ruleFiles(src source, n *yaml.Node) {
	_, list := decode.Get(n, "rule_files")
	l.globs(src, list, "rule_files", "rules", l.rules)
}

// rules leaves the judgement to the room that will run them.
func (l *loader) rules(file source, content []byte) {
	promql := parser.NewParser(parser.Options{
		EnableExperimentalFunctions: l.experimental,
		EnableBinopFillModifiers:    l.experimental,
	})
	for _, p := range alert.CheckRules(file.file, content, promql) {
		l.errs = append(l.errs, Error{File: p.File, Line: max(p.Line, 1), Column: max(p.Column, 1), Message: p.Message, Warning: p.Warning})
	}
}

// globs reads the files that a list of patterns matches and watches where it looked.
func (l *loader) globs(src source, list *yaml.Node, field, what string, each func(source, []byte)) {
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for i, item := range list.Content {
		where := decode.Item(src.at(field), item, i)
		for _, m := range l.matches(src, item, where, what) {
			if slices.Contains(l.files, m) {
				l.add(src, item, where, "matches %q, which an earlier entry matches already; a file counts once", m)
				continue
			}
			l.files = append(l.files, m)
			content, err := readRegular(m)
			if err != nil {
				l.add(src, item, where, "read %q: %s", m, reason(err))
				continue
			}
			each(source{file: m, dir: directory(m)}, content)
		}
	}
}

// matches lists the files of one pattern, and warns of a pattern without any.
func (l *loader) matches(src source, item *yaml.Node, where, what string) []string {
	pattern := src.join(item.Value)
	found, err := filepath.Glob(pattern)
	if err != nil {
		l.add(src, item, where, "%s: %v", decode.Quote(item.Value), err)
		return nil
	}
	switch {
	case strings.ContainsAny(pattern, `*?[`):
		l.files = append(l.files, filepath.Dir(pattern))
	case len(found) == 0:
		l.files = append(l.files, pattern) // it may come
	}
	if len(found) == 0 {
		l.warn(src, item, where, "%q matches no file, so no %s come from it; the path is relative to %s", pattern, what, displayDir(src.file))
	}
	return found
}
