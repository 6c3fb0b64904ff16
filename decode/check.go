package decode

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// Version is the YAML library the types of a document were written for.
type Version int

// The libraries in use: Prometheus' and Alertmanager's types decode with version
// 2, rule files and our own types with version 3.
const (
	V2 Version = 2
	V3 Version = 3
)

// Scalar is one value that passed, for those who look at leaves: files that must
// exist, templates that must parse.
type Scalar struct {
	Path string
	// Key is the last mapping key on the way here.
	Key string
	// Field tells that Key is a field of a struct, not a key somebody made up.
	Field bool
	Type  reflect.Type
	Node  *yaml.Node
}

// Checker walks trees. It is not for concurrent use.
type Checker struct {
	version  Version
	shapes   map[reflect.Type]*shape
	problems []Problem
	scalars  []Scalar

	// After, if set for a type, sees every value of it that decoded and may still
	// refuse it. The value is a pointer to the type.
	After map[reflect.Type]func(value any) error
	// Absent are keys that exist elsewhere and are left out of this program, so
	// that the reader is not told the key is wrong.
	Absent []string
	// Elsewhere maps keys to the path where they are known, for those who put one
	// into the wrong section.
	Elsewhere map[string]string
}

// New returns a Checker for types written for that library.
func New(v Version) *Checker {
	return &Checker{version: v, shapes: map[reflect.Type]*shape{}, After: map[reflect.Type]func(any) error{}}
}

// Problems are all found so far, in the order of the walk.
func (c *Checker) Problems() []Problem { return c.problems }

// Scalars are all leaves that passed.
func (c *Checker) Scalars() []Scalar { return c.scalars }

// Result is what a walk leaves.
type Result struct {
	// Node is the tree without what was refused; nil if nothing could stay.
	Node *yaml.Node
	// Dropped are the keys that were refused, at whatever depth. A later check that
	// complains about one of them complains about our own pruning.
	Dropped []string
}

// Mentions reports whether a message speaks of a key that was dropped.
func (r Result) Mentions(message string) bool {
	return slices.ContainsFunc(r.Dropped, func(key string) bool { return mention(message, key) >= 0 })
}

// Check walks node as a value of type t found at path. A type that decodes
// itself is asked to, everywhere in the tree.
func (c *Checker) Check(node *yaml.Node, t reflect.Type, path string) Result {
	return c.walk(node, t, path, place{})
}

// Structure is Check without asking t itself, only what is inside: for documents
// whose own check stops at the first mistake and is better done part by part.
func (c *Checker) Structure(node *yaml.Node, t reflect.Type, path string) Result {
	s := c.shape(t)
	form := s.form(node)
	if form == nil {
		c.wrongKind(node, s, path)
		return Result{}
	}
	return c.inside(node, form, path, place{})
}

func (c *Checker) fail(n *yaml.Node, path, format string, args ...any) {
	c.problems = append(c.problems, Problem{Line: n.Line, Column: n.Column, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (c *Checker) wrongKind(n *yaml.Node, s *shape, path string) {
	want := s.kind.expects()
	if rule := ruleOf(s.typ); rule != "" {
		want = rule
	}
	for _, o := range s.others {
		if e := o.kind.expects(); !strings.Contains(want, e) {
			want += " or " + e
		}
	}
	c.fail(n, path, "expected %s, found %s", want, describeFor(n, s.typ))
}

// place is the mapping key a value stands under.
type place struct {
	name  string
	field bool
}

// walk checks one value.
func (c *Checker) walk(n *yaml.Node, t reflect.Type, path string, key place) Result {
	if isNull(n) {
		return Result{Node: n}
	}
	s := c.shape(t)
	form := s.form(n)
	if form == nil {
		c.wrongKind(n, s, path)
		return Result{}
	}
	r := c.inside(n, form, path, key)
	if r.Node == nil {
		return r
	}
	if n.Kind == yaml.ScalarNode {
		if !c.scalar(r.Node, s, form, path) {
			return Result{}
		}
		c.scalars = append(c.scalars, Scalar{Path: path, Key: key.name, Field: key.field, Type: s.typ, Node: n})
		return r
	}
	if !s.custom {
		return r
	}
	return c.whole(r, s, path)
}

// whole lets a type decode itself from what is left of its value.
func (c *Checker) whole(r Result, s *shape, path string) Result {
	err := c.decode(r.Node, s.typ)
	if err == nil {
		return r
	}
	message := Message(err)
	if !r.Mentions(message) {
		at, where := Locate(r.Node, path, message)
		c.fail(at, where, "%s", message)
	}
	return Result{Dropped: append(r.Dropped, keysOf(r.Node)...)}
}

// decode asks the library and, where one is set, the After function.
func (c *Checker) decode(n *yaml.Node, t reflect.Type) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be read: %v", r)
		}
	}()
	v := reflect.New(t)
	if c.version == V3 {
		err = n.Decode(v.Interface())
	} else {
		err = yamlv2.UnmarshalStrict(Text(n), v.Interface())
	}
	if err != nil {
		return err
	}
	if after := c.After[t]; after != nil {
		return after(v.Interface())
	}
	return nil
}

// inside checks what a value is made of.
func (c *Checker) inside(n *yaml.Node, s *shape, path string, key place) Result {
	switch s.kind {
	case kindStruct:
		return c.fields(n, s, path)
	case kindMap:
		return c.entries(n, s, path)
	case kindList:
		return c.items(n, s, path, key)
	}
	return Result{Node: n}
}

func (c *Checker) items(n *yaml.Node, s *shape, path string, key place) Result {
	clean := *n
	clean.Content = nil
	r := Result{Node: &clean}
	for i, item := range n.Content {
		ir := c.walk(item, s.elem, Item(path, item, i), key)
		if ir.Node == nil {
			continue
		}
		r.Dropped = append(r.Dropped, ir.Dropped...)
		kept := *ir.Node
		kept.HeadComment = strconv.Itoa(i)
		clean.Content = append(clean.Content, &kept)
	}
	if len(clean.Content) == 0 && len(n.Content) > 0 {
		r.Dropped = append(r.Dropped, key.name)
	}
	return r
}

// Item is the path of a list entry. Entries of a pruned list know the place they
// had in the file: Parse drops comments, so their field is free for it.
func Item(path string, item *yaml.Node, i int) string {
	if was, err := strconv.Atoi(item.HeadComment); err == nil {
		i = was
	}
	return fmt.Sprintf("%s[%d]", path, i)
}

// pairs calls f for each entry whose key is a text and comes for the first time.
func (c *Checker) pairs(n *yaml.Node, path string, f func(key, value *yaml.Node)) {
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			c.fail(key, path, "expected a text as key, found %s", Describe(key))
			continue
		}
		if was := first[key.Value]; was != nil {
			c.fail(key, Join(path, key.Value), "the key is written twice, first in line %d; keep one", was.Line)
			continue
		}
		first[key.Value] = key
		f(key, value)
	}
}

func (c *Checker) entries(n *yaml.Node, s *shape, path string) Result {
	clean := *n
	clean.Content = nil
	r := Result{Node: &clean}
	keyShape := c.shape(s.key)
	c.pairs(n, path, func(key, value *yaml.Node) {
		where := Join(path, key.Value)
		vr := c.walk(value, s.elem, where, place{name: key.Value})
		r.Dropped = append(r.Dropped, vr.Dropped...)
		if !c.scalar(key, keyShape, keyShape, where) || vr.Node == nil {
			r.Dropped = append(r.Dropped, key.Value)
			return
		}
		clean.Content = append(clean.Content, key, vr.Node)
	})
	return r
}

func (c *Checker) fields(n *yaml.Node, s *shape, path string) Result {
	clean := *n
	clean.Content = nil
	r := Result{Node: &clean}
	c.pairs(n, path, func(key, value *yaml.Node) {
		where := Join(path, key.Value)
		t, known := s.fields[key.Value]
		field := known
		if !known && s.elem != nil {
			t, known = s.elem, true
		}
		if !known {
			meant := c.unknown(key, s, where)
			r.Dropped = append(r.Dropped, key.Value)
			if meant != "" {
				r.Dropped = append(r.Dropped, meant)
			}
			return
		}
		vr := c.walk(value, t, where, place{name: key.Value, field: field})
		r.Dropped = append(r.Dropped, vr.Dropped...)
		if vr.Node == nil {
			r.Dropped = append(r.Dropped, key.Value)
			return
		}
		clean.Content = append(clean.Content, key, vr.Node)
	})
	return r
}

// discoverySuffix ends the keys of service discoveries, of which there are many.
const discoverySuffix = "_sd_configs"

// unknown reports a key and returns the one that was probably meant, or "".
func (c *Checker) unknown(key *yaml.Node, s *shape, where string) string {
	names := s.names
	if slices.Contains(c.Absent, key.Value) && len(discoveries(names)) > 0 {
		c.fail(key, where, "the key is right, but this service discovery is not built into Atoll; there are %s", strings.Join(discoveries(names), ", "))
		return ""
	}
	if stem, ok := strings.CutSuffix(key.Value, discoverySuffix); ok {
		if stems := discoveries(names); len(stems) > 0 {
			if meant := Nearest(stem, stems); meant != "" {
				c.fail(key, where, "unknown key; did you mean %q?", meant+discoverySuffix)
				return meant + discoverySuffix
			}
			c.fail(key, where, "there is no service discovery %q in this program; there are %s", stem, strings.Join(stems, ", "))
			return ""
		}
	}
	if path := c.Elsewhere[key.Value]; path != "" && path != where {
		c.fail(key, where, "unknown key here; it belongs under %s", path)
		return ""
	}
	if meant := Nearest(key.Value, names); meant != "" {
		c.fail(key, where, "unknown key; did you mean %q?", meant)
		return meant
	}
	c.fail(key, where, "unknown key; allowed here: %s", allowed(names))
	return ""
}

func discoveries(names []string) (stems []string) {
	for _, n := range names {
		if stem, ok := strings.CutSuffix(n, discoverySuffix); ok {
			stems = append(stems, stem)
		}
	}
	slices.Sort(stems)
	return stems
}

// allowed lists keys; all service discoveries count as one.
func allowed(names []string) string {
	out := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.HasSuffix(n, discoverySuffix) })
	slices.Sort(out)
	if len(out) < len(names) {
		out = append(out, "<name>"+discoverySuffix)
	}
	return strings.Join(out, ", ")
}

func keysOf(n *yaml.Node) (keys []string) {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			keys = append(keys, n.Content[i].Value)
			keys = append(keys, keysOf(n.Content[i+1])...)
		}
		return keys
	}
	for _, child := range n.Content {
		keys = append(keys, keysOf(child)...)
	}
	return keys
}

// Join puts a key behind a path.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
