// Package preview says when an alerting rule would have fired.
//
// In: the rule as it would be saved, and a query engine over the samples that are
// kept. Out: the incidents of the time asked for, how things are now, and the values
// beside their threshold for a chart.
//
// Guaranteed: `for` and `keep_firing_for` hold for each series as they do in rules;
// points, series and incidents are bounded, and the answer says what was left out
// and whether it looked less often than the rule would.
package preview
