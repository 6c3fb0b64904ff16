// Package demo is Atoll to look at: an archipelago of three islands on one machine,
// far from each other as cities are, and a small shop that they run and watch, without
// configuration or privileges.
//
// In: how often the shop breaks and for how long. Out: three island processes in one
// network, services with traffic spread over them, the documents that newcomers would
// write, an alert that fires and resolves, a site that one city cannot reach for a
// while, notifications and a progress line in the terminal.
// Guaranteed: everything listens on loopback only and lives in one temporary directory;
// processes and directory are gone when Run returns, whatever ended it, and the
// islands end by themselves when the demo is killed. Nothing that islands show is made
// up: bytes between cities are held back, and lost, on real sockets.
package demo
