// Package global evaluates rules that are about the whole network, on one of its
// primary islands at a time.
//
// In: rule groups that are shared documents, who is a primary and who can be
// reached, a way to ask all islands a question, and the documents in which other
// primaries left the state of alerts. Out: recorded series in this island's store,
// alerts for this island's Alertmanager, and a document for each group with all
// that another primary needs to go on: which alerts are pending or fire since when,
// and who was told of them.
//
// A group belongs to the first of the live primaries in the order of rendezvous
// hashing (Thaler and Ravishankar 1998). A primary is lost for another once three
// looks in a row, four seconds apart, failed and no primary that is reached vouches
// for it; it is back after two that succeed. So a group is taken over within some
// 20 s, and a link that fails between two primaries moves nothing while a third
// sees both.
//
// Every primary writes its own documents, so that those of two halves of a
// partition are merged rather than one of them lost: the earlier beginning of an
// alert stands, and what receivers were told is united. A document names the
// versions it has taken in, which are done with.
//
// Guaranteed: an alert keeps its beginning and its identity whoever evaluates it;
// what has been told is told again only if whoever told it was gone, or cut off,
// before the others heard. Where islands are missing in an answer, each rule does
// as its on_missing says, and never takes less data for good news.
//
// Upstream's alerting rules keep their state to themselves: here it has to come
// from and go to documents, so that advance.go does what they do, over plain values.
package global
