// Package rule reads stream aggregation rules and answers what they ask of a
// series: does it match, which group does it belong to, what are the outputs called.
//
// In: the text of a vmagent stream aggregation file, unchanged, or of our fuller
// form with the rules under "rules:". Out: a Set of compiled, immutable rules,
// or every mistake at once with file, line, column and field. What is accepted
// and has no effect here is named in Set.Warnings with the reason.
//
// Guaranteed: no panic whatever the bytes; the same text gives the same rules
// with the same hashes on every node; output names equal vmagent's.
package rule
