// Package pulse knows which connections are alive, and how far away their ends are.
//
// In: connections, and the suspicion that one of them is dead. Out: round trip,
// jitter and loss of each; the word that one is dead.
// Guaranteed: an idle connection is probed every 15 seconds or so, at a cost of
// some 30 bytes a second over TCP, and declared dead when three probes in a row
// are missed; one on which somebody waits for bytes is probed at once, and is dead
// when nothing at all came over it for four seconds. One on which bytes still
// arrive is never declared dead, however late the answer, and none is while this
// process itself gets too little CPU.
package pulse
