package global

import (
	"errors"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// vet refuses an answer that cannot be what was asked for, before any of it is
// used: its islands may be broken, or not what they were.
type vet struct {
	label, name string
	seen        map[uint64][]labels.Labels // of the leaf or selector under way
}

// leaf checks the rows of l.
func (v *vet) leaf(l *rewrite.Leaf, rows []promql.Series) error {
	v.seen = make(map[uint64][]labels.Labels, len(rows))
	for i := range rows {
		if err := v.row(l, &rows[i]); err != nil {
			return fmt.Errorf("row %d of %s: %w", i, l.Expr, err)
		}
	}
	return nil
}

func (v *vet) row(l *rewrite.Leaf, s *promql.Series) error {
	if err := v.labels(s.Metric); err != nil {
		return err
	}
	switch got := s.Metric.Get(v.label); {
	case l.Keeps && got != v.name:
		return fmt.Errorf("label %s is %q, want %q", v.label, got, v.name)
	case !l.Keeps && got != "":
		return fmt.Errorf("label %s is %q where there should be none", v.label, got)
	case l.Floats && len(s.Histograms) > 0:
		return errors.New("histograms where only floats can be")
	case len(s.Floats)+len(s.Histograms) == 0:
		return errors.New("no points")
	}
	// Both lists must be in order, and have no time in common.
	last := int64(math.MinInt64)
	f, h := s.Floats, s.Histograms
	for len(f) > 0 || len(h) > 0 {
		var t int64
		if len(h) == 0 || len(f) > 0 && f[0].T <= h[0].T {
			t = f[0].T
			if value.IsStaleNaN(f[0].F) {
				return fmt.Errorf("a staleness marker at %d", t)
			}
			f = f[1:]
		} else {
			t = h[0].T
			if err := fits(h[0].H); err != nil {
				return fmt.Errorf("the histogram at %d: %w", t, err)
			}
			h = h[1:]
		}
		if t <= last {
			return fmt.Errorf("a point at %d after one at %d", t, last)
		}
		if !l.Has(t) {
			return fmt.Errorf("a point at %d, which was not asked for", t)
		}
		last = t
	}
	return nil
}

// labels checks that a label set is one, and new.
func (v *vet) labels(ls labels.Labels) error {
	last, problem := "", error(nil)
	ls.Range(func(l labels.Label) {
		if l.Name <= last || l.Value == "" {
			problem = fmt.Errorf("labels %s are not in order, not unique or empty", ls)
		}
		last = l.Name
	})
	if problem != nil {
		return problem
	}
	hash := ls.Hash()
	for _, other := range v.seen[hash] {
		if labels.Equal(other, ls) {
			return fmt.Errorf("labels %s for the second time", ls)
		}
	}
	v.seen[hash] = append(v.seen[hash], ls)
	return nil
}

// fits checks what the engine relies on. Bucket counts may be negative: they can
// be the result of a subtraction.
func fits(h *histogram.FloatHistogram) error {
	if h == nil || !histogram.IsKnownSchema(h.Schema) {
		return errors.New("no schema that is known")
	}
	for _, side := range []struct {
		spans   []histogram.Span
		buckets []float64
	}{{h.PositiveSpans, h.PositiveBuckets}, {h.NegativeSpans, h.NegativeBuckets}} {
		var buckets, index int64
		for i, s := range side.spans {
			if i > 0 && s.Offset < 0 {
				return fmt.Errorf("span %d goes back by %d", i, -int64(s.Offset))
			}
			buckets += int64(s.Length)
			index += int64(s.Offset) + int64(s.Length)
		}
		if buckets != int64(len(side.buckets)) || index > math.MaxInt32 {
			return fmt.Errorf("spans for %d buckets, %d buckets", buckets, len(side.buckets))
		}
	}
	if !h.UsesCustomBuckets() {
		return nil
	}
	if len(h.NegativeBuckets) > 0 || len(h.PositiveBuckets) > len(h.CustomValues)+1 {
		return errors.New("more buckets than bounds")
	}
	for i := 1; i < len(h.CustomValues); i++ {
		if !(h.CustomValues[i] > h.CustomValues[i-1]) {
			return errors.New("bounds that do not rise")
		}
	}
	return nil
}

// raw checks the series of a selection and decodes each sample once.
func (v *vet) raw(r *Raw, series []RawSeries) (samples int64, err error) {
	v.seen = make(map[uint64][]labels.Labels, len(series))
	for i := range series {
		s := &series[i]
		if err := v.labels(s.Labels); err != nil {
			return 0, fmt.Errorf("raw series %d: %w", i, err)
		}
		if got := s.Labels.Get(v.label); got != v.name {
			return 0, fmt.Errorf("raw series %d: label %s is %q, want %q", i, v.label, got, v.name)
		}
		if !matches(s.Labels, r.Matchers) {
			return 0, fmt.Errorf("raw series %d: %s was not asked for", i, s.Labels)
		}
		n, err := s.decode()
		if err != nil {
			return 0, fmt.Errorf("raw series %d: %s: %w", i, s.Labels, err)
		}
		samples += n
	}
	return samples, nil
}
