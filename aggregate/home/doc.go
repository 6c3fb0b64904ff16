// Package home finds for each series of a distributed rule the one island that
// counts it, its home, where two islands receive it: at once, as from two replicas
// of a Prometheus, or one after the other, as when a balancer moves it.
//
// In: what the engine has met (its Claims), messages of other islands (Handle), who
// is a member, a way to send. Out: decisions for the engine (engine.Decide).
//
// Directory. The ID of a series hashes to one of 4096 slots; by package slots each
// has an island that knows the homes of its series. An island claims a series when it
// meets it: nobody has it yet, and it is the home; or the answer names the home, and
// where the series is there. The directory is a memory that may be lost: after a change
// of members or the restart of an island, everybody tells it again what it counts; one
// that has not heard all of the others yet, nor 10 s passed, answers a new claim with
// wait.
//
// Home and followers. Who is not home keeps the samples since the home was last heard
// (engine: away) and asks it every 2 s how far it is. The answer is one instant for
// all series, and those that fell silent, when they do and when they come again, with
// their last sample. If the follower hears one of them beyond the silence after which a
// replica takes over, it asks for the series: the home gives it, with its last sample,
// and follows. So what moves loses nothing and counts nothing twice.
//
// Nobody is waited for. A new series is counted after 5 s without an answer, its first
// sample as one that others may have counted. A home not heard for 30 s has lost its
// series to those that follow: they count from the newest sample that it is known to
// have. The error is then one step of each series at most, and as long as two islands
// cannot reach each other while both receive a series, both count it. An island that
// was away finds out who counts its series before it counts them again.
//
// Leaving. An island that leaves gives each series to one that follows it, with its
// last sample. The last samples of those that nobody follows it leaves to the directories
// as they are without it, for an hour: who claims the series next goes on from there.
//
// Forgotten series. A first sample is growth from zero only where nobody can have
// counted the series: not where its home has forgotten it, or who counted it before has
// begun anew and waits for an answer itself, or a member was never heard.
//
// Conflicts. To take a series over names the island that it was taken from; where the
// directory knows another home by then, the claimant follows that. Two that follow
// each other (an answer was lost) settle it by their names.
//
// Guaranteed: with all messages through in the end, each series has one home. All
// islands must have the same distributed rules; a series is kept for all of them.
package home
