package columnar

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
)

// Ref is a series' number in the dictionary of a stream. It is used again after
// the series was dropped.
type Ref uint32

// Sample is one value of a series: a float, or a histogram of integers or floats.
// Times are Unix milliseconds.
type Sample struct {
	Ref Ref
	ST  int64 // start of what is counted; 0 where unknown
	T   int64
	V   float64
	H   *histogram.Histogram
	FH  *histogram.FloatHistogram
}

// Exemplar is an exemplar of a series.
type Exemplar struct {
	Ref Ref
	exemplar.Exemplar
}

// Metadata is what is known of a series' metric.
type Metadata struct {
	Ref Ref
	metadata.Metadata
}

// Batch is what one frame carries.
type Batch struct {
	Samples   []Sample
	Exemplars []Exemplar
	Metadata  []Metadata
}

// Named is a series that enters the dictionary.
type Named struct {
	Ref    Ref
	Labels labels.Labels
}

// Frame is a decoded frame. What it says is to be done in the order of its
// fields.
type Frame struct {
	Epoch uint64
	Seq   uint64
	Reset bool    // every Ref so far is void
	Drop  []Ref   // these are void
	New   []Named // these are valid from here on
	Batch
}

// Limits bound a stream. Both sides have them: an encoder makes no frame that a
// decoder with the same limits refuses.
type Limits struct {
	FrameBytes   int // of a frame as it travels
	ColumnBytes  int // of a frame's columns after decompression
	Series       int // in the dictionary
	Samples      int // in a frame
	Labels       int // of a series
	LabelBytes   int // of a series' names and values
	Buckets      int // of a histogram
	BucketStates int // remembered for all series of histograms together
	Extras       int // exemplars, and also metadata, in a frame
	TextBytes    int // of a metric's unit and help, and of an exemplar's labels
}

// DefaultLimits suit an island of a million series. A decoder then takes at most
// some 600 MiB, from a hostile peer too.
func DefaultLimits() Limits {
	return Limits{
		FrameBytes: 32 << 20, ColumnBytes: 64 << 20, Series: 1 << 20, Samples: 1 << 19, Labels: 64, LabelBytes: 16 << 10,
		Buckets: 1 << 10, BucketStates: 4 << 20, Extras: 1 << 16, TextBytes: 4 << 10,
	}
}

func (l Limits) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"FrameBytes", l.FrameBytes}, {"ColumnBytes", l.ColumnBytes}, {"Series", l.Series}, {"Samples", l.Samples}, {"Labels", l.Labels},
		{"LabelBytes", l.LabelBytes}, {"Buckets", l.Buckets}, {"BucketStates", l.BucketStates}, {"Extras", l.Extras}, {"TextBytes", l.TextBytes},
	} {
		if f.value < 1 || f.value > 1<<30 {
			return fmt.Errorf("set up a columnar stream: limit %s is %d: want 1 to 2^30", f.name, f.value)
		}
	}
	return nil
}

// Errors of Decode. After ErrMalformed the decoder may need a reset: Position says
// so. After the others it is where it was.
var (
	// ErrCorrupt is a frame whose checksum is wrong: it may be sent again.
	ErrCorrupt = errors.New("the frame's checksum is wrong")
	// ErrReplay is a frame that was decoded before.
	ErrReplay = errors.New("the frame is an old one")
	// ErrGap is a frame that does not follow the last one: ask for those missing, or for a reset.
	ErrGap = errors.New("the frame does not follow the last one")
	// ErrVersion is a frame of another version of the format.
	ErrVersion = errors.New("the frame has a version that is not known")
	// ErrMalformed is a frame that no encoder makes.
	ErrMalformed = errors.New("the frame is malformed")
)

// ErrLimit is what Encode and Series return, wrapped, for what exceeds a limit.
// Nothing was encoded; the encoder can be used on.
var ErrLimit = errors.New("over the limit of a columnar stream")

// Head of a frame.
const (
	magic   = 0xa7
	version = 1
)

// Flags of a frame: which of the optional parts it has.
const (
	flagReset = 1 << iota
	flagDrop
	flagNew
	flagHistograms
	flagStarts
	flagExemplars
	flagMetadata
	allFlags = 1<<iota - 1
)

// Kinds of rows.
const (
	rowAll  = iota // each live member of the group
	rowBits        // a bitmap of places
	rowList        // their number, then gaps between places
)

// sumsBytes are at the end of a frame: of its values, and of its bytes.
const sumsBytes = 8
