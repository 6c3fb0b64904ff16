// Package witness tells "unreachable from here" from "lost".
//
// In: who is a member, what the mesh hears of each, and the means to look at an
// island, to ask another one to look, and to publish. Out: a state for each
// member, the testimony behind it, and at most one statement about an island,
// written by one of the others.
//
// An island is looked at in turn: one connected member that has been silent per
// period, and now and then one that is not connected, so that the cost per island
// does not grow with the network (after SWIM, Das et al. 2002). Looks that fail
// again and again, for longer than a link takes to recover, make it suspect.
// Then up to three witnesses are asked, from other regions first:
//
//   - One that reaches it ends the matter: it is unreachable from here, no more.
//   - It is lost if nobody reaches it, and not-reached comes from two regions
//     other than the asker's (from one, where no more than one can be asked).
//   - A witness that is cut off itself does not count.
//
// The witness must also see a whole network: if it misses more than a third of
// the islands it reached before, lost ones apart and counted since the silence
// began, it cannot tell a loss from a partition, and states nothing. In a network
// of more than 25 it looks at a fixed panel of 24, of which it must not miss more
// than a tenth. An island that reaches less than a third of the others (a sixth of
// the panel) says "cut off" about itself, and nothing about others.
//
// What that means:
//
//   - Two islands: nobody can confirm. The other one is unreachable from here, and
//     no statement is made.
//   - One region: its islands confirm for each other, two of them where there are
//     two besides the asker.
//   - Two regions, of which one is a single island: nobody in another region can
//     confirm its loss, so that it is unreachable from here, and no more.
//   - A partition of 9 islands into 4 and 5: neither side sees two thirds, so
//     neither states anything. Into 6 and 3, by region: the six state each of the
//     three as lost, because two of three regions agree; the three, who reach 2 of 8,
//     each say that they are cut off.
//
// Who states: the first in the order of rendezvous hashing (Thaler and
// Ravishankar 1998) over the islands that the asker believes alive. It is among
// those asked, and so finds out for itself. The others wait, longer the later
// they come in that order, and step in if no statement appeared. The island that
// wrote the statement withdraws it when the lost one has been back for a while
// without a break, longer each time it comes and goes; if the writer is gone,
// the next in order does.
//
// Guaranteed: no statement about others while cut off or parted; a bounded number
// of looks and asks per second whatever happens; no wall clock is compared with
// another's.
package witness
