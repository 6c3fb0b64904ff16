// Package share lets several islands make one value per series and window: each
// sends what it saw of a window to the owners of the window's groups.
//
// In: sealed windows of this island (Push), messages of other islands (Handle),
// who is a member, and a way to send. Out: samples, through Options.Publish.
// A series is counted by the island that receives it; that no series arrives at
// two islands at a time is the business of those who hand out targets.
//
// Where a group belongs. Rule and group hash to one of 4096 slots; the members
// are put in order for each slot by rendezvous hashing (Thaler and Ravishankar,
// 1998). The first owns the slot; the second is its deputy, gets the same parts
// and publishes nothing. A member that comes or goes moves only its own share.
//
// What is sent. A part is what one source saw of a window in the slots of one
// member; an empty part says that it saw nothing. The parts of a rule go to a
// member in order, so that one of window E says that all to E are there. A source
// keeps its parts until the owners say that the window is published, and sends
// them all again when the members change or the other side has restarted.
//
// When a window is published. All sources that hold it have delivered it, and the
// owner's own part is at the deputy's: then the value is a function of the parts
// alone, and an owner to come that does not know of the publication publishes the
// same value again. Without a source (silent or gone for max_lag and the grace)
// only an owner goes on that hears more than half of the members.
//
// Totals are not handed over, they are sums of what the sources say (a G-counter,
// Shapiro et al., 2011): with each row a source sends the sum of all it ever saw
// of the group, and an owner adds up the newest of every source to the window's
// end. Owner and deputy both have them, and bring a new owner or deputy up to date
// before they send it parts; so what an island that is gone for good had counted
// stays in. It is lost where owner and deputy are lost for good together.
//
// Guaranteed: any delay, loss, repetition or reordering of messages, and the death
// of one island at any instant, change no value and publish no second one, as long
// as the island is back within max_lag. What comes after a window was published
// without it follows the rule's policy; the totals have it with the next window.
// Of rules with early: true only sealed windows are shared.
package share
