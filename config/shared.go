package config

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/decode"
	"github.com/atoll-mesh/atoll/probe/definition"
)

// Kinds of shared documents that become part of an island's configuration.
const (
	SharedRules     = "rules"
	SharedScrape    = "scrape"
	SharedAggregate = "aggregate"
	SharedProbe     = definition.Kind
)

// Shared is a document that all islands hold and some of them obey.
type Shared struct {
	// Islands are matched against an island's labels, its name being the label
	// "island"; none means all islands.
	Islands []*labels.Matcher
	// Content is the document without its line about islands, which is left blank:
	// a rule file, a file of scrape_configs, one of stream aggregation rules, or a
	// definition of probes.
	Content []byte
	// Probe is what such a definition says; nil for the other kinds.
	Probe *definition.Definition
}

// For reports whether an island with these labels is meant.
func (s Shared) For(ls map[string]string) bool {
	return !slices.ContainsFunc(s.Islands, func(m *labels.Matcher) bool { return !m.Matches(ls[m.Name]) })
}

// ReadShared reads and judges the text of a document of one of the kinds above;
// file is what problems are reported against. The error is of type Errors.
func ReadShared(kind, file string, text []byte) (Shared, error) {
	l := &loader{}
	src := source{file: file, dir: directory(file)}
	s := Shared{Content: text}
	root := l.parse(src, text)
	if root != nil && kind != SharedProbe { // its from says where it holds
		s.Islands, s.Content = l.islands(src, root, text)
	}
	if len(l.errs.Fatal()) == 0 {
		switch kind {
		case SharedRules:
			l.rules(src, s.Content)
		case SharedScrape:
			l.scrapeDocument(src, s.Content)
		case SharedAggregate:
			_, err := readAggregate(file, s.Content)
			l.ruleErrors(src, root, file, err)
		case SharedProbe:
			name, _ := strings.CutPrefix(file, SharedProbe+"/")
			s.Probe = l.probeDocument(src, root, strings.TrimPrefix(name, SharedProbe), s.Content)
		}
	}
	if fatal := l.errs.tidy(nil).Fatal(); len(fatal) > 0 {
		return Shared{}, fatal
	}
	return s, nil
}

// islands takes the line that says where the document holds out of its text, so
// that what remains is a file as upstream knows it, with the same line numbers.
func (l *loader) islands(src source, root *yaml.Node, text []byte) ([]*labels.Matcher, []byte) {
	key, value := decode.Get(root, "islands")
	if key == nil {
		return nil, text
	}
	if value.Kind != yaml.ScalarNode || value.Line != key.Line || root.Style == yaml.FlowStyle {
		l.add(src, key, "islands", `must be one selector on a line of its own, such as islands: '{region="eu"}'`)
		return nil, text
	}
	selector := strings.TrimSpace(value.Value)
	if !strings.HasPrefix(selector, "{") {
		selector = "{" + selector + "}"
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	lines[key.Line-1] = []byte("\n")
	rest := bytes.Join(lines, nil)
	if selector == "{}" {
		return nil, rest
	}
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(selector)
	if err != nil {
		l.add(src, value, "islands", "%s: %v", decode.Quote(value.Value), err)
		return nil, text
	}
	return matchers, rest
}

// scrapeDocument judges a document that holds nothing but scrape_configs.
func (l *loader) scrapeDocument(src source, content []byte) {
	root := l.parse(src, content)
	if root == nil {
		return
	}
	for i := 0; root.Kind == yaml.MappingNode && i < len(root.Content); i += 2 {
		if k := root.Content[i]; k.Value != "scrape_configs" {
			l.add(src, k, k.Value, "has no place here: a scrape document holds scrape_configs, and optionally islands")
		}
	}
	if len(l.errs.Fatal()) == 0 {
		l.prometheus(src, root)
	}
}

// Applied are the files that the shared documents of an island have become.
type Applied struct {
	// Rules is a pattern.
	Rules string
	// Scrape, Aggregate and Probe are paths.
	Scrape, Aggregate, Probe []string
}

// WithShared returns a copy of c that also reads what is applied. What does not go
// together with the rest, such as by a job's name, is left out and returned in
// the order given, each with its reason.
func (c *Config) WithShared(a Applied) (next *Config, left []error) {
	next, left = c.withScrape(a.Rules, a.Scrape)
	left = append(left, next.joinAggregate(a.Aggregate)...)
	return next, append(left, next.joinProbe(a.Probe)...)
}

// readAggregate reads a shared document: unlike a local file it means the same on
// all islands, whatever their environment.
func readAggregate(name string, text []byte) (*rule.Set, error) {
	return rule.LoadEnv(name, text, func(string) (string, bool) { return "", false })
}

func (c *Config) joinAggregate(files []string) (left []error) {
	joined := c.AggregateRules
	if joined == nil {
		joined = &rule.Set{}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		var more *rule.Set
		if err == nil {
			more, err = readAggregate(file, text)
		}
		if err == nil {
			more, err = joined.Join(more)
		}
		if err != nil {
			left = append(left, fmt.Errorf("%s: %w", file, err))
			continue
		}
		joined = more
	}
	if len(files) > len(left) {
		c.AggregateRules = joined
	}
	return left
}

func (c *Config) withScrape(rules string, scrape []string) (next *Config, left []error) {
	with := func(files []string) (*Config, error) {
		next, prom := *c, *c.Prometheus
		prom.RuleFiles = append(slices.Clone(prom.RuleFiles), rules)
		prom.ScrapeConfigFiles = append(slices.Clone(prom.ScrapeConfigFiles), files...)
		next.Prometheus = &prom
		_, err := prom.GetScrapeConfigs()
		return &next, err
	}
	next, err := with(scrape)
	if err == nil {
		return next, nil
	}
	var fit []string
	for _, file := range scrape {
		if _, err := with(append(slices.Clone(fit), file)); err != nil {
			left = append(left, err)
			continue
		}
		fit = append(fit, file)
	}
	next, _ = with(fit) // what is left is wrong with c itself, and its rooms say so
	return next, left
}
