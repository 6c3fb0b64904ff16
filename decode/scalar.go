package decode

import (
	"encoding"
	"errors"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalar checks one leaf by decoding it alone. s is the type that stands in the
// document, form the shape of what it reads.
func (c *Checker) scalar(n *yaml.Node, s, form *shape, path string) bool {
	if s.kind == kindAny && !s.custom || form.kind == kindText && !s.custom && !c.hasAfter(s.typ) {
		return true
	}
	err := c.decodeScalar(n, s.typ)
	if err == nil && form.kind == kindInt && !s.custom && c.version == V3 && hasFraction(n.Value) {
		err = errFraction // version 3 would cut it off in silence
	}
	if err == nil {
		return true
	}
	c.fail(n, path, "%s", c.scalarMessage(n, s, form, err))
	return false
}

func (c *Checker) hasAfter(t reflect.Type) bool { return c.After[t] != nil }

func (c *Checker) decodeScalar(n *yaml.Node, t reflect.Type) error {
	// Map keys of a text type read numbers too, which the libraries resolve first.
	if implements[encoding.TextUnmarshaler](t) && !implements[funcUnmarshaler](t) && !implements[nodeUnmarshaler](t) {
		return reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value))
	}
	return c.decode(n, t)
}

func (c *Checker) scalarMessage(n *yaml.Node, s, form *shape, err error) string {
	found := describeFor(n, s.typ)
	if rule := ruleOf(s.typ); rule != "" {
		return "expected " + rule + ", found " + found
	}
	if !s.custom && !c.hasAfter(s.typ) {
		want := form.kind.expects()
		if isUnsigned(s.typ) {
			want += " of 0 or more"
		}
		return "expected " + want + ", found " + found
	}
	message := Message(err)
	if isSecret(s.typ) {
		return strings.ReplaceAll(message, n.Value, "<secret>")
	}
	if n.Value != "" && strings.Contains(message, n.Value) {
		return message
	}
	return found + ": " + message
}

// ruleOf words what common types of the libraries take, which their own errors
// do not say.
func ruleOf(t reflect.Type) string {
	switch t.String() {
	case "model.Duration":
		return "a duration such as 15s, 5m, 1h30m or 30d"
	case "units.Base2Bytes":
		return "a size such as 512KB, 10MB or 50GB (powers of 1024)"
	}
	return ""
}

var errFraction = errors.New("not a whole number")

func hasFraction(value string) bool {
	f, err := strconv.ParseFloat(value, 64)
	return err == nil && f != math.Trunc(f)
}

func isUnsigned(t reflect.Type) bool {
	return t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64
}

func isSecret(t reflect.Type) bool { return strings.Contains(t.Name(), "Secret") }

func describeFor(n *yaml.Node, t reflect.Type) string {
	if isSecret(t) && n.Kind == yaml.ScalarNode {
		return "<secret>"
	}
	return Describe(n)
}

var (
	linePrefix   = regexp.MustCompile(`^line \d+: `)
	notInto      = regexp.MustCompile("^cannot unmarshal !!\\w+(?: `(.*)`)? into .*$")
	fieldMissing = regexp.MustCompile(`^field (\S+) not found in type .*$`)
)

// Message is an error of a YAML library, or of a type that decodes itself, in
// our words: one line, no positions of the rewritten text, no Go types.
func Message(err error) string {
	text := err.Error()
	text = strings.TrimPrefix(text, "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n  ")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		line = linePrefix.ReplaceAllString(line, "")
		if m := notInto.FindStringSubmatch(line); m != nil {
			line = "a value of this kind is not allowed here"
			if m[1] != "" {
				line = Quote(m[1]) + " is not allowed here"
			}
		}
		lines[i] = fieldMissing.ReplaceAllString(line, `unknown key "$1"`)
	}
	return strings.Join(lines, "; ")
}
