// Package share lets several islands make one value per series and window: each
// sends what it saw of a window to the owners of the window's groups.
//
// In: sealed windows of this island (Push), messages of other islands (Handle),
// who is a member, and a way to send. Out: samples, through Options.Publish.
// A series is counted by the island that receives it; which one that is where
// several do is the business of package home.
//
// Where a group belongs. Rule and group hash to one of 4096 slots; the members
// within reach are put in order for each slot by rendezvous hashing (Thaler and
// Ravishankar, 1998). The first owns the slot; the second is its deputy, gets the
// same parts and publishes nothing. A member that comes or goes moves only its own
// share. These members, and the plan below, are a view; messages say which view
// they are of.
//
// What is sent. A part is what one source saw of a window in the slots of one
// member; an empty part says that it saw nothing. The parts of a rule go to a
// member in order, so that one of window E says that all to E are there. A source
// keeps its parts until the owners say that the window is published, and sends
// them all again when the view changes or the other side has restarted. A member
// that does not have the rule says so in each reply; then everything of the rule
// waits, totals too, and goes out when it has it. Longer than a minute of that is a
// warning.
//
// When a window is published. All sources that hold it have delivered it, and the
// owner's own part is at the deputy's: then the value is a function of the parts
// alone, and an owner to come that does not know of the publication publishes the
// same value again. Of a group of which a part was late at its source, in a window that
// still waits for others, no mark says who has the same parts: its deputy is told the
// value first, see below, and the window counts as published only after that. A source that is silent or gone is waited for max_lag and the
// grace, by time that passes and not by a clock that can jump; then those go on
// who agree on the view.
//
// Once. What an owner publishes it decides first: group, window, revision and values
// go into its journal, then to those who take them, then the journal has that they
// were taken, and then the word goes out. Until they are taken nothing else is decided.
// An island that begins from an older snapshot reads that back: it knows all that it
// ever published, and offers what it had decided last again as it was, if that may not
// have left. Where windows are corrected another one may have gone on with a higher
// revision meanwhile: then that waits, as what comes late does, until all have said
// what they know. Who holds a slot anew is given the groups, and the windows that
// they were in, before the parts: so a next owner knows what was published before it
// can have what it takes to publish it, and publishes it no more, be it past or not.
// With them go the parts of islands that are away, of windows that the giver does not
// know to be published with the group: where it was, it comes again with the same value.
// What was published apart, see below, counts for that once the window is past. A
// note takes some 15 bytes of journal for each group and window of a rule with one
// output, packed, and is at most a mebibyte before that; sketches are in it as they
// are sent. Without a journal a death forgets what was published since the snapshot.
//
// Dark islands. One that nobody within reach has heard for a minute is left out of
// the view, whether or not it is stated lost; it comes back when it is heard. So no
// site's dashboards stop because others are dark: of two islands the one that is
// left goes on after a minute, max_lag and the grace. In a partition the side of
// more than half of the members, or of half with the first by name, publishes for
// all: what the others bring later is late. The other side is apart: it publishes
// what it sees for itself, into its own stores and sinks, counted
// (incomplete_windows_total) and with a warning that names who is missing; nobody
// else takes that for published, and totals only come out of slots that somebody on
// that side held before. It keeps its parts, bounded by MaxPending, and hands them
// over when the partition ends: the totals have them with the next window, and rules
// with late: correct publish the windows again. A sink that both sides write to
// gets two values of such a window, one of each side.
//
// Leaving. An island that leaves says so: it is out of the view of all at once, its
// own too, and with that word goes to where it had published, so that no window comes
// twice. It gives the others its groups and parts, until each has said that it has
// all of them in the view without it. Then it can go, and its part is waited for no
// more; what it gave of windows that are to come is passed on to a holder that began
// anew. Until it has gone it may as well stay.
//
// Late. A window of a source that comes when it is past is published as new where
// the group was in no island's window. Its value is fixed, and told to the deputy,
// before it is published: a next owner may publish it again, but only that value,
// and one that knows of the publication does not. Of a group that was in the window,
// late: correct publishes the window again with the parts of all sources and a
// higher revision, which follows from the parts: equal revisions have equal values.
// Before that the deputy has all these parts, and hands them on where it owns the slot
// next or another one does: so no revision falls. It vouches while it has the same
// view as the owner, and once the owner has all that it knew when it went over to that:
// two that take themselves for the owner at a time do not publish side by side. One
// that does not answer is not waited for longer than a source.
// For that sources keep their parts to the horizon (max_age); what does not fit
// into memory goes first, and its windows are not corrected by an owner that has
// not seen them; neither where an island is gone that may have had a share in one.
// The other policies leave the window alone; drop concerns what is
// late at the island that it reaches, since totals are sums of what sources say.
//
// Totals are not handed over, they are sums of what the sources say (a G-counter,
// Shapiro et al., 2011): with each row a source sends the sum of all it ever saw
// of the group, and an owner adds up the newest of every source to the window's
// end. Owner and deputy both have them, and bring a new owner or deputy up to date
// before they send it parts; so what an island that is gone for good had counted
// stays in. It is lost where owner and deputy are lost for good together.
//
// Load. What an owner does for a group is one row per source and window, however
// many series and samples it has: sketches are bounded (some 16 KiB), and messages
// are bounded in bytes. So a hot group is spread by series, to where these arrive.
// Many groups can still weigh more in one slot than in another: islands tell the
// first by name once a minute what their slots weigh, and where the busiest has
// more than 1.25 of the mean for as long as nothing changes, at most every ten
// minutes, it makes a plan that moves as few slots as help. Plans have versions,
// the newest holds, all islands hand it on; going over to it is a change of view.
//
// A rule whose outputs change goes on. Parts say what their source collects: what is
// made of other things begins with the first window of which all sources say so.
//
// Guaranteed: any delay, loss, repetition or reordering of messages, any jump of a
// clock, and deaths of islands at any instant, change no value and publish no second
// one, as long as each island has delivered a window within max_lag and the grace after
// it was first spoken of. For that it must be back by then, and be heard by owner and
// deputy; also where several were away one after the other. And what it seals in that
// time must fit into MaxPending: what is on disk waits until the parts before it are
// published; and a late part that all have stays in memory alone: where that is full
// it goes first, and with the deaths of owner and deputy within the ten seconds in which a
// backlog is gathered the backlog's windows, not its totals. What comes after a window was
// published without it follows the rule's policy. By nature there is no more to be had: a value of a window that an island took
// to its grave is lost, and so are the totals of groups of which owner and deputy are
// gone for good together; of an island that lost its disk nobody knows what it published
// last. After a partition or a death that lasts longer, a correction can lack what an
// island said whose part the present owner cannot get any more, and equal revisions can
// differ. Of rules with early: true only sealed windows are shared.
package share
