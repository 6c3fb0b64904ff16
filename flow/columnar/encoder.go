package columnar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// Options configure an Encoder.
type Options struct {
	// Epoch numbers the first frames; each reset counts it up. It must be above
	// all epochs that the same decoder has seen: the time in nanoseconds will do.
	Epoch  uint64
	Limits Limits
}

// Encoder turns batches of samples into frames. It is not safe for concurrent use.
type Encoder struct {
	limits Limits
	epoch  uint64
	seq    uint64
	reset  bool // the next frame begins an epoch

	series []source
	free   []Ref
	index  map[uint64]Ref // by hash of labels; of equal hashes the first
	groups []siblings
	idle   []uint32 // groups without members
	drops  []dropped
	states int    // buckets remembered
	checks uint64 // batches checked

	packer  *plane.Packer
	values  plane.Writer
	buckets plane.HistogramWriter
	names   plane.LabelWriter
	table   *crc32.Table
	rows    rowPlan
	column  []byte
	starts  []byte
	digest  sum
	coded   int // samples of this frame so far
	started int // the newest of them in starts
}

// series is what both sides keep of a series.
type series struct {
	state   plane.State
	buckets *plane.HistogramState
	st      int64
	group   uint32 // none: the other side does not know it
	place   uint32
}

// source is a series of an encoder.
type source struct {
	series
	labels  labels.Labels
	newest  int64
	checked uint64 // the check that counted its entry
	used    bool
}

// siblings is a group of an encoder: series of one target.
type siblings struct {
	group
	job, instance string
	row           uint32 // the newest of this frame
	frame         uint64 // the frame that row belongs to
}

type dropped struct {
	ref   Ref
	group uint32
}

// New makes an Encoder. Its first frame is a reset.
func New(o Options) (*Encoder, error) {
	if err := o.Limits.validate(); err != nil {
		return nil, err
	}
	packer, err := plane.NewPacker()
	if err != nil {
		return nil, err
	}
	return &Encoder{
		limits: o.Limits, epoch: o.Epoch, reset: true, index: map[uint64]Ref{}, packer: packer,
		table: crc32.MakeTable(crc32.Castagnoli), rows: rowPlan{index: map[rowKey]uint32{}},
	}, nil
}

// Position is the epoch and number of the next frame.
func (e *Encoder) Position() (epoch, seq uint64) { return e.epoch, e.seq }

// Series gives the Ref of a series, a new one for labels it does not know. The
// receiver learns them with the first sample.
func (e *Encoder) Series(ls labels.Labels) (Ref, error) {
	h := ls.Hash()
	if ref, ok := e.index[h]; ok && labels.Equal(e.series[ref].labels, ls) {
		return ref, nil
	}
	if err := e.checkLabels(ls); err != nil {
		return 0, err
	}
	var ref Ref
	switch n := len(e.free); {
	case n > 0:
		ref, e.free = e.free[n-1], e.free[:n-1]
	case len(e.series) < e.limits.Series:
		ref = Ref(len(e.series))
		e.series = append(e.series, source{})
	default:
		return 0, fmt.Errorf("%w: the dictionary has %d series: drop some", ErrLimit, len(e.series))
	}
	e.series[ref] = source{series: series{state: plane.NewState(), group: none}, labels: ls, newest: math.MinInt64, used: true}
	if _, taken := e.index[h]; !taken {
		e.index[h] = ref
	}
	return ref, nil
}

func (e *Encoder) checkLabels(ls labels.Labels) error {
	n, size, valid := 0, 0, true
	ls.Range(func(l labels.Label) {
		n, size = n+1, size+len(l.Name)+len(l.Value)
		valid = valid && l.Name != "" && l.Value != "" && utf8.ValidString(l.Name) && utf8.ValidString(l.Value)
	})
	switch {
	case !valid:
		return fmt.Errorf("encode series %s: a label has no name or no value, or is no UTF-8", ls)
	case n > e.limits.Labels || size > e.limits.LabelBytes:
		return fmt.Errorf("%w: a series has %d labels of %d bytes: want at most %d of %d", ErrLimit, n, size, e.limits.Labels, e.limits.LabelBytes)
	}
	return nil
}

// Drop removes series from the dictionary. Their Refs are void from here on.
func (e *Encoder) Drop(refs ...Ref) {
	for _, ref := range refs {
		if int(ref) >= len(e.series) || !e.series[ref].used {
			continue
		}
		s := &e.series[ref]
		if s.group != none {
			e.groups[s.group].leave(s.place)
			e.drops = append(e.drops, dropped{ref, s.group})
		}
		if h := s.labels.Hash(); e.index[h] == ref {
			delete(e.index, h)
		}
		e.states -= s.buckets.Cells()
		e.series[ref] = source{series: series{group: none}}
		e.free = append(e.free, ref)
	}
}

// Sweep drops the series whose newest sample is older than before, Unix ms, and
// gives their Refs, for the caller to forget them. Series that had no sample yet
// stay.
func (e *Encoder) Sweep(before int64) []Ref {
	var old []Ref
	for i := range e.series {
		if s := &e.series[i]; s.used && s.newest < before && s.group != none {
			old = append(old, Ref(i))
		}
	}
	e.Drop(old...)
	return old
}

// Len is the number of series in the dictionary.
func (e *Encoder) Len() int { return len(e.series) - len(e.free) }

// Reset makes the next frame begin a new epoch: a decoder can start with it,
// whatever it knew. Refs stay valid.
func (e *Encoder) Reset() {
	if e.reset {
		return
	}
	e.epoch, e.seq, e.reset = e.epoch+1, 0, true
	e.groups, e.idle, e.drops, e.states = nil, nil, nil, 0
	for i := range e.series {
		s := &e.series[i]
		s.series = series{state: plane.NewState(), group: none}
	}
}

// Encode appends the next frame to dst. Rows of samples that share a target and a
// time are kept together: samples of different times may change places, those
// of one series and time do not. After an error nothing has changed.
func (e *Encoder) Encode(dst []byte, b Batch) ([]byte, error) {
	if err := e.check(b); err != nil {
		return dst, err
	}
	start := len(dst)
	e.begin()
	drops := e.takeDrops()
	e.plan(b)
	e.writeRows(b.Samples)

	flags := e.flags(b, drops)
	dst = append(dst, magic, version, flags)
	dst = binary.AppendUvarint(dst, e.epoch)
	dst = binary.AppendUvarint(dst, e.seq)
	dst = e.appendDictionary(dst, drops)
	dst = e.packer.Append(dst, e.rows.bytes)
	dst = e.packer.AppendValues(dst, &e.values)
	if flags&flagHistograms != 0 {
		dst = e.packer.AppendHistograms(dst, &e.buckets)
	}
	if flags&flagStarts != 0 {
		dst = e.packer.Append(dst, e.starts)
	}
	dst = e.appendExtras(dst, b)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(e.digest>>32))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], e.table))
	e.seq++
	e.reset = false
	return dst, nil
}

func (e *Encoder) begin() {
	e.values.Reset()
	e.buckets.Reset()
	e.starts, e.digest, e.coded, e.started = e.starts[:0], 0, 0, -1
}

func (e *Encoder) flags(b Batch, drops []dropped) (flags byte) {
	for _, f := range []struct {
		set bool
		bit byte
	}{
		{e.reset, flagReset},
		{len(drops) > 0, flagDrop},
		{len(e.rows.fresh) > 0, flagNew},
		{e.buckets.Len() > 0, flagHistograms},
		{len(e.starts) > 0, flagStarts},
		{len(b.Exemplars) > 0, flagExemplars},
		{len(b.Metadata) > 0, flagMetadata},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	return flags
}

// takeDrops finishes what Drop began, in the order in which a decoder does it.
func (e *Encoder) takeDrops() []dropped {
	for _, d := range e.drops {
		g := &e.groups[d.group]
		switch {
		case g.live == 0 && g.members != nil:
			*g = siblings{}
			e.idle = append(e.idle, d.group)
		case g.tidy():
			for place, ref := range g.members {
				e.series[ref].place = uint32(place)
			}
		}
	}
	drops := e.drops
	e.drops = e.drops[:0]
	return drops
}

// appendDictionary writes the series that leave and those that enter.
func (e *Encoder) appendDictionary(dst []byte, drops []dropped) []byte {
	if len(drops) > 0 {
		e.column = e.column[:0]
		last := int64(-1)
		for _, d := range drops {
			e.column = binary.AppendVarint(e.column, int64(d.ref)-last-1)
			last = int64(d.ref)
		}
		dst = e.packer.Append(dst, e.column)
	}
	if len(e.rows.fresh) == 0 {
		return dst
	}
	e.column = e.column[:0]
	e.names.Reset()
	ref, group := int64(-1), int64(0)
	for _, r := range e.rows.fresh {
		s := &e.series[r]
		e.column = binary.AppendVarint(e.column, int64(r)-ref-1)
		e.column = binary.AppendVarint(e.column, int64(s.group)-group)
		ref, group = int64(r), int64(s.group)
		e.names.Add(s.labels)
	}
	return e.packer.AppendLabels(e.packer.Append(dst, e.column), &e.names)
}

var errRef = errors.New("no series of the dictionary has this Ref")
