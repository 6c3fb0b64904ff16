package global

import (
	"context"
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// attachedLabels answers for label names and values. The store's index answers
// where the names of labels are as stored; series whose labels are moved are gone
// through one by one.
type attachedLabels struct {
	storage.LabelQuerier
	a    *attached
	walk walk
}

// walk hands the stored labels of series that match to each.
type walk func(ctx context.Context, ms []*labels.Matcher, each func(labels.Labels)) (annotations.Annotations, error)

func walkSeries(q storage.Querier, mint, maxt int64) walk {
	return func(ctx context.Context, ms []*labels.Matcher, each func(labels.Labels)) (annotations.Annotations, error) {
		set := q.Select(ctx, false, &storage.SelectHints{Start: mint, End: maxt, Func: "series"}, ms...)
		for set.Next() {
			each(set.At().Labels())
		}
		return set.Warnings(), set.Err()
	}
}

func walkChunks(q storage.ChunkQuerier, mint, maxt int64) walk {
	return func(ctx context.Context, ms []*labels.Matcher, each func(labels.Labels)) (annotations.Annotations, error) {
		set := q.Select(ctx, false, &storage.SelectHints{Start: mint, End: maxt, Func: "series"}, ms...)
		for set.Next() {
			each(set.At().Labels())
		}
		return set.Warnings(), set.Err()
	}
}

// LabelValues implements storage.LabelQuerier.
func (q attachedLabels) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	of := func(ls labels.Labels, found map[string]bool) {
		if v := ls.Get(name); v != "" {
			found[v] = true
		}
	}
	return q.list(ctx, hints, ms, of, func(store []*labels.Matcher) ([]string, annotations.Annotations, error) {
		if v := q.a.labels.Get(name); v != "" {
			names, warnings, err := q.LabelQuerier.LabelNames(ctx, &storage.LabelHints{Limit: 1}, store...)
			if len(names) == 0 {
				return nil, warnings, err
			}
			return []string{v}, warnings, err
		}
		return q.LabelQuerier.LabelValues(ctx, name, hints, store...)
	}, q.a.moved(name))
}

// LabelNames implements storage.LabelQuerier.
func (q attachedLabels) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	of := func(ls labels.Labels, found map[string]bool) {
		ls.Range(func(l labels.Label) { found[l.Name] = true })
	}
	return q.list(ctx, hints, ms, of, func(store []*labels.Matcher) ([]string, annotations.Annotations, error) {
		names, warnings, err := q.LabelQuerier.LabelNames(ctx, hints, store...)
		if len(names) > 0 {
			q.a.labels.Range(func(l labels.Label) { names = append(names, l.Name) })
			slices.Sort(names)
			names = slices.Compact(names)
		}
		return names, warnings, err
	}, true)
}

// list is what the index says, and what of finds in the labels of series whose
// labels are moved, if those can matter. Matchers on moved labels are judged by
// the final labels of every series that the others leave.
func (q attachedLabels) list(
	ctx context.Context, hints *storage.LabelHints, ms []*labels.Matcher, of func(labels.Labels, map[string]bool),
	index func(store []*labels.Matcher) ([]string, annotations.Annotations, error), moved bool,
) (all []string, as annotations.Annotations, err error) {
	store, later, ok := q.a.split(ms)
	if !ok {
		return nil, nil, nil
	}
	found, b := map[string]bool{}, labels.NewBuilder(labels.EmptyLabels())
	each := func(ls labels.Labels) {
		if final := q.a.final(b, ls); matches(final, later) {
			of(final, found)
		}
	}
	if len(later) > 0 {
		as, err = q.walk(ctx, store, each)
	} else {
		if all, as, err = index(store); err != nil {
			return nil, as, err
		}
		for _, clash := range q.a.clashes(moved) {
			more, bad := q.walk(ctx, append(slices.Clone(store), clash...), each)
			as.Merge(more)
			if bad != nil {
				return nil, as, bad
			}
		}
	}
	if err != nil || len(found) == 0 {
		return all, as, err
	}
	all = slices.AppendSeq(all, maps.Keys(found))
	slices.Sort(all)
	limit := 0
	if hints != nil {
		limit = hints.Limit
	}
	return limited(slices.Compact(all), limit), as, nil
}

// clashes select, for each attached label, the series that have it with another
// value: those whose labels are moved.
func (a *attached) clashes(moved bool) (out [][]*labels.Matcher) {
	if !moved {
		return nil
	}
	a.labels.Range(func(l labels.Label) {
		out = append(out, []*labels.Matcher{
			labels.MustNewMatcher(labels.MatchNotEqual, l.Name, ""), labels.MustNewMatcher(labels.MatchNotEqual, l.Name, l.Value),
		})
	})
	return out
}
