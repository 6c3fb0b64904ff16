// Package conform says what stream aggregation has to give, apart from how the
// engine computes it: a language for deliveries (what was scraped, when and by
// whom it was sent, what was lost, doubled or late), a slow reference model of
// the truth in event time, and the scenarios with their exact numbers.
//
// In: nothing. Out: Scenarios, to be played against any Target, and the Ledger
// of what the target published, to be compared with the truth.
//
// All times are milliseconds relative to Origin, a whole minute; a window is
// named by its end and holds (end-interval, end].
package conform
