package config

import (
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/collect"
	"github.com/atoll-mesh/atoll/decode"
)

// document is a Prometheus configuration that loaded.
type document struct {
	src    source
	node   *yaml.Node
	config *promconfig.Config
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// prometheus checks a whole Prometheus document and what it refers to. It
// returns nil after errors.
func (l *loader) prometheus(src source, n *yaml.Node) *document {
	before := len(l.errs.Fatal())
	checker := prometheusChecker()
	r := checker.Structure(n, reflect.TypeFor[promconfig.Config](), src.prefix)
	l.problems(src.file, checker.Problems())
	if r.Node == nil {
		return nil
	}
	l.repeatedNames(src, n)
	p := parts{l: l, src: src, r: r}
	cfg := p.load()
	l.leaves(src, checker.Scalars())
	if cfg == nil {
		cfg = &promconfig.Config{GlobalConfig: promconfig.DefaultGlobalConfig}
	}
	l.ruleFiles(src, p.r.Node)
	l.scrapeFiles(src, p.r.Node, cfg)
	if len(l.errs.Fatal()) > before {
		return nil
	}
	return &document{src: src, node: r.Node, config: cfg}
}

func prometheusChecker() *decode.Checker {
	c := decode.New(decode.V2)
	c.After[reflect.TypeFor[relabel.Config]()] = validRelabel
	c.Absent = collect.UnlinkedDiscoveries()
	return c
}

// validRelabel does early, beside the rule, what upstream does late and without
// saying which rule. Names are judged by the laxest scheme; the stricter one of a
// legacy document follows with the whole.
func validRelabel(v any) error {
	c := *v.(*relabel.Config)
	return c.Validate(model.UTF8Validation)
}

// repeatedNames finds names that must be unique. Upstream stops at the first.
func (l *loader) repeatedNames(src source, n *yaml.Node) {
	for _, list := range []struct{ key, name string }{
		{"scrape_configs", "job_name"}, {"remote_write", "name"}, {"remote_read", "name"},
	} {
		first := map[string]*yaml.Node{}
		_, items := decode.Get(n, list.key)
		if items == nil || items.Kind != yaml.SequenceNode {
			continue
		}
		for i, item := range items.Content {
			_, name := decode.Get(item, list.name)
			if name == nil || name.Kind != yaml.ScalarNode || name.Value == "" {
				continue
			}
			if was := first[name.Value]; was != nil {
				l.add(src, name, fmt.Sprintf("%s[%d].%s", src.at(list.key), i, list.name),
					"%s is taken by the entry in line %d; every %s is used once", decode.Quote(name.Value), was.Line, list.name)
				continue
			}
			first[name.Value] = name
		}
	}
}

func (s source) at(path string) string { return decode.Join(s.prefix, path) }

// parts loads a document whose own check stops at the first error, and blames
// the part that is at fault: sections and list entries are loaded alone, beside
// nothing but "global".
type parts struct {
	l   *loader
	src source
	r   decode.Result
}

func (p *parts) load() *promconfig.Config {
	p.dropRepeated()
	cfg, err := loadNode(p.r.Node)
	if err == nil {
		return cfg
	}
	global := p.global()
	kept := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: p.r.Node.Line, Column: p.r.Node.Column}
	if global != nil {
		kept.Content = append(kept.Content, key("global"), global)
	}
	for i := 0; i+1 < len(p.r.Node.Content); i += 2 {
		k, v := p.r.Node.Content[i], p.r.Node.Content[i+1]
		if k.Value == "global" {
			continue
		}
		if v = p.part(global, []string{k.Value}, v); v != nil {
			kept.Content = append(kept.Content, k, v)
		}
	}
	p.r.Node = kept
	if cfg, err = loadNode(kept); err != nil {
		p.blame(kept, p.src.prefix, err)
		return nil
	}
	return cfg
}

// dropRepeated takes out entries that repeatedNames has reported.
func (p *parts) dropRepeated() {
	for _, list := range []struct{ key, name string }{
		{"scrape_configs", "job_name"}, {"remote_write", "name"}, {"remote_read", "name"},
	} {
		_, items := decode.Get(p.r.Node, list.key)
		if items == nil {
			continue
		}
		seen := map[string]bool{}
		var kept []*yaml.Node
		for _, item := range items.Content {
			_, name := decode.Get(item, list.name)
			if name != nil && name.Value != "" {
				if seen[name.Value] {
					continue
				}
				seen[name.Value] = true
			}
			kept = append(kept, item)
		}
		items.Content = kept
	}
}

func (p *parts) global() *yaml.Node {
	k, v := decode.Get(p.r.Node, "global")
	if v == nil {
		return nil
	}
	if _, err := loadNode(mapping(k, v)); err != nil {
		p.blame(v, p.src.at("global"), err)
		return nil
	}
	return v
}

// part returns what of a section or list loads, nil if nothing does. path are
// the keys that lead to it.
func (p *parts) part(global *yaml.Node, path []string, v *yaml.Node) *yaml.Node {
	if _, err := loadNode(wrap(global, path, v)); err == nil {
		return v
	}
	where := p.src.at(strings.Join(path, "."))
	switch {
	case v.Kind == yaml.SequenceNode:
		kept := *v
		kept.Content = nil
		for i, item := range v.Content {
			alone := *v
			alone.Content = []*yaml.Node{item}
			if _, err := loadNode(wrap(global, path, &alone)); err != nil {
				p.blame(item, decode.Item(where, item, i), err)
				continue
			}
			kept.Content = append(kept.Content, item)
		}
		return &kept
	case v.Kind == yaml.MappingNode && len(path) == 1 && path[0] == "alerting":
		kept := *v
		kept.Content = nil
		for i := 0; i+1 < len(v.Content); i += 2 {
			if inner := p.part(global, append(path, v.Content[i].Value), v.Content[i+1]); inner != nil {
				kept.Content = append(kept.Content, v.Content[i], inner)
			}
		}
		return &kept
	}
	_, err := loadNode(wrap(global, path, v))
	p.blame(v, where, err)
	return nil
}

func (p *parts) blame(n *yaml.Node, path string, err error) {
	message := decode.Message(err)
	if p.r.Mentions(message) {
		return
	}
	at, where := decode.Locate(n, path, inJob.ReplaceAllString(message, ""))
	p.l.add(p.src, at, where, "%s", message)
}

// inJob is how upstream names the scrape configuration; it would be taken for
// the value at fault.
var inJob = regexp.MustCompile(` (?:for|in) (?:the )?scrape config with job name "[^"]*"`)

func loadNode(n *yaml.Node) (cfg *promconfig.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			cfg, err = nil, fmt.Errorf("cannot be read: %v", r)
		}
	}()
	return promconfig.Load(string(decode.Text(n)), quiet())
}

func key(name string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}
}

func text(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Style: yaml.DoubleQuotedStyle}
}

func mapping(pairs ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: pairs}
}

// wrap builds the smallest document that holds v at path beside global.
func wrap(global *yaml.Node, path []string, v *yaml.Node) *yaml.Node {
	for i := len(path) - 1; i >= 0; i-- {
		v = mapping(key(path[i]), v)
	}
	if global != nil {
		v.Content = append([]*yaml.Node{key("global"), global}, v.Content...)
	}
	return v
}

// merge makes the document effective: the island's labels become external
// labels, and what the document says about storage and queries fills what
// atoll.yaml leaves open.
func (l *loader) merge(src source, root *yaml.Node, doc *document, c *Config) {
	l.conflicts(src, root, doc, c.Island)
	if len(l.errs.Fatal()) > 0 {
		return
	}
	cfg, err := effective(doc.node, doc.config, c.Island)
	if err != nil {
		l.add(doc.src, doc.node, doc.src.prefix, "%s", decode.Message(err))
		return
	}
	l.adopt(src, root, doc, cfg, c)
}

// adopt takes over a loaded document.
func (l *loader) adopt(src source, root *yaml.Node, doc *document, cfg *promconfig.Config, c *Config) {
	cfg.SetDirectory(doc.src.dir)
	c.Prometheus = cfg
	c.Query = c.Query.FromGlobal(cfg.GlobalConfig)
	l.storage(src, root, doc, c)
}

// conflicts finds labels that island and external_labels give different values.
func (l *loader) conflicts(src source, root *yaml.Node, doc *document, island Island) {
	for name, value := range island.external() {
		other := doc.config.GlobalConfig.ExternalLabels.Get(name)
		if other == "" || other == value {
			continue
		}
		field := "island.labels." + name
		if name == IslandLabel {
			field = "island.name"
		}
		there, _ := decode.At(doc.node, "global.external_labels."+name)
		message := fmt.Sprintf("%s, but %s gives %q in %s:%d; keep one of them", decode.Quote(value),
			doc.src.at("global.external_labels."+name), other, doc.src.file, there.Line)
		at, exact := decode.At(root, field)
		if !exact {
			l.add(doc.src, there, doc.src.at("global.external_labels."+name), "%s, but %s is %q; set %s to the same or remove this label", decode.Quote(other), field, value, field)
			continue
		}
		l.add(src, at, field, "%s", message)
	}
}

func (i Island) external() map[string]string {
	out := map[string]string{IslandLabel: i.Name}
	for name, value := range i.Labels {
		out[name] = value
	}
	return out
}

// effective loads the document again with the island's labels in it: only
// upstream's Load makes a configuration that its users accept.
func effective(n *yaml.Node, loaded *promconfig.Config, island Island) (*promconfig.Config, error) {
	ext := mapping()
	b := labels.NewBuilder(loaded.GlobalConfig.ExternalLabels)
	for name, value := range island.external() {
		b.Set(name, value)
	}
	b.Labels().Range(func(lb labels.Label) {
		// Expanded once already: a dollar that is left is meant.
		ext.Content = append(ext.Content, text(lb.Name), text(strings.ReplaceAll(lb.Value, "$", "$$")))
	})
	global := mapping(key("external_labels"), ext)
	out := mapping(key("global"), global)
	if n != nil {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value != "global" {
				out.Content = append(out.Content, n.Content[i], n.Content[i+1])
			}
		}
		if _, g := decode.Get(n, "global"); g != nil && g.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(g.Content); i += 2 {
				if g.Content[i].Value != "external_labels" {
					global.Content = append(global.Content, g.Content[i], g.Content[i+1])
				}
			}
		}
	}
	return loadNode(out)
}
