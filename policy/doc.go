// Package policy decides who may do what in a network.
//
// In: Cedar text, and questions of the form "may this island do that to this
// thing". Out: a decision that names the policy it comes from. The language is
// Cedar (https://docs.cedarpolicy.com), evaluated by cedar-go; the vocabulary is
// in schema.cedarschema.
//
// Guaranteed: what no policy permits is refused, and a forbid beats every permit;
// Parse refuses text that names an action, an entity type, a role or an attribute
// that does not exist, or that could fail while being evaluated, with line and
// column, so that a slip of the pen neither opens nor closes a door; a Set never
// changes and is safe for concurrent use. The same text and question give the
// same decision on every island.
package policy
