package policy

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

var roles = []string{"admin", "island", "vantage", "observer", "operator", "viewer"}

// kinds of documents known to this version. A newer one may know more, so that
// others are only doubtful.
var kinds = []string{
	"aggregate", "alertstate", "copy", "dashboard", "globalrules", "invite", "left", "member", "network",
	"owner", "policy", "primary", "probe", "revoked", "rules", "scrape", "signer", "silence", "statement",
	"tokens", "users",
}

// literals finds what the schema's types let pass: names of entities that
// cannot be, and questions whose answer is always no.
func (c *checker) literals(p *cedar.Policy, ps *problems) {
	for _, uid := range scope(p) {
		literal(uid, ps)
	}
	visit(p, func(n ast.IsNode) {
		switch n := n.(type) {
		case ast.NodeValue:
			if uid, ok := n.Value.(cedar.EntityUID); ok {
				literal(uid, ps)
			}
		case ast.NodeTypeHas:
			c.has(n, ps)
		case ast.NodeTypeEquals:
			c.neverEqual(n.Left, n.Right, ps)
		case ast.NodeTypeNotEquals:
			c.neverEqual(n.Left, n.Right, ps)
		}
		for _, s := range comparedWith(n, "role") {
			if !slices.Contains(roles, s) {
				ps.near([]string{quote(s)}, "unknown role %q: one of %s", s, strings.Join(roles, ", "))
			}
		}
	})
}

// scope lists the entities in the policy's head.
func scope(p *cedar.Policy) []cedar.EntityUID {
	var out []cedar.EntityUID
	for _, s := range []any{p.AST().Principal, p.AST().Action, p.AST().Resource} {
		switch s := s.(type) {
		case ast.ScopeTypeEq:
			out = append(out, s.Entity)
		case ast.ScopeTypeIn:
			out = append(out, s.Entity)
		case ast.ScopeTypeInSet:
			out = append(out, s.Entities...)
		case ast.ScopeTypeIsIn:
			out = append(out, s.Entity)
		}
	}
	return out
}

func literal(uid cedar.EntityUID, ps *problems) {
	id := string(uid.ID)
	here := []string{uid.String()}
	switch uid.Type {
	case "Role":
		if !slices.Contains(roles, id) {
			ps.near(here, "unknown role %q: one of %s", id, strings.Join(roles, ", "))
		}
	case "Island":
		if len(id) != 52 || !strings.HasPrefix(id, "12D3KooW") {
			ps.near(here, "islands go by their peer ID (12D3KooW…), which %q is not: to name one, ask principal.name == %q", id, id)
		}
	case "Document":
		if kind, name, ok := strings.Cut(id, "/"); !ok || kind == "" || name == "" {
			ps.near(here, "documents go by kind/name, which %q is not", id)
		}
	}
}

// has refuses to ask for an attribute that nothing can have: Cedar's answer is
// a silent no.
func (c *checker) has(n ast.NodeTypeHas, ps *problems) {
	v, ok := n.Arg.(ast.NodeTypeVariable)
	if !ok || v.Name != "principal" && v.Name != "resource" {
		return
	}
	for t, e := range c.schema.Entities {
		if _, ok := e.Shape[n.Value]; ok && (v.Name == "resource" || t == "Island" || t == "User") {
			return
		}
	}
	attr := string(n.Value)
	ps.near([]string{string(v.Name) + " has " + attr, "has " + attr, "has " + quote(attr)}, "no %s has an attribute %s", v.Name, attr)
}

// neverEqual finds a variable compared with an entity of a type it never is.
func (c *checker) neverEqual(a, b ast.IsNode, ps *problems) {
	v, ok := a.(ast.NodeTypeVariable)
	if !ok {
		if v, ok = b.(ast.NodeTypeVariable); !ok {
			return
		}
		b = a
	}
	value, ok := b.(ast.NodeValue)
	if !ok {
		return
	}
	uid, ok := value.Value.(cedar.EntityUID)
	if !ok {
		return
	}
	can := map[cedar.String][]cedar.EntityType{
		"principal": {"Island", "User"}, "action": {"Action"}, "resource": {"Document", "Island", "Service"},
	}[v.Name]
	if c.knows(uid.Type) && !slices.Contains(can, uid.Type) {
		ps.near([]string{uid.String()}, "the %s is never equal to %s; being part of a role is asked with \"in\"", v.Name, uid)
	}
}

// comparedWith lists the texts that n compares an attribute with.
func comparedWith(n ast.IsNode, attr cedar.String) []string {
	var a, b ast.IsNode
	switch n := n.(type) {
	case ast.NodeTypeEquals:
		a, b = n.Left, n.Right
	case ast.NodeTypeNotEquals:
		a, b = n.Left, n.Right
	case ast.NodeTypeContains:
		a, b = n.Left, n.Right
	default:
		return nil
	}
	if isMember(a, attr) {
		return texts(b)
	}
	if isMember(b, attr) {
		return texts(a)
	}
	return nil
}

func texts(n ast.IsNode) []string {
	switch n := n.(type) {
	case ast.NodeValue:
		if s, ok := n.Value.(cedar.String); ok {
			return []string{string(s)}
		}
	case ast.NodeTypeSet:
		var out []string
		for _, e := range n.Elements {
			out = append(out, texts(e)...)
		}
		return out
	}
	return nil
}

// doubt warns of what is lawful and yet perhaps a slip.
func doubt(p *cedar.Policy, ps *problems) {
	unknown := func(kind, needle string) {
		if !slices.Contains(kinds, kind) {
			ps.near([]string{needle}, "no kind of document is called %q in this version: one of %s", kind, strings.Join(kinds, ", "))
		}
	}
	for _, uid := range scope(p) {
		if kind, _, ok := strings.Cut(string(uid.ID), "/"); ok && uid.Type == "Document" {
			unknown(kind, uid.String())
		}
	}
	visit(p, func(n ast.IsNode) {
		for _, s := range comparedWith(n, "kind") {
			unknown(s, quote(s))
		}
	})
}

// quote writes s as policy text does.
func quote(s string) string { return string(cedar.String(s).MarshalCedar()) }
