// Package demo is Atoll to look at: an island and a small shop that it watches,
// in one process, without configuration or privileges.
//
// In: how often the shop breaks and for how long. Out: three HTTP services with
// traffic, a configuration such as a newcomer would write, an alert that fires
// and resolves, its notifications and a progress line in the terminal.
// Guaranteed: the shop listens on loopback only, everything lives in one
// temporary directory, and both are gone when Run returns, whatever ended it.
package demo
