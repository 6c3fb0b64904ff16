package policy

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

//go:embed users.cedar
var usersText string

// Users is what users may do in a network whose policy does not speak of them,
// and on an island of no network: readable text.
func Users() []byte { return []byte(usersText) }

// usersName is what positions in that text refer to.
const usersName = "users.cedar"

// ParseUsers reads Users.
func ParseUsers() *Set {
	set, err := Parse(usersName, Users())
	if err != nil {
		panic("BUG: the built-in policy for users cannot be read: " + err.Error())
	}
	return set
}

// UserRoles are the roles that a user can have, the one that may most first.
func UserRoles() []string { return []string{"admin", "operator", "viewer"} }

// User is a person or an API token that asks.
type User struct {
	// Name is unique among users.
	Name string
	// Roles are of UserRoles.
	Roles []string
}

// strongest is the role that may most, or "".
func (u User) strongest() string {
	for _, role := range UserRoles() {
		if slices.Contains(u.Roles, role) {
			return role
		}
	}
	return ""
}

// SpeaksOfUsers reports whether the text decides for users at all. Where it does
// not, Users does: a policy from before there were users must neither lock them
// out nor let them in by accident.
func (s *Set) SpeaksOfUsers() bool { return s.users }

// AuthorizeUser is Authorize for a user. It asks this text, whatever that speaks of.
func (s *Set) AuthorizeUser(who User, action Action, what Resource) Decision {
	e := memberEntity("User", who.Name, who.Name, who.strongest(), nil)
	parents := make([]cedar.EntityUID, 0, len(who.Roles))
	for _, role := range who.Roles {
		parents = append(parents, cedar.NewEntityUID("Role", cedar.String(role)))
	}
	e.Parents = cedar.NewEntityUIDSet(parents...)
	asker := fmt.Sprintf("user %s (%s)", who.Name, strings.Join(who.Roles, ", "))
	return s.authorize(e, asker, action, what)
}

// userActions are the actions that islands never do.
var userActions = []cedar.String{"ingest", "silence", "acknowledge"}

// speaksOfUsers looks for the words that only a policy about users has.
func speaksOfUsers(list cedar.PolicyList) bool {
	for _, p := range list {
		found := slices.ContainsFunc(scope(p), isOfUsers)
		for _, s := range []any{p.AST().Principal, p.AST().Resource} {
			switch s := s.(type) {
			case ast.ScopeTypeIs:
				found = found || s.Type == "User"
			case ast.ScopeTypeIsIn:
				found = found || s.Type == "User"
			}
		}
		visit(p, func(n ast.IsNode) {
			switch n := n.(type) {
			case ast.NodeValue:
				uid, ok := n.Value.(cedar.EntityUID)
				found = found || ok && isOfUsers(uid)
			case ast.NodeTypeIs:
				found = found || n.EntityType == "User"
			case ast.NodeTypeIsIn:
				found = found || n.EntityType == "User"
			}
		})
		if found {
			return true
		}
	}
	return false
}

func isOfUsers(uid cedar.EntityUID) bool {
	switch uid.Type {
	case "User":
		return true
	case "Role":
		return uid.ID == "operator" || uid.ID == "viewer"
	case "Action":
		return slices.Contains(userActions, uid.ID)
	}
	return false
}

// islandsOnly takes users out of what questions can be about, for a text that
// says nothing of them: nothing in it is ever asked for a user.
func islandsOnly(r *resolved.Schema) {
	for uid, a := range r.Actions {
		a.AppliesTo.Principals = slices.DeleteFunc(slices.Clone(a.AppliesTo.Principals), func(t cedar.EntityType) bool { return t == "User" })
		if len(a.AppliesTo.Principals) == 0 {
			delete(r.Actions, uid)
			continue
		}
		r.Actions[uid] = a
	}
}
