package rule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// What one file may hold, aliases counted as often as they are used.
const (
	mostNodes = 1_000_000
	mostDepth = 32
)

// reader walks a document and notes every mistake with its place.
type reader struct {
	file     string
	problems Errors
	warnings Errors
	left     int // values that may still be visited
}

func (r *reader) fail(n *yaml.Node, field, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: n.Line, Column: n.Column, Field: field, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) warn(n *yaml.Node, field, format string, args ...any) {
	r.warnings = append(r.warnings, Problem{File: r.file, Line: n.Line, Column: n.Column, Field: field, Message: fmt.Sprintf(format, args...), Warning: true})
}

// document returns the root value, nil where there is none.
func (r *reader) document(text []byte) *yaml.Node {
	doc, err := decodeOne(text)
	if err != nil {
		r.problems = append(r.problems, syntax(r.file, err))
		return nil
	}
	if doc == nil || len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	return r.follow(doc.Content[0], "")
}

// decodeOne turns a panic of the YAML library into an error: the text is foreign.
func decodeOne(text []byte) (doc *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: %v", p)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	doc = &yaml.Node{}
	if err := dec.Decode(doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return nil, fmt.Errorf("yaml: line %d: a second document begins: put all rules into one", second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return doc, nil
}

func syntax(file string, err error) Problem {
	p := Problem{File: file, Line: 1, Column: 1, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(p.Message); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Message = p.Message[len(m[0]):]
	}
	p.Message = "read as YAML: " + p.Message
	return p
}

func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// follow resolves aliases. The depth of what is read is that of the schema, so
// an alias that contains itself ends there.
func (r *reader) follow(n *yaml.Node, field string) *yaml.Node {
	if r.left--; r.left == 0 {
		r.fail(n, field, "the file holds more than %d values with its aliases written out; write fewer rules", mostNodes)
	}
	for range mostDepth {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	if r.left <= 0 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
	}
	return n
}

// entry is one key of a mapping.
type entry struct{ key, value *yaml.Node }

// mapping reads a mapping with known keys; unknown ones and repeated ones are problems.
func (r *reader) mapping(n *yaml.Node, field string, known []string) map[string]entry {
	if n.Kind != yaml.MappingNode {
		r.fail(n, field, "expected a mapping, found %s", describe(n))
		return nil
	}
	out := map[string]entry{}
	r.entries(n, field, known, out, 0)
	return out
}

func (r *reader) entries(n *yaml.Node, field string, known []string, out map[string]entry, depth int) {
	own := map[string]bool{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], r.follow(n.Content[i+1], field)
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		name := key.Value
		where := join(field, name)
		switch {
		case key.Kind != yaml.ScalarNode:
			r.fail(key, field, "expected a name as key, found %s", describe(key))
		case own[name]:
			r.fail(key, where, "the key is there twice; leave one")
		case known != nil && !slices.Contains(known, name):
			r.unknown(key, field, known)
		default:
			if _, set := out[name]; !set {
				out[name] = entry{key, value}
			}
		}
		own[name] = true
	}
	for _, m := range merged {
		r.merge(m, field, known, out, depth)
	}
}

func (r *reader) merge(n *yaml.Node, field string, known []string, out map[string]entry, depth int) {
	switch {
	case depth > mostDepth:
		r.fail(n, field, "<< is nested more than %d times", mostDepth)
	case n.Kind == yaml.MappingNode:
		r.entries(n, field, known, out, depth+1)
	case n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			r.merge(r.follow(c, field), field, known, out, depth+1)
		}
	default:
		r.fail(n, field, "<< merges mappings only, found %s", describe(n))
	}
}

func (r *reader) unknown(key *yaml.Node, field string, known []string) {
	hint := ""
	if near := nearest(key.Value, known); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	r.fail(key, join(field, key.Value), "no such option%s", hint)
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func item(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	return quote(n.Value)
}

func quote(s string) string {
	const longest = 60
	if runes := []rune(s); len(runes) > longest {
		return strconv.Quote(string(runes[:longest])) + "…"
	}
	return strconv.Quote(s)
}

func (r *reader) text(n *yaml.Node, field string) (string, bool) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		r.fail(n, field, "expected a text, found %s", describe(n))
		return "", false
	}
	return n.Value, true
}

func (r *reader) boolean(n *yaml.Node, field string) (value, ok bool) {
	if n.Kind == yaml.ScalarNode {
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on", "y":
			return true, true
		case "false", "no", "off", "n":
			return false, true
		}
	}
	r.fail(n, field, "expected true or false, found %s", describe(n))
	return false, false
}

func (r *reader) number(n *yaml.Node, field string, least, most int) (int, bool) {
	v, err := 0, error(nil)
	if n.Kind == yaml.ScalarNode {
		v, err = strconv.Atoi(strings.ReplaceAll(n.Value, "_", ""))
	}
	if n.Kind != yaml.ScalarNode || err != nil || v < least || v > most {
		r.fail(n, field, "expected a whole number from %d to %d, found %s", least, most, describe(n))
		return 0, false
	}
	return v, true
}

// duration reads what vmagent reads (1m30s), and days and weeks as Prometheus writes them.
func (r *reader) duration(n *yaml.Node, field string) (time.Duration, bool) {
	text, ok := r.text(n, field)
	if !ok {
		return 0, false
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		var long model.Duration
		if long, err = model.ParseDuration(text); err != nil {
			r.fail(n, field, "%s is no duration; write it like 30s, 5m or 1h", quote(text))
			return 0, false
		}
		v = time.Duration(long)
	}
	const longest = 366 * 24 * time.Hour
	if v < 0 || v > longest || v%time.Millisecond != 0 {
		r.fail(n, field, "%s is out of range: a duration is from 0 to a year, in whole milliseconds", quote(text))
		return 0, false
	}
	return v, true
}

func (r *reader) texts(n *yaml.Node, field string) ([]string, bool) {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode && !isNull(n) {
			hint = fmt.Sprintf("; write [%s]", n.Value)
		}
		r.fail(n, field, "expected a list, found %s%s", describe(n), hint)
		return nil, false
	}
	out, ok := make([]string, 0, len(n.Content)), true
	for i, c := range n.Content {
		text, one := r.text(r.follow(c, field), item(field, i))
		out, ok = append(out, text), ok && one
	}
	return out, ok
}

// nearest is the known name that a mistyped one was probably meant to be, or "".
func nearest(name string, known []string) string {
	const worth = 3 // a third of the letters may be wrong
	best, least := "", 0
	for _, k := range known {
		d := distance(fold(name), fold(k))
		if d <= max(len(name), len(k))/worth && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}

func fold(s string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
}

// distance is the number of edits: insert, delete, replace.
func distance(a, b string) int {
	const longest = 100
	a, b = a[:min(len(a), longest)], b[:min(len(b), longest)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
