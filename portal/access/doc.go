// Package access decides who may do what over HTTP: users and their passwords,
// sessions, API tokens, single sign-on, and the check that stands before every
// route.
//
// In: requests, a policy that judges users, the network's shared documents where
// the island belongs to one, an audit log. Out: a middleware that lets a request
// through or refuses it, routes to sign in and out and to manage users and tokens,
// and for handlers behind it who asks (From).
//
// Guaranteed: a request that changes something is refused unless a rule names its
// route; passwords, session cookies and tokens are kept as hashes only; a change
// that cannot be written to the audit log does not happen; what a stranger can
// make this package hold or compute is bounded; sessions outlive a restart and end
// with the password, the user, idleness or age, whichever comes first.
package access
