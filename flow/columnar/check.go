package columnar

import (
	"fmt"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// Upper bounds of what things take in columns, in bytes.
const (
	mostSample = 40 // with a row of its own
	mostStart  = 16
	mostCell   = 24 // of a histogram
	mostSpan   = 20
)

// check refuses a batch that cannot be encoded, or whose frame a decoder with
// the same limits might refuse.
func (e *Encoder) check(b Batch) error {
	e.checks++
	l := e.limits
	if len(b.Samples) > l.Samples || len(b.Exemplars) > l.Extras || len(b.Metadata) > l.Extras {
		return fmt.Errorf("%w: a batch has %d samples, %d exemplars, %d metadata: want at most %d, %d, %d: split it",
			ErrLimit, len(b.Samples), len(b.Exemplars), len(b.Metadata), l.Samples, l.Extras, l.Extras)
	}
	size, cells, states := mostSample*(1+len(b.Samples)+len(e.drops)), 0, e.states
	for i := range b.Samples {
		p := &b.Samples[i]
		s, err := e.known(p.Ref)
		if err != nil {
			return err
		}
		size += e.entry(s)
		if p.ST != 0 || s.st != 0 {
			size += mostStart
		}
		if p.H == nil && p.FH == nil {
			continue
		}
		n, spans, err := e.checkHistogram(p)
		if err != nil {
			return err
		}
		cells += n + spans
		states += max(0, n-s.buckets.Cells())
		size += n*mostCell + spans*mostSpan
	}
	if states > l.BucketStates || cells > l.BucketStates {
		return fmt.Errorf("%w: %d buckets would be remembered: want at most %d: split the batch, or drop series", ErrLimit, max(states, cells), l.BucketStates)
	}
	extras, err := e.checkExtras(b)
	if err != nil {
		return err
	}
	if size += extras; size > min(l.FrameBytes, l.ColumnBytes) {
		return fmt.Errorf("%w: a frame might have %d bytes: want at most %d: split the batch", ErrLimit, size, min(l.FrameBytes, l.ColumnBytes))
	}
	return nil
}

func (e *Encoder) known(ref Ref) (*source, error) {
	if int(ref) >= len(e.series) || !e.series[ref].used {
		return nil, fmt.Errorf("encode series %d: %w", ref, errRef)
	}
	return &e.series[ref], nil
}

// entry is what the series' dictionary entry takes at most, if there will be one
// that was not counted yet.
func (e *Encoder) entry(s *source) int {
	if s.group != none || s.checked == e.checks {
		return 0
	}
	s.checked = e.checks
	n := mostSample
	s.labels.Range(func(l labels.Label) { n += len(l.Name) + len(l.Value) + plane.LabelCost })
	return n
}

// checkHistogram gives the numbers of cells and of spans and custom bounds.
func (e *Encoder) checkHistogram(p *Sample) (cells, spans int, err error) {
	if h := p.H; h != nil {
		cells, spans = plane.Cells(len(h.PositiveBuckets), len(h.NegativeBuckets)), len(h.PositiveSpans)+len(h.NegativeSpans)+len(h.CustomValues)
		err = plane.Check(h)
	} else {
		h := p.FH
		cells, spans = plane.Cells(len(h.PositiveBuckets), len(h.NegativeBuckets)), len(h.PositiveSpans)+len(h.NegativeSpans)+len(h.CustomValues)
		err = plane.CheckFloat(h)
	}
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("encode series %d: %w", p.Ref, err)
	case cells+spans > e.limits.Buckets:
		return 0, 0, fmt.Errorf("%w: a histogram has %d buckets, spans and bounds: want at most %d", ErrLimit, cells+spans, e.limits.Buckets)
	}
	return cells, spans, nil
}

func (e *Encoder) checkExtras(b Batch) (size int, err error) {
	for i := range b.Exemplars {
		x := &b.Exemplars[i]
		s, err := e.known(x.Ref)
		if err != nil {
			return 0, err
		}
		size += e.entry(s)
		n, valid := 0, true
		x.Labels.Range(func(l labels.Label) {
			n += len(l.Name) + len(l.Value)
			valid = valid && l.Name != "" && utf8.ValidString(l.Name) && utf8.ValidString(l.Value)
		})
		if !valid {
			return 0, fmt.Errorf("encode an exemplar of series %d: a label has no name or is no UTF-8", x.Ref)
		}
		if n > e.limits.TextBytes {
			return 0, fmt.Errorf("%w: the labels of an exemplar have %d bytes: want at most %d", ErrLimit, n, e.limits.TextBytes)
		}
		size += n + mostSample + x.Labels.Len()*plane.LabelCost
	}
	for i := range b.Metadata {
		m := &b.Metadata[i]
		s, err := e.known(m.Ref)
		if err != nil {
			return 0, err
		}
		size += e.entry(s)
		n := len(m.Type) + len(m.Unit) + len(m.Help)
		if !utf8.ValidString(string(m.Type)) || !utf8.ValidString(m.Unit) || !utf8.ValidString(m.Help) {
			return 0, fmt.Errorf("encode the metadata of series %d: type, unit or help is no UTF-8", m.Ref)
		}
		if n > e.limits.TextBytes {
			return 0, fmt.Errorf("%w: type, unit and help of a metric have %d bytes: want at most %d", ErrLimit, n, e.limits.TextBytes)
		}
		size += n + mostSample
	}
	return size, nil
}
