// Package rewrite splits a PromQL expression that asks about many islands into
// what each island can compute alone and what is left to do with the answers.
//
// In comes an expression as promql.PreprocessExpr left it and the times at which
// it is to be evaluated. Out comes a Plan: leaves, which are expressions with a
// time grid of their own that every island evaluates over its own data; raw
// selectors, whose samples have to travel; and one expression for the upstream
// engine in which each leaf has become the selector {__leaf__=~"N"}.
//
// Guaranteed: if every series of every island carries the partition label with
// the island's name, evaluating the remainder over the leaves' rows equals
// evaluating the whole expression over the merged data, but for the order in
// which floats are added. Two properties of an expression carry the proof:
//
//   - constant: no series take part, so that every island would compute the same;
//   - local: the union of the islands' results is the result over the union of
//     their data, and every row keeps the partition label.
//
// A leaf is a maximal local expression, or an aggregation over a local one that
// can be merged by aggregating again. Leaves never depend on one another: a plan
// needs one round trip, whatever its size.
package rewrite
