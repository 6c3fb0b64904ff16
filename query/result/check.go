package result

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// maxTime bounds the times of a grid: they stay far from overflowing.
const maxTime = math.MaxInt64 / 4

func (g Grid) check(points int) error {
	switch {
	case g.Count < 0 || g.Count > points:
		return fmt.Errorf("%w: its grid has %d times: want at most %d", ErrLimit, g.Count, points)
	case g.Step < 0 || g.Step == 0 && g.Count > 1 || g.Start < -maxTime || g.Start > maxTime || g.Count > 1 && g.Step > maxTime/int64(g.Count):
		return fmt.Errorf("%w: %d times from %d every %d ms are none", ErrGrid, g.Count, g.Start, g.Step)
	}
	return nil
}

// check refuses a result that Decode would refuse.
func (e *encoder) check(r *Result) error {
	l := e.limits
	if n := len(r.Series) + len(r.Chunks); n > l.Series {
		return fmt.Errorf("%w: it has %d series: want at most %d", ErrLimit, n, l.Series)
	}
	if err := r.Grid.check(l.Points); err != nil {
		return err
	}
	points, text, cells := 0, 0, 0
	for i := range r.Series {
		s := &r.Series[i]
		if err := l.checkLabels(s.Metric, &text); err != nil {
			return err
		}
		points += len(s.Floats) + len(s.Histograms)
		for _, p := range s.Histograms {
			n := plane.Cells(len(p.H.PositiveBuckets), len(p.H.NegativeBuckets)) + len(p.H.PositiveSpans) + len(p.H.NegativeSpans)
			if err := plane.CheckFloat(p.H); err != nil {
				return fmt.Errorf("series %s at %d: %w", s.Metric, p.T, err)
			}
			if n > l.Buckets || len(p.H.CustomValues) > l.Buckets {
				return fmt.Errorf("%w: a histogram of series %s has %d buckets and spans, %d bounds: want at most %d", ErrLimit, s.Metric, n, len(p.H.CustomValues), l.Buckets)
			}
			cells += n
		}
	}
	for i := range r.Chunks {
		s := &r.Chunks[i]
		if err := l.checkLabels(s.Labels, &text); err != nil {
			return err
		}
		for _, m := range s.Chunks {
			if err := l.checkChunk(m); err != nil {
				return fmt.Errorf("series %s: %w", s.Labels, err)
			}
			points += m.Chunk.NumSamples()
		}
	}
	if points > l.Points || cells > l.AllBuckets || text > l.ColumnBytes {
		return fmt.Errorf("%w: it has %d points, %d buckets, %d bytes of labels: want at most %d, %d, %d", ErrLimit, points, cells, text, l.Points, l.AllBuckets, l.ColumnBytes)
	}
	return l.checkNotes(r)
}

func (l Limits) checkNotes(r *Result) error {
	if n := len(r.Warnings) + len(r.Infos); n > l.Notes {
		return fmt.Errorf("%w: it has %d annotations: want at most %d", ErrLimit, n, l.Notes)
	}
	for _, notes := range [][]string{r.Warnings, r.Infos} {
		for _, s := range notes {
			if len(s) > l.NoteBytes {
				return fmt.Errorf("%w: an annotation has %d bytes: want at most %d", ErrLimit, len(s), l.NoteBytes)
			}
		}
	}
	return nil
}

// checkLabels adds to text what the labels weigh for a decoder.
func (l Limits) checkLabels(ls labels.Labels, text *int) error {
	n, size, valid := 0, 0, true
	ls.Range(func(l labels.Label) {
		n, size = n+1, size+len(l.Name)+len(l.Value)
		valid = valid && l.Name != "" && l.Value != "" && utf8.ValidString(l.Name) && utf8.ValidString(l.Value)
	})
	*text += size + plane.LabelCost*n
	switch {
	case !valid:
		return fmt.Errorf("series %s: a label has no name or no value, or is no UTF-8", ls)
	case n > l.Labels || size > l.LabelBytes:
		return fmt.Errorf("%w: series %s has %d labels of %d bytes: want at most %d of %d", ErrLimit, ls, n, size, l.Labels, l.LabelBytes)
	}
	return nil
}

func (l Limits) checkChunk(m chunks.Meta) error {
	switch {
	case m.Chunk == nil:
		return fmt.Errorf("a chunk from %d has no data", m.MinTime)
	case m.MaxTime < m.MinTime, m.MinTime < -maxTime:
		return fmt.Errorf("a chunk is from %d to %d", m.MinTime, m.MaxTime)
	}
	return checkData(m.Chunk.Encoding(), m.Chunk.Bytes(), l.Buckets)
}
