// Package demo is Atoll to look at: a network of three islands and a small shop
// that they watch, in one process, without configuration or privileges.
//
// In: how often the shop breaks and for how long. Out: three HTTP services with
// traffic, a configuration such as a newcomer would write, an alert that fires
// and resolves, its notifications and a progress line in the terminal.
// Guaranteed: shop and mesh listen on loopback only, everything lives in one
// temporary directory, and both are gone when Run returns, whatever ended it.
package demo
