package result

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// Grid is the times of a result: Start, Start+Step, ... in Unix ms, Count of
// them. An instant result has one.
type Grid struct {
	Start int64
	Step  int64
	Count int
}

// At is the i-th time.
func (g Grid) At(i int) int64 { return g.Start + int64(i)*g.Step }

// ChunkSeries is a series as its store has it.
type ChunkSeries struct {
	Labels labels.Labels
	// Chunks are in order of MinTime. Their Ref does not travel.
	Chunks []chunks.Meta
}

// Result is what one question brought on one island.
type Result struct {
	Grid   Grid
	Series []promql.Series // their points are on the grid, in order
	Chunks []ChunkSeries
	// Annotations, as the engine words them.
	Warnings []string
	Infos    []string
}

// Size is about what the result takes in memory, in bytes, without what chunks
// alias; a result that is nil takes none.
func (r *Result) Size() (n int64) {
	if r == nil {
		return 0
	}
	for i := range r.Series {
		s := &r.Series[i]
		n += seriesBytes + int64(len(s.Floats)+len(s.Histograms))*pointBytes
		s.Metric.Range(func(l labels.Label) { n += int64(len(l.Name) + len(l.Value)) })
		for _, h := range s.Histograms {
			n += int64(h.H.Size())
		}
	}
	for i := range r.Chunks {
		n += seriesBytes + int64(len(r.Chunks[i].Chunks))*seriesBytes
	}
	return n
}

// Limits bound a result. Both sides have them: Encode makes nothing that a Decode
// with the same limits refuses.
type Limits struct {
	Bytes       int // as it travels
	ColumnBytes int // of columns after decompression
	Series      int
	Points      int // floats, histograms and samples in chunks together
	Labels      int // of a series
	LabelBytes  int // of a series' names and values
	Buckets     int // of a histogram
	AllBuckets  int // of all histograms on the grid together
	Notes       int // annotations
	NoteBytes   int // of an annotation
}

// DefaultLimits suit answers of up to five million points. Decode then takes at
// most some 500 MiB, from a hostile peer too.
func DefaultLimits() Limits {
	return Limits{
		Bytes: 64 << 20, ColumnBytes: 128 << 20, Series: 1 << 18, Points: 5 << 20, Labels: 64, LabelBytes: 16 << 10,
		Buckets: 1 << 10, AllBuckets: 8 << 20, Notes: 256, NoteBytes: 4 << 10,
	}
}

func (l Limits) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"Bytes", l.Bytes}, {"ColumnBytes", l.ColumnBytes}, {"Series", l.Series}, {"Points", l.Points}, {"Labels", l.Labels},
		{"LabelBytes", l.LabelBytes}, {"Buckets", l.Buckets}, {"AllBuckets", l.AllBuckets}, {"Notes", l.Notes}, {"NoteBytes", l.NoteBytes},
	} {
		if f.value < 1 || f.value > 1<<30 {
			return fmt.Errorf("set up the codec of results: limit %s is %d: want 1 to 2^30", f.name, f.value)
		}
	}
	return nil
}

// Errors, wrapped, of Encode and Decode.
var (
	// ErrLimit is a result over a limit.
	ErrLimit = errors.New("over the limit of a result")
	// ErrGrid is a point that is not on the grid.
	ErrGrid = errors.New("a point is not on the grid")
	// ErrVersion is a result of another version of the format.
	ErrVersion = errors.New("the result has a version that is not known")
	// ErrMalformed is a result that Encode does not make.
	ErrMalformed = errors.New("the result is malformed")
)

// Codec encodes and decodes results. It is safe for concurrent use.
type Codec struct {
	limits    Limits
	encoders  sync.Pool // of *encoder
	unpackers sync.Pool // of *plane.Unpacker
}

// New makes a Codec.
func New(l Limits) (*Codec, error) {
	if err := l.validate(); err != nil {
		return nil, err
	}
	return &Codec{limits: l}, nil
}

func (c *Codec) encoder() (*encoder, error) {
	if e, ok := c.encoders.Get().(*encoder); ok {
		return e, nil
	}
	p, err := plane.NewPacker()
	return &encoder{limits: c.limits, packer: p}, err
}

func (c *Codec) unpacker() (*plane.Unpacker, error) {
	if u, ok := c.unpackers.Get().(*plane.Unpacker); ok {
		return u, nil
	}
	return plane.NewUnpacker(c.limits.ColumnBytes)
}

const (
	magic   = 0xa8
	version = 1
	// sumBytes are the checksum at the end.
	sumBytes = 4
	// small is the size of columns up to which compressing them as one is tried.
	small = 8 << 10
)

// Flags: which of the optional parts a result has.
const (
	flagWhole = 1 << iota // what follows is one column with all the others in it
	flagSeries
	flagHistograms
	flagChunks
	flagNotes
	flagSamples
	flagApart // the label sets are elsewhere
	allFlags  = 1<<iota - 1
)

// Presence of a series' floats or histograms on the grid.
const (
	presentNone = iota
	presentAll
	presentRun  // from a place on, so many
	presentBits // a bitmap
	presentMask = 3
	// histogramShift is where the presence of histograms is in the byte of a series.
	histogramShift = 2
	dropName       = 1 << 4
	allPresence    = 1<<5 - 1
)
