// Package island is the architect: the only package that sees every room.
//
// In: one configuration and the way to load it again. Out: a running island:
// rooms made, handed to each other, started in order, reloaded together and
// stopped in reverse. Guaranteed: a configuration is taken over by every room or
// by none; sources stop first and the store last, all within one deadline; two
// islands can run in one process, except that the host's collectors are shared.
package island
