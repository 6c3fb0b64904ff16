package decode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Aliases may expand a file to this many values, and as many times the values it
// has: a file of a few hundred bytes can otherwise ask for gigabytes.
const (
	freeNodes  = 100_000
	timesNodes = 50
)

// Problem is one mistake at one place. Line and Column count from 1.
type Problem struct {
	Line, Column int
	// Path is the field, written like scrape_configs[2].job_name; "" is the document.
	Path string
	// Message is what was found and what is allowed, without the path.
	Message string
}

// Parse reads the text of one file into a tree with aliases and merge keys
// written out and positions kept. An empty document yields an empty mapping.
// second is the line of a second document with content, or 0: the YAML libraries
// would ignore it in silence. A nil root comes with at least one problem.
func Parse(content []byte) (root *yaml.Node, second int, problems []Problem) {
	doc, second, err := documents(content)
	if err != nil {
		return nil, 0, []Problem{syntaxProblem(content, err)}
	}
	if doc == nil || len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1, Column: 1}, second, nil
	}
	limit := freeNodes + timesNodes*count(doc.Content[0])
	e := expander{limit: limit, left: limit, open: map[*yaml.Node]bool{}}
	root = e.expand(doc.Content[0])
	if len(e.problems) > 0 && e.left < 0 {
		return nil, 0, e.problems
	}
	return root, second, e.problems
}

// documents turns a panic of the YAML library into an error: the text is a
// stranger's, and a reload must never end the process.
func documents(content []byte) (first *yaml.Node, second int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, 0, nil
	} else if err != nil {
		return nil, 0, err
	}
	var next yaml.Node
	if err := dec.Decode(&next); err == nil && len(next.Content) > 0 && !isNull(next.Content[0]) {
		second = next.Content[0].Line
	} else if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	return &doc, second, nil
}

func syntaxProblem(content []byte, err error) Problem {
	p := Problem{Line: 1, Column: 1, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	lineOf := regexp.MustCompile(`^line (\d+): `)
	if m := lineOf.FindStringSubmatch(p.Message); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Message = p.Message[len(m[0]):]
		if strings.HasPrefix(p.Message, "did not find expected") {
			p.Line++ // the library's parser, unlike its scanner, counts from 0 here
		}
	}
	lines := strings.Split(string(content), "\n")
	p.Line = min(max(p.Line, 1), len(lines))
	text := lines[p.Line-1]
	p.Column = len(text) - len(strings.TrimLeft(text, " \t")) + 1
	p.Message = "read as YAML: " + p.Message
	if strings.Contains(text, "\t") && strings.HasPrefix(strings.TrimLeft(text, " "), "\t") {
		p.Message += "; indent with spaces, not with tabs"
	}
	return p
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// IsNull reports whether the value is absent, as in "key:" with nothing behind.
func IsNull(n *yaml.Node) bool { return n == nil || isNull(n) }

// count does not follow aliases.
func count(n *yaml.Node) int {
	total := 1
	for _, child := range n.Content {
		total += count(child)
	}
	return total
}

type expander struct {
	limit    int
	left     int
	alias    *yaml.Node          // the outermost alias being expanded
	open     map[*yaml.Node]bool // anchors being expanded, to find cycles
	problems []Problem
}

func (e *expander) fail(n *yaml.Node, message string) *yaml.Node {
	e.problems = append(e.problems, Problem{Line: n.Line, Column: n.Column, Message: message})
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
}

func (e *expander) expand(n *yaml.Node) *yaml.Node {
	if e.left--; e.left < 0 {
		if e.alias != nil {
			n = e.alias
		}
		if e.left == -1 {
			return e.fail(n, fmt.Sprintf("aliases expand to more than %d values; write the parts out", e.limit))
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
	}
	if n.Kind == yaml.AliasNode {
		if n.Alias == nil || e.open[n.Alias] {
			return e.fail(n, fmt.Sprintf("alias *%s contains itself", n.Value))
		}
		if e.alias == nil {
			e.alias = n
			defer func() { e.alias = nil }()
		}
		return e.expand(n.Alias)
	}
	c := *n
	c.Anchor, c.Alias, c.Content = "", nil, nil
	c.HeadComment, c.LineComment, c.FootComment = "", "", ""
	if len(n.Content) == 0 {
		return &c
	}
	e.open[n] = true
	defer delete(e.open, n)
	if n.Kind != yaml.MappingNode {
		for _, child := range n.Content {
			c.Content = append(c.Content, e.expand(child))
		}
		return &c
	}
	e.mapping(&c, n)
	return &c
}

func (e *expander) mapping(c, n *yaml.Node) {
	var merged []*yaml.Node
	own := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merged = append(merged, e.mergeSources(value)...)
			continue
		}
		k := e.expand(key)
		own[k.Value] = true
		c.Content = append(c.Content, k, e.expand(value))
	}
	for _, m := range merged {
		for i := 0; i+1 < len(m.Content); i += 2 {
			if key := m.Content[i]; !own[key.Value] {
				own[key.Value] = true
				c.Content = append(c.Content, key, m.Content[i+1])
			}
		}
	}
}

// mergeSources lists what "<<" merges in, the strongest first.
func (e *expander) mergeSources(value *yaml.Node) []*yaml.Node {
	v := e.expand(value)
	switch v.Kind {
	case yaml.MappingNode:
		return []*yaml.Node{v}
	case yaml.SequenceNode:
		for _, item := range v.Content {
			if item.Kind != yaml.MappingNode {
				e.fail(item, "<< merges mappings only, found "+Describe(item))
				return nil
			}
		}
		return v.Content
	}
	if len(e.problems) == 0 {
		e.fail(value, "<< merges mappings only, found "+Describe(v))
	}
	return nil
}

// Describe names a value the way a message does: the text "abc", a list.
func Describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if isNull(n) {
			return "nothing"
		}
		return Quote(n.Value)
	}
	return "something else"
}

// Quote shows a value in a message, cut where it gets long.
func Quote(s string) string {
	const longest = 60
	if r := []rune(s); len(r) > longest {
		return strconv.Quote(string(r[:longest])) + "…"
	}
	return strconv.Quote(s)
}
