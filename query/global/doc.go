// Package global answers PromQL questions about the data of many islands as if
// one engine had all of it, without moving it.
//
// Engine is the asking side: a promql.QueryEngine. In come an expression and a
// scope; package rewrite takes the expression apart; every island gets one
// request with all leaves and raw selectors that concern it; the upstream engine
// evaluates the remainder over what came back. Answerer is the answering side:
// it runs leaves on the plain upstream engine over an island's own data, with the
// partition label attached. Island is what lies between them; package global
// knows no network.
//
// Guaranteed:
//
//   - The answer equals that of one engine over the merged data, except for the
//     order in which floats are added, for which of equal values topk picks, and
//     for which series limitk picks. And where one engine would refuse a join on
//     the partition label because one side is ambiguous on an island whose other
//     side is empty, there is an answer: the ambiguous series join with nothing.
//   - Islands are asked at the same time and each has the same deadline. One that
//     fails, is late or sends what cannot be true is left out, named in a warning
//     and in the Receipt, and never delays the others. With Ask.Deny it is an
//     error instead. An answer without such a warning is complete.
//   - An error of the question itself (say, many-to-many matching), found on any
//     island, is the answer, as it would be with one engine. No other island is
//     believed: it hands over the series, and the asking engine has to meet the
//     error in them, or the island is left out.
//   - absent() is decided by the islands that answered, and says in a further
//     warning that the missing ones may have what it did not find: a lost island
//     neither silences it nor makes it certain.
//   - What is received for one query is bounded by Limits and Memory, with an error
//     that says so. An island whose answer is larger than those of all others
//     together is left out instead: none alone ends a question for which the others
//     need less than half.
//   - With a Cache the answer is the one without: islands are asked each time, and
//     what is known of one is used only if it says that this still holds.
//
// One round trip answers a query. There is a second one in three cases: info(),
// which chooses its series while it evaluates; sums and means whose groups turn out
// to mix floats and histograms on some island, or to overflow, and are then computed
// from the series; and proof of an error.
package global
