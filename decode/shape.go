package decode

import (
	"encoding"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

type kind int

const (
	kindAny kind = iota
	kindText
	kindBool
	kindInt
	kindFloat
	kindDuration
	kindList
	kindMap
	kindStruct
)

// expects names a kind in messages.
func (k kind) expects() string {
	return map[kind]string{
		kindAny: "a value", kindText: "a text", kindBool: "true or false", kindInt: "a whole number",
		kindFloat: "a number", kindDuration: "a duration such as 15s or 5m", kindList: "a list (lines that begin with -)",
		kindMap: "a mapping (key: value)", kindStruct: "a mapping (key: value)",
	}[k]
}

// accepts reports whether a YAML node of that kind can be such a value at all.
func (k kind) accepts(n *yaml.Node) bool {
	switch k {
	case kindAny:
		return true
	case kindList:
		return n.Kind == yaml.SequenceNode
	case kindMap, kindStruct:
		return n.Kind == yaml.MappingNode
	default:
		return n.Kind == yaml.ScalarNode
	}
}

// shape is what may be written where a Go type is expected.
type shape struct {
	kind kind
	// typ is the type without pointers.
	typ reflect.Type
	// custom types decode themselves and may refuse for reasons of their own.
	custom bool
	// fields and names describe a struct; names keep their order.
	fields map[string]reflect.Type
	names  []string
	// key and elem describe a map or list; elem is also what an inline map takes.
	key, elem reflect.Type
	// others are further forms a custom type tries: a path or a mapping, say.
	others []*shape
}

// form picks the form that fits what was written.
func (s *shape) form(n *yaml.Node) *shape {
	for _, o := range append([]*shape{s}, s.others...) {
		if o.kind.accepts(n) {
			return o
		}
	}
	return nil
}

// The two ways a type decodes itself; the first is known to every version of
// the library, the second to version 3 only.
type (
	funcUnmarshaler interface{ UnmarshalYAML(func(any) error) error }
	nodeUnmarshaler interface{ UnmarshalYAML(*yaml.Node) error }
)

func implements[T any](t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[T]())
}

func (c *Checker) shape(t reflect.Type) *shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := c.shapes[t]; ok {
		return s
	}
	s := c.newShape(t)
	c.shapes[t] = s
	return s
}

func (c *Checker) newShape(t reflect.Type) *shape {
	switch {
	case implements[funcUnmarshaler](t):
		return c.customShape(t)
	case implements[nodeUnmarshaler](t) && c.version == V3:
		s := &shape{kind: kindAny}
		if t.Kind() == reflect.Struct && hasYAMLTags(t) {
			s = c.plainShape(t)
		}
		s.typ, s.custom = t, true
		return s
	case t == reflect.TypeFor[yaml.Node]():
		return &shape{kind: kindAny, typ: t}
	case implements[encoding.TextUnmarshaler](t):
		return &shape{kind: kindText, typ: t, custom: true}
	}
	return c.plainShape(t)
}

// customShape asks the type itself: its UnmarshalYAML is handed a function that
// notes what it wants to decode into. So a discovery section shows the keys of
// the service discoveries linked into this binary, and a URL shows itself a text.
func (c *Checker) customShape(t reflect.Type) *shape {
	var forms []*shape
	for _, want := range probe(t) {
		forms = append(forms, c.plainOrShape(want, t))
	}
	if len(forms) == 0 {
		return &shape{kind: kindAny, typ: t, custom: true}
	}
	s := *forms[0]
	s.typ, s.custom, s.others = t, true, slices.Clone(forms[1:])
	return &s
}

func (c *Checker) plainOrShape(want, self reflect.Type) *shape {
	for want.Kind() == reflect.Pointer {
		want = want.Elem()
	}
	if want == self {
		return c.plainShape(want)
	}
	return c.shape(want)
}

var errProbe = errors.New("probe")

func probe(t reflect.Type) (wants []reflect.Type) {
	defer func() {
		if recover() != nil {
			wants = nil
		}
	}()
	const enough = 4
	u := reflect.New(t).Interface().(funcUnmarshaler)
	_ = u.UnmarshalYAML(func(v any) error { // always errProbe or a follow-up of it
		if v != nil && len(wants) < enough {
			wants = append(wants, reflect.TypeOf(v))
		}
		return errProbe
	})
	return wants
}

func (c *Checker) plainShape(t reflect.Type) *shape {
	s := &shape{typ: t}
	switch t.Kind() {
	case reflect.String:
		s.kind = kindText
	case reflect.Bool:
		s.kind = kindBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s.kind = kindInt
		if t == reflect.TypeFor[time.Duration]() {
			s.kind = kindDuration
		}
	case reflect.Float32, reflect.Float64:
		s.kind = kindFloat
	case reflect.Slice, reflect.Array:
		s.kind, s.elem = kindList, t.Elem()
		if t.Elem().Kind() == reflect.Uint8 || strings.HasSuffix(t.String(), "yaml.MapSlice") {
			s.kind = kindAny
		}
	case reflect.Map:
		s.kind, s.key, s.elem = kindMap, t.Key(), t.Elem()
	case reflect.Struct:
		s.kind, s.fields = kindStruct, map[string]reflect.Type{}
		c.addFields(s, t)
	}
	return s
}

func (c *Checker) addFields(s *shape, t reflect.Type) {
	for f := range t.Fields() {
		if !f.IsExported() && !f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(yamlTag(f), ",")
		switch {
		case name == "-":
		case strings.Contains(options, "inline"):
			ft := f.Type
			for ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Map {
				s.elem = ft.Elem()
			} else {
				c.addFields(s, ft)
			}
		case f.IsExported():
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			if _, ok := s.fields[name]; !ok {
				s.names = append(s.names, name)
			}
			s.fields[name] = f.Type
		}
	}
}

// yamlTag follows the libraries: a tag without any key counts as YAML's own.
func yamlTag(f reflect.StructField) string {
	tag, ok := f.Tag.Lookup("yaml")
	if !ok && !strings.Contains(string(f.Tag), ":") {
		return string(f.Tag)
	}
	return tag
}

func hasYAMLTags(t reflect.Type) bool {
	for f := range t.Fields() {
		if _, ok := f.Tag.Lookup("yaml"); ok {
			return true
		}
	}
	return false
}
