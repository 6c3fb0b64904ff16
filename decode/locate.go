package decode

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Locate finds what a message speaks of inside a tree: the value it quotes, else
// the key it names, else the tree itself. Libraries report values without saying
// where they stand; a reader should still be sent to the line.
func Locate(root *yaml.Node, path, message string) (*yaml.Node, string) {
	if strings.Contains(message, "empty or null") || strings.HasPrefix(message, "missing ") {
		if n, where := emptyItem(root, path); n != nil {
			return n, where
		}
	}
	l := locator{message: message, last: saysRepeated(message)}
	l.visit(root, path, 0)
	switch {
	case l.value.node != nil:
		return l.value.node, l.value.path
	case l.key.node != nil:
		return l.key.node, l.key.path
	}
	return root, path
}

// emptyItem finds the first list entry with nothing behind its dash.
func emptyItem(n *yaml.Node, path string) (*yaml.Node, string) {
	for i, child := range n.Content {
		var where string
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				continue
			}
			where = Join(path, n.Content[i-1].Value)
		} else if where = Item(path, child, i); isNull(child) {
			return child, where
		}
		if found, at := emptyItem(child, where); found != nil {
			return found, at
		}
	}
	return nil, ""
}

type spot struct {
	node   *yaml.Node
	path   string
	weight int
}

type locator struct {
	message    string
	last       bool // of equals take the last: the first was there before it
	value, key spot
}

func saysRepeated(message string) bool {
	for _, word := range []string{"multiple", "duplicate", "repeated", "not unique", "more than once", "twice"} {
		if strings.Contains(message, word) {
			return true
		}
	}
	return false
}

func (l *locator) visit(n *yaml.Node, path string, depth int) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			where := Join(path, key.Value)
			if at := mention(l.message, key.Value); at >= 0 {
				// What comes first in the message is what it is about.
				l.take(&l.key, spot{value, where, -1000*at + 10*len(key.Value) - depth})
			}
			if l.quotes(key.Value) {
				l.take(&l.value, spot{key, where, 100*len(key.Value) - depth})
			}
			l.visit(value, where, depth+1)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			l.visit(item, Item(path, item, i), depth+1)
		}
	case yaml.ScalarNode:
		if l.quotes(n.Value) {
			l.take(&l.value, spot{n, path, 100*len(n.Value) + 50})
		}
	}
}

func (l *locator) take(best *spot, s spot) {
	if best.node == nil || s.weight > best.weight || l.last && s.weight == best.weight {
		*best = s
	}
}

func (l *locator) quotes(value string) bool {
	if value == "" {
		return false
	}
	for _, q := range []string{strconv.Quote(value), "'" + value + "'", "`" + value + "`"} {
		if strings.Contains(l.message, q) {
			return true
		}
	}
	return strings.HasSuffix(l.message, ": "+value)
}

// mention returns where key stands in the message as a word, with spaces for
// underscores if need be: "scrape timeout greater than" is about scrape_timeout.
// It returns -1 where it does not.
func mention(message, key string) int {
	const shortest = 3
	if len(key) < shortest {
		return -1
	}
	text := " " + strings.ReplaceAll(strings.ToLower(message), "_", " ") + " "
	word := strings.ReplaceAll(strings.ToLower(key), "_", " ")
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return -1
		}
		i += from
		if !isWordByte(text[i-1]) && !isWordByte(text[i+len(word)]) {
			return i - 1
		}
		from = i + 1
	}
}

func isWordByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= '0' && b <= '9'
}

var (
	leadingPath = regexp.MustCompile(`^([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_]+|\[\d+\])*): `)
	// subjectPath is a path that begins a sentence: it needs two steps, or any word would do.
	subjectPath = regexp.MustCompile(`^([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_]+|\[\d+\])+) (?:is|must|has) `)
)

// SplitPath takes the field path off the front of a message like
// "http.listen[0]: \"x\": must …". ok is false if there is none.
func SplitPath(message string) (path, rest string, ok bool) {
	if m := leadingPath.FindStringSubmatch(message); m != nil {
		return m[1], message[len(m[0]):], true
	}
	if m := subjectPath.FindStringSubmatch(message); m != nil {
		return m[1], message[len(m[1])+1:], true
	}
	return "", message, false
}

// At finds the node a path leads to, or the deepest there is on the way. exact
// is false in the second case.
func At(root *yaml.Node, path string) (n *yaml.Node, exact bool) {
	n = root
	for _, step := range steps(path) {
		next := child(n, step)
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

func steps(path string) []string {
	return strings.FieldsFunc(strings.ReplaceAll(path, "[", ".["), func(r rune) bool { return r == '.' })
}

func child(n *yaml.Node, step string) *yaml.Node {
	if i, err := strconv.Atoi(strings.Trim(step, "[]")); err == nil && n.Kind == yaml.SequenceNode {
		if i < 0 || i >= len(n.Content) {
			return nil
		}
		return n.Content[i]
	}
	_, v := Get(n, step)
	return v
}

// Get returns a mapping's entry, nils if there is none.
func Get(n *yaml.Node, key string) (k, v *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}
