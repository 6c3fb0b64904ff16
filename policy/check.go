package policy

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

//go:embed schema.cedarschema
var schemaText []byte

// checker holds policies against the vocabulary.
type checker struct {
	schema   *resolved.Schema
	validate *validate.Validator
}

// newChecker reads the schema and adds each label that the policies mention as
// an optional text: what labels there are is for the network's people to say.
func newChecker(list cedar.PolicyList, users bool) (*checker, error) {
	var s schema.Schema
	s.SetFilename("schema.cedarschema")
	if err := s.UnmarshalCedar(schemaText); err != nil {
		return nil, fmt.Errorf("BUG: read the schema: %w", err)
	}
	r, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("BUG: resolve the schema: %w", err)
	}
	labels := resolved.RecordType{}
	for _, p := range list {
		visit(p, func(n ast.IsNode) {
			if record, key, ok := member(n); ok && isMember(record, "labels") {
				labels[key] = resolved.Attribute{Type: resolved.StringType{}, Optional: true}
			}
		})
	}
	if len(labels) > maxLabels {
		return nil, fmt.Errorf("the policies mention %d labels; at most %d", len(labels), maxLabels)
	}
	for _, t := range []cedar.EntityType{"Island", "User"} {
		r.Entities[t].Shape["labels"] = resolved.Attribute{Type: labels}
	}
	if !users {
		islandsOnly(r)
	}
	return &checker{schema: r, validate: validate.New(r)}, nil
}

// visit calls f for every node of the policy's conditions.
func visit(p *cedar.Policy, f func(ast.IsNode)) {
	for _, c := range p.AST().Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			f(n)
			return true
		})
	}
}

// member takes x.key and "x has key" apart.
func member(n ast.IsNode) (of ast.IsNode, key cedar.String, ok bool) {
	switch n := n.(type) {
	case ast.NodeTypeAccess:
		return n.Arg, n.Value, true
	case ast.NodeTypeHas:
		return n.Arg, n.Value, true
	}
	return nil, "", false
}

func isMember(n ast.IsNode, key cedar.String) bool {
	a, ok := n.(ast.NodeTypeAccess)
	return ok && a.Value == key
}

// policy adds what is wrong with p to ps.
func (c *checker) policy(p *cedar.Policy, ps *problems) {
	c.literals(p, ps)
	known := len(ps.found)
	for _, e := range leaves(c.validate.Policy("", (*ast.Policy)(p.AST()))) {
		if e.Error() != noQuestion {
			c.explain(e.Error(), ps)
		} else if len(ps.found) == known {
			ps.at(0, "this policy can never apply: the principal is always an Island or a User, its roles are asked with \"in\", the resource is one of Document, Island, Service")
		}
	}
}

func leaves(err error) []error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, leaves(e)...)
		}
		return out
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

var (
	unknownAction = regexp.MustCompile("^unrecognized action `(.*)`$")
	unknownType   = regexp.MustCompile("^unrecognized entity type `(.*)`$")
	unknownAttr   = regexp.MustCompile("^attribute `(.*)` on entity type `(.*)` not found$")
	contextAttr   = regexp.MustCompile("^attribute `(.*)` in context for .* not found$")
	noRecord      = regexp.MustCompile("^unexpected type: expected __cedar::internal::AnyEntity.* but saw (.*)$")
	unsafeAttr    = regexp.MustCompile("^unable to guarantee safety of access to optional attribute `labels.(.*)` on entity type `(.*)`$")
)

// noQuestion is what the validator says where no action fits the policy's head;
// it comes on top of whatever is wrong in it.
const noQuestion = "unable to find an applicable action given the policy scope constraints"

// explain turns one of the validator's messages into a problem at its place.
func (c *checker) explain(msg string, ps *problems) {
	if m := unknownAction.FindStringSubmatch(msg); m != nil {
		ps.near([]string{m[1]}, "unknown action %s: one of %s", m[1], c.actions())
	} else if m := unknownType.FindStringSubmatch(msg); m != nil {
		ps.near([]string{m[1] + "::", "is " + m[1], m[1]}, "unknown type %s: one of %s", m[1], c.types())
	} else if m := unknownAttr.FindStringSubmatch(msg); m != nil {
		c.attribute(m[1], m[2], ps)
	} else if m := unsafeAttr.FindStringSubmatch(msg); m != nil {
		label := m[1]
		if len(words(label)) > 1 {
			label = quote(label)
		}
		ps.near([]string{".labels." + m[1], ".labels[" + quote(m[1]) + "]"},
			"an island may have no label %s, and then this policy would not count; first ask: labels has %s &&", m[1], label)
	} else if m := contextAttr.FindStringSubmatch(msg); m != nil {
		ps.near([]string{"context"}, "questions have no context: ask about principal, action and resource only")
	} else if m := noRecord.FindStringSubmatch(msg); m != nil {
		ps.at(0, "a %s has no attributes", m[1])
	} else {
		ps.at(0, "%s", msg)
	}
}

func (c *checker) attribute(attr, entity string, ps *problems) {
	var needles []string
	for _, variable := range []string{"principal", "resource"} {
		if variable == "resource" || entity == "Island" || entity == "User" {
			needles = append(needles, variable+"."+attr, variable+"["+quote(attr)+"]")
		}
	}
	needles = append(needles, "."+attr)
	var owners []string
	for _, t := range slices.Sorted(maps.Keys(c.schema.Entities)) {
		if _, ok := c.schema.Entities[t].Shape[cedar.String(attr)]; ok {
			owners = append(owners, string(t))
		}
	}
	has := fmt.Sprintf("%s %s has no attribute %s, only %s", article(entity), entity, attr, c.attributes(cedar.EntityType(entity)))
	if len(owners) > 0 {
		has += fmt.Sprintf(": ask \"resource is %s\" first", strings.Join(owners, "\" or \"resource is "))
	}
	ps.near(needles, "%s", has)
}

func article(noun string) string {
	if strings.HasPrefix(noun, "I") {
		return "an"
	}
	return "a"
}

func (c *checker) attributes(t cedar.EntityType) string {
	var names []string
	for k := range c.schema.Entities[t].Shape {
		names = append(names, string(k))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (c *checker) actions() string {
	var names []string
	for uid := range c.schema.Actions {
		names = append(names, string(uid.ID))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (c *checker) knows(t cedar.EntityType) bool {
	_, entity := c.schema.Entities[t]
	_, enum := c.schema.Enums[t]
	return entity || enum || t == "Action"
}

func (c *checker) types() string {
	names := []string{"Action"}
	for t := range c.schema.Entities {
		names = append(names, string(t))
	}
	for t := range c.schema.Enums {
		names = append(names, string(t))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
