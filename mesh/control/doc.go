// Package control is the door by which an operator governs an island's
// membership: an HTTP API on a unix socket inside the data directory, and the
// client that the command line uses.
//
// In: requests from whoever may open the socket, which only the island's own
// user may. Out: calls into the functions that the island hands over, and their
// answers as JSON. Guaranteed: a refusal says what was wrong and what to do; these
// routes ask nobody who they are, so that whoever serves them elsewhere than on the
// socket checks that first.
package control
