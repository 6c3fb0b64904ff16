package global

import (
	"context"
	"fmt"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// Island is one island as the asking side sees it.
type Island interface {
	// Facts are what is known of it without asking.
	Facts() Facts
	// Answer answers everything in the request or nothing: either an Answer with
	// one entry per leaf and raw selector, in their order, or an error. A *Fault
	// in the error says whose fault it is; any other means that the island could
	// not be reached. The answer belongs to the caller.
	Answer(context.Context, *Request) (*Answer, error)
}

// Facts are what is known of an island without asking it.
type Facts struct {
	// Name is the value of the partition label, unique among islands.
	Name string
	// External are the other labels that every series of the island carries.
	// Matchers that cannot match them spare the island the question.
	External labels.Labels
	// MinTime is a time in milliseconds before which the island certainly has
	// nothing; 0 if that is not known.
	MinTime int64
	// Own says that this is the asking island itself, whose word needs no proof.
	Own bool
}

// Request is everything that one query asks of one island.
type Request struct {
	Leaves  []Leaf
	Raw     []Raw
	Options EngineOptions
	Limits  Limits
	// Original wants no answer from a copy. It does not travel.
	Original bool
	// History asks for the answer's Epoch and Settled.
	History bool
	// Tell asks for all of the answer's Promise, which may otherwise be its number
	// alone.
	Tell bool
	// Share is the memory for the answer, for transports to take from; nil is
	// without bounds. It does not travel.
	Share *Share
}

// Leaf is an expression to evaluate at Start, Start+Step, … up to End; all in
// milliseconds, times since 1970, Step at least 1.
type Leaf struct {
	Expr             string
	Start, End, Step int64
	// KnownUntil is the last time on the grid whose rows are known to who asks if
	// the island's epoch is still Epoch; with Epoch 0 nothing is known.
	KnownUntil int64
	Epoch      uint64
}

// Tail is what of a leaf is not known; it may have no times.
func (l Leaf) Tail() Leaf {
	l.Start = l.KnownUntil + l.Step
	return l
}

// Raw is a selection of series with their samples from MinTime to MaxTime, both
// inclusive, in milliseconds since 1970.
type Raw struct {
	Matchers         []*labels.Matcher
	MinTime, MaxTime int64
}

// EngineOptions are what all engines that work on one query must agree on.
type EngineOptions struct {
	// Lookback is the lookback delta in milliseconds.
	Lookback int64
	// DelayedNames is EngineOpts.EnableDelayedNameRemoval, StartTimestamps its
	// UseStartTimestamps.
	DelayedNames, StartTimestamps bool
}

// Limits bound an answer, and what one query receives in all. 0 is unlimited.
type Limits struct {
	// Series and Samples bound what is sent; a histogram counts as one sample
	// for each 16 bytes.
	Series, Samples int64
	// Bytes bounds the size of raw chunks.
	Bytes int64
}

// Answer is what an island says to a Request.
type Answer struct {
	Leaves []LeafAnswer
	Raw    []RawAnswer
	// Oldest and Newest are the times of the island's oldest and newest sample
	// in milliseconds; 0 if it has none.
	Oldest, Newest int64
	// Epoch stays the same as long as none of the island's samples up to Settled, in
	// milliseconds, changes, comes or goes. 0 promises nothing.
	Epoch   uint64
	Settled int64
	// Promise is what holds from when the island was asked; nil for nothing. Of one that
	// is about to be sent all is there, of one that has come none: it was taken note of.
	Promise *Promise
	// From is who answered out of a copy because the island itself did not, and Why
	// that was so; both are empty otherwise.
	From, Why string
	Stats     Stats
}

// Stats are what an answer cost. Transports set Bytes to the size on the wire.
type Stats struct {
	// Series and Samples are what the answer holds.
	Series, Samples int64
	// Bytes is what came over the wire, or the size of raw chunks.
	Bytes int64
}

// LeafAnswer is the result of a leaf.
type LeafAnswer struct {
	// Rows have points on the leaf's grid only, in order of time, and no two have
	// the same labels.
	Rows  []promql.Series
	Notes []Note
	// Mixed says that a group was left out because it held floats and histograms,
	// or histograms that do not fit together.
	Mixed bool
	// Read is how many series the leaf read, for later choices.
	Read int64
	// Tail says that the rows are those of the leaf's Tail: the rest is as known.
	Tail bool
}

// RawAnswer is the result of a raw selector, in order of labels.
type RawAnswer struct {
	Series []RawSeries
	Notes  []Note
}

// RawSeries is a series with its encoded samples, in order of time.
type RawSeries struct {
	Labels labels.Labels
	Chunks []Chunk
}

// Chunk is encoded samples; times are in milliseconds and inclusive. It may hold
// samples beyond what was asked for.
type Chunk struct {
	MinTime, MaxTime int64
	Encoding         chunkenc.Encoding
	Data             []byte
}

// Note is an annotation of the engine: a warning, or an info.
type Note struct {
	Text string
	Info bool
}

// FaultKind says whose fault an error is.
type FaultKind uint8

const (
	// FaultIsland means: the island cannot answer, or not within its own limits.
	FaultIsland FaultKind = iota
	// FaultQuery means: the question has no answer, anywhere.
	FaultQuery
	// FaultLimit means: the answer alone would exceed the request's limits.
	FaultLimit
	// FaultUnsupported means: the island's engine differs from the asking one.
	FaultUnsupported
)

// Fault is an error with the one to blame. Its text is for people.
type Fault struct {
	Kind FaultKind
	Text string
}

func (f *Fault) Error() string { return f.Text }

func fault(kind FaultKind, format string, args ...any) *Fault {
	return &Fault{Kind: kind, Text: fmt.Sprintf(format, args...)}
}
