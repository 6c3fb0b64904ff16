package global

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// source is what the remainder reads: rows of leaves, and raw series.
type source struct {
	session *session
	plan    *rewrite.Plan
}

func (s *source) Querier(int64, int64) (storage.Querier, error) {
	return &sourceQuerier{LabelQuerier: storage.NoopQuerier(), source: s}, nil
}

type sourceQuerier struct {
	storage.LabelQuerier
	source *source
}

// Select finds what was gathered. Only a selection that the plan could not
// foresee, as those of info(), asks islands again, and only once it is read.
func (q *sourceQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	s := q.source.session
	for _, m := range ms {
		if m.Name != rewrite.LeafLabel {
			continue
		}
		id, err := strconv.Atoi(m.Value)
		if err != nil || id < 0 || id >= len(q.source.plan.Leaves) {
			return storage.ErrSeriesSet(fmt.Errorf("BUG: the remainder reads leaf %q of %d", m.Value, len(q.source.plan.Leaves)))
		}
		return s.leaves[q.source.plan.Leaves[id].Key()].set(sorted)
	}
	if hints == nil {
		return storage.ErrSeriesSet(fmt.Errorf("BUG: a selection of %s without hints", selector(ms)))
	}
	raw := rewrite.Raw{Matchers: slices.Clone(ms), MinTime: hints.Start, MaxTime: hints.End}
	return &lateSet{open: func() storage.SeriesSet {
		if err := s.gather(ctx, nil, []rewrite.Raw{raw}); err != nil {
			return storage.ErrSeriesSet(err)
		}
		return s.raw[rawKey(raw.Matchers, raw.MinTime, raw.MaxTime)].set(sorted)
	}}
}

func (p *part) set(sorted bool) storage.SeriesSet {
	out := &seriesSet{series: p.series, at: -1, warnings: p.notes}
	if sorted {
		out.series = slices.Clone(p.series)
		out.sort()
	}
	return out
}

// lateSet is a set that is opened when it is first read.
type lateSet struct {
	open func() storage.SeriesSet
	set  storage.SeriesSet
}

func (l *lateSet) Next() bool {
	if l.set == nil {
		l.set = l.open()
	}
	return l.set.Next()
}

func (l *lateSet) At() storage.Series { return l.set.At() }

func (l *lateSet) Err() error {
	if l.set == nil {
		return nil
	}
	return l.set.Err()
}

func (l *lateSet) Warnings() annotations.Annotations {
	if l.set == nil {
		return nil
	}
	return l.set.Warnings()
}
