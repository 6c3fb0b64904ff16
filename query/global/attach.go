package global

import (
	"context"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// exported is put before a stored label that bears the name of an attached one,
// as Prometheus does when a target exposes a label that the scrape attaches.
const exported = "exported_"

// attached is a store whose series carry further labels.
type attached struct {
	store  storage.SampleAndChunkQueryable
	labels labels.Labels
	touch  func(series int64) // told how many series each selection has; may be nil
}

// Attach returns store with ls on every series. A stored label of the same name
// and another value is kept under the name exported_<name>.
func Attach(store storage.SampleAndChunkQueryable, ls labels.Labels) storage.SampleAndChunkQueryable {
	return &attached{store: store, labels: ls}
}

func (a *attached) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := a.store.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &attachedQuerier{attachedLabels: attachedLabels{LabelQuerier: q, a: a, walk: walkSeries(q, mint, maxt)}, q: q}, nil
}

func (a *attached) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	q, err := a.store.ChunkQuerier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &attachedChunkQuerier{attachedLabels: attachedLabels{LabelQuerier: q, a: a, walk: walkChunks(q, mint, maxt)}, q: q}, nil
}

// split returns what of the matchers the store can judge, those that need the
// final labels, and whether anything can match at all.
func (a *attached) split(ms []*labels.Matcher) (store, later []*labels.Matcher, ok bool) {
	for _, m := range ms {
		switch v := a.labels.Get(m.Name); {
		case v != "":
			if !m.Matches(v) {
				return nil, nil, false
			}
		case a.moved(m.Name):
			later = append(later, m)
		default:
			store = append(store, m)
		}
	}
	if len(store) == 0 { // everything: an empty list would select nothing
		store = append(store, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".*"))
	}
	return store, later, true
}

// moved reports whether final may give a stored label this name.
func (a *attached) moved(name string) bool {
	for strings.HasPrefix(name, exported) {
		name = name[len(exported):]
		if a.labels.Has(name) {
			return true
		}
	}
	return false
}

// final returns the labels of a stored series as seen from outside.
func (a *attached) final(b *labels.Builder, ls labels.Labels) labels.Labels {
	b.Reset(ls)
	a.labels.Range(func(l labels.Label) {
		if v := ls.Get(l.Name); v != "" && v != l.Value {
			name := exported + l.Name
			for ls.Has(name) || a.labels.Has(name) {
				name = exported + name
			}
			b.Set(name, v)
		}
		b.Set(l.Name, l.Value)
	})
	return b.Labels()
}

func matches(ls labels.Labels, ms []*labels.Matcher) bool {
	for _, m := range ms {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

type attachedQuerier struct {
	attachedLabels
	q storage.Querier
}

func (q *attachedQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	store, later, ok := q.a.split(ms)
	if !ok {
		return storage.EmptySeriesSet()
	}
	if hints != nil {
		// The engine leaves out what it did not ask for, and upstream's way of cutting
		// chunks panics where samples near the end are deleted. But timestamp(x @ t offset
		// o) takes the newest sample up to t that is given, and leaves o to the store.
		whole := *hints
		whole.DisableTrimming = !strings.HasSuffix(hints.Func, "timestamp")
		hints = &whole
	}
	set := q.q.Select(ctx, sorted, hints, store...)
	out := &seriesSet{at: -1}
	b := labels.NewBuilder(labels.EmptyLabels())
	for set.Next() {
		s := set.At()
		if ls := q.a.final(b, s.Labels()); matches(ls, later) {
			out.series = append(out.series, relabeled{Series: s, labels: ls})
		}
	}
	if q.a.touch != nil {
		q.a.touch(int64(len(out.series)))
	}
	out.err, out.warnings = set.Err(), set.Warnings()
	if sorted {
		out.sort()
	}
	return out
}

type attachedChunkQuerier struct {
	attachedLabels
	q storage.ChunkQuerier
}

func (q *attachedChunkQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	store, later, ok := q.a.split(ms)
	if !ok {
		return storage.EmptyChunkSeriesSet()
	}
	set := q.q.Select(ctx, sorted, hints, store...)
	out := &chunkSeriesSet{at: -1}
	b := labels.NewBuilder(labels.EmptyLabels())
	for set.Next() {
		s := set.At()
		if ls := q.a.final(b, s.Labels()); matches(ls, later) {
			out.series = append(out.series, relabeledChunks{ChunkSeries: s, labels: ls})
		}
	}
	out.err, out.warnings = set.Err(), set.Warnings()
	if sorted {
		slices.SortFunc(out.series, func(a, b storage.ChunkSeries) int { return labels.Compare(a.Labels(), b.Labels()) })
	}
	return out
}

type relabeled struct {
	storage.Series
	labels labels.Labels
}

func (r relabeled) Labels() labels.Labels { return r.labels }

type relabeledChunks struct {
	storage.ChunkSeries
	labels labels.Labels
}

func (r relabeledChunks) Labels() labels.Labels { return r.labels }

// seriesSet is series that are known from the start.
type seriesSet struct {
	series   []storage.Series
	at       int
	err      error
	warnings annotations.Annotations
}

func (s *seriesSet) Next() bool {
	s.at++
	return s.at < len(s.series)
}
func (s *seriesSet) At() storage.Series                { return s.series[s.at] }
func (s *seriesSet) Err() error                        { return s.err }
func (s *seriesSet) Warnings() annotations.Annotations { return s.warnings }
func (s *seriesSet) sort() {
	slices.SortFunc(s.series, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
}

type chunkSeriesSet struct {
	series   []storage.ChunkSeries
	at       int
	err      error
	warnings annotations.Annotations
}

func (s *chunkSeriesSet) Next() bool {
	s.at++
	return s.at < len(s.series)
}
func (s *chunkSeriesSet) At() storage.ChunkSeries           { return s.series[s.at] }
func (s *chunkSeriesSet) Err() error                        { return s.err }
func (s *chunkSeriesSet) Warnings() annotations.Annotations { return s.warnings }
