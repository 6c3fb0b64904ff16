// Package owner turns partial windows into samples: exactly one value per series
// and window, whatever the number of nodes that saw parts of it.
//
// In: windows of this node (Finish), or of several sources (Merge), each named by
// source, epoch and revision. Out: samples with their final labels. Guaranteed:
// any order, duplicates and replays of the partials give the same samples, each
// once; the totals of the cumulative outputs count every part once.
package owner
