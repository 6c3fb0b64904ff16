package dimension

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	promvalue "github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// listAtMost bounds how many values of one rule are looked at; it is far above
// any sensible cap.
const listAtMost = 200_000

// source looks at the samples that one rule reads.
type source struct {
	queryable storage.Queryable
	plan      *plan
	asked     *asked // in place of queryable
}

// open returns a querier of all that an evaluation as of now may read.
func (s source) open(now time.Time) (storage.Querier, int64, error) {
	mint := now.Add(-s.plan.reach).UnixMilli()
	q, err := s.queryable.Querier(mint, now.UnixMilli())
	if err != nil {
		return nil, 0, fmt.Errorf("opening the store to list values of %s: %w", s.plan.name, err)
	}
	return q, mint, nil
}

// list returns every value in the index of what an evaluation may read, by key.
// Some may have no sample any more. more tells that there are others still.
func (s source) list(ctx context.Context, now time.Time) (found map[string]value, more bool, err error) {
	if s.asked != nil {
		return s.asked.list(ctx, now)
	}
	q, mint, err := s.open(now)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = q.Close() }()
	l := lister{ctx: ctx, q: q, mint: mint, maxt: now.UnixMilli(), names: s.plan.splitter.labels, found: map[string]value{}}
	for _, set := range s.plan.selectors {
		if err := l.walk(nil, set); err != nil {
			return nil, false, fmt.Errorf("listing values of %s: %w", s.plan.name, err)
		}
	}
	return l.found, l.full, nil
}

type lister struct {
	ctx        context.Context
	q          storage.Querier
	mint, maxt int64 // ms
	names      []string
	found      map[string]value
	full       bool
}

// walk goes through the values of one label after the other, each under the
// matchers of those before it.
func (l *lister) walk(prefix value, ms []*labels.Matcher) error {
	if len(prefix) == len(l.names) {
		if len(l.found) >= listAtMost {
			l.full = true
			return nil
		}
		v := slices.Clone(prefix)
		l.found[v.key(l.names)] = v
		return nil
	}
	name := l.names[len(prefix)]
	got, _, err := l.q.LabelValues(l.ctx, name, &storage.LabelHints{Limit: listAtMost}, ms...)
	if err != nil {
		return err
	}
	all := make([]string, 0, len(got)+1)
	for _, one := range got {
		all = append(all, string([]byte(one))) // it may not outlive the querier
	}
	without, err := l.lacking(name, ms)
	if err != nil {
		return err
	}
	if without {
		all = append(all, "")
	}
	for _, one := range all {
		if l.full {
			return nil
		}
		at := append(slices.Clip(prefix), one)
		if err := l.walk(at, with(ms, labels.MustNewMatcher(labels.MatchEqual, name, one))); err != nil {
			return err
		}
	}
	return nil
}

func with(ms []*labels.Matcher, more ...*labels.Matcher) []*labels.Matcher {
	return append(slices.Clip(ms), more...)
}

// lacking reports whether some series have no such label.
func (l *lister) lacking(name string, ms []*labels.Matcher) (bool, error) {
	set := l.q.Select(l.ctx, false, &storage.SelectHints{Start: l.mint, End: l.maxt, Func: "series", Limit: 1},
		with(ms, labels.MustNewMatcher(labels.MatchEqual, name, ""))...)
	return set.Next(), set.Err()
}

// alive reports which of some values have a sample that an evaluation as of now
// may read: an expression over the others is empty.
func (s source) alive(ctx context.Context, now time.Time, values []value) ([]bool, error) {
	out := make([]bool, len(values))
	if s.asked != nil {
		for i, v := range values {
			out[i] = s.asked.series[v.key(s.plan.splitter.labels)] > 0
		}
		return out, nil
	}
	if len(values) == 0 {
		return out, nil
	}
	q, mint, err := s.open(now)
	if err != nil {
		return nil, err
	}
	defer func() { _ = q.Close() }()
	for i, v := range values {
		ms := v.matchers(s.plan.splitter.labels)
		for _, set := range s.plan.selectors {
			found, err := sampled(ctx, q, mint, now.UnixMilli(), with(set, ms...))
			if err != nil {
				return nil, fmt.Errorf("looking for samples of %s: %w", v.key(s.plan.splitter.labels), err)
			}
			if found {
				out[i] = true
				break
			}
		}
	}
	return out, nil
}

// sampled reports whether a series has a sample in [mint, maxt], both in ms,
// that is no staleness marker.
func sampled(ctx context.Context, q storage.Querier, mint, maxt int64, ms []*labels.Matcher) (bool, error) {
	set := q.Select(ctx, false, &storage.SelectHints{Start: mint, End: maxt}, ms...)
	var it chunkenc.Iterator
	for set.Next() {
		it = set.At().Iterator(it)
		for kind := it.Seek(mint); kind != chunkenc.ValNone; kind = it.Next() {
			if it.AtT() > maxt {
				break
			}
			if !staleMarker(it, kind) {
				return true, nil
			}
		}
		if err := it.Err(); err != nil {
			return false, err
		}
	}
	return false, set.Err()
}

func staleMarker(it chunkenc.Iterator, kind chunkenc.ValueType) bool {
	switch kind {
	case chunkenc.ValFloat:
		_, v := it.At()
		return promvalue.IsStaleNaN(v)
	default:
		_, h := it.AtFloatHistogram(nil)
		return h != nil && promvalue.IsStaleNaN(h.Sum)
	}
}

// count returns the number of series of one value.
func (s source) count(ctx context.Context, now time.Time, values []value) ([]int, error) {
	if s.asked != nil {
		return s.asked.count(values), nil
	}
	q, mint, err := s.open(now)
	if err != nil {
		return nil, err
	}
	defer func() { _ = q.Close() }()
	out := make([]int, len(values))
	for i, v := range values {
		ms := v.matchers(s.plan.splitter.labels)
		for _, sel := range s.plan.selectors {
			set := q.Select(ctx, false, &storage.SelectHints{Start: mint, End: now.UnixMilli(), Func: "series"}, with(sel, ms...)...)
			for set.Next() {
				out[i]++
			}
			if err := set.Err(); err != nil {
				return nil, fmt.Errorf("counting series of %s: %w", v.key(s.plan.splitter.labels), err)
			}
		}
	}
	return out, nil
}
