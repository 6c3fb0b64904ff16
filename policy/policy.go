package policy

import (
	"fmt"
	"iter"
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// Action is what somebody wants to do.
type Action string

// The actions that policies can speak of.
const (
	// Read a document, or what an island or service answers.
	Read Action = "read"
	// Write or delete a document.
	Write Action = "write"
	// Administer an island or service: change how it runs.
	Administer Action = "administer"
	// Probe something on somebody's behalf.
	Probe Action = "probe"
	// Relay connections of other members.
	Relay Action = "relay"
	// Ingest hands over samples and alerts from outside.
	Ingest Action = "ingest"
	// Silence alerts, and end silences.
	Silence Action = "silence"
	// Acknowledge alerts.
	Acknowledge Action = "acknowledge"
)

// Principal is the island that asks.
type Principal struct {
	// ID is the text of its peer ID.
	ID string
	// Name is its name in the network, Role one of admin, island, vantage, observer.
	Name, Role string
	Labels     map[string]string
}

// Resource is what is to be acted on.
type Resource struct {
	// Kind is document, island or service.
	Kind string
	// Name is "kind/name" of a document, the peer ID of an island, the name of a service.
	Name string
	// Attributes adds, for an island, its name and role, and its labels under
	// "labels.<label>". Others are of no effect.
	Attributes map[string]string
}

// The kinds of resource.
const (
	Document = "document"
	Island   = "island"
	Service  = "service"
)

// Decision is the answer to one question.
type Decision struct {
	Allowed bool
	// Reason says in words which policy decided, or that none did.
	Reason string
	// Errors are of policies that could not be evaluated and so did not count.
	Errors []string
}

// Set is a parsed policy text. It never changes.
type Set struct {
	name     string
	policies []*cedar.Policy
	ids      []cedar.PolicyID
	where    map[cedar.PolicyID]string // how reasons name it
	warnings []string
	users    bool // the text speaks of users
}

// All yields the policies in the order of the text, so that reasons come in that order.
func (s *Set) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for i, p := range s.policies {
			if !yield(s.ids[i], p) {
				return
			}
		}
	}
}

// Warnings are of what is lawful but may not be what was meant, with line and column.
func (s *Set) Warnings() []string { return s.warnings }

// Authorize decides whether who may do action to what. An unknown action or
// kind of resource is refused.
func (s *Set) Authorize(who Principal, action Action, what Resource) Decision {
	return s.authorize(islandEntity(who.ID, who.Name, who.Role, who.Labels), fmt.Sprintf("%s (%s)", who.Name, who.Role), action, what)
}

func (s *Set) authorize(principal cedar.Entity, asker string, action Action, what Resource) Decision {
	resource, err := entityOf(what)
	if err != nil {
		return Decision{Reason: err.Error()}
	}
	allowed, diag := cedar.Authorize(s, entities{principal, resource}, cedar.Request{
		Principal: principal.UID,
		Action:    cedar.NewEntityUID("Action", cedar.String(action)),
		Resource:  resource.UID,
	})
	d := Decision{Allowed: bool(allowed)}
	if len(diag.Reasons) == 0 {
		d.Reason = fmt.Sprintf("no policy permits %s to %s %s %s", asker, action, what.Kind, what.Name)
	} else {
		d.Reason = s.reason(d.Allowed, diag.Reasons)
	}
	for _, e := range diag.Errors {
		d.Errors = append(d.Errors, s.where[e.PolicyID]+": "+e.Message)
	}
	return d
}

func (s *Set) reason(allowed bool, by []cedar.DiagnosticReason) string {
	var out strings.Builder
	out.WriteString("forbidden by ")
	if allowed {
		out.Reset()
		out.WriteString("permitted by ")
	}
	for i, r := range by {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(s.where[r.PolicyID])
	}
	return out.String()
}
