package partial

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// Row is one group of a window.
type Row struct {
	// Group are the labels of the group, as rule.Group returned them.
	Group labels.Labels
	// Hash is Group.Hash().
	Hash uint64
	Acc  Acc
}

// Window are the rows of one window of a rule, from one source.
type Window struct {
	Rule *rule.Rule
	// End names the window (End-Interval, End], Unix ms.
	End int64
	// Revision counts the publications of one window: a row of a higher revision
	// replaces the row of the same group. The first is 0.
	Revision uint32
	// Open tells that the source has not sealed the window yet: it is published early.
	Open bool
	// Piece and Pieces tell the parts of a window that was Split: from 0, and how
	// many. Pieces is 0 for a whole window.
	Piece, Pieces uint32
	// Rows hold no group twice. Rows of an earlier revision that are not here stay.
	Rows []Row
}

// Sample is one value of an output series.
type Sample struct {
	Labels labels.Labels
	// T is the end of the window, Unix ms.
	T int64
	// V is the value, if H is nil.
	V float64
	H *histogram.FloatHistogram
	// Revision is 0 for the first publication of the window.
	Revision uint32
	Rule     *rule.Rule
}
