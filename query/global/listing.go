package global

import (
	"context"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Labels lists this island's label names, or the values of one.
func (a *Answerer) Labels(ctx context.Context, r *LabelsRequest) ([]string, []Note, error) {
	q, err := Attach(a.options.Storage, a.labels).Querier(r.MinTime, r.MaxTime)
	if err != nil {
		return nil, nil, err
	}
	defer q.Close()
	hints := &storage.LabelHints{Limit: r.Limit}
	var values []string
	var as annotations.Annotations
	if r.Name == "" {
		values, as, err = q.LabelNames(ctx, hints, r.Matchers...)
	} else {
		values, as, err = q.LabelValues(ctx, r.Name, hints, r.Matchers...)
	}
	// They may be of memory that the store takes back.
	for i := range values {
		values[i] = strings.Clone(values[i])
	}
	out, _ := notes(as)
	return values, out, err
}

// Series lists this island's series.
func (a *Answerer) Series(ctx context.Context, r *SeriesRequest) ([]labels.Labels, []Note, error) {
	q, err := Attach(a.options.Storage, a.labels).Querier(r.MinTime, r.MaxTime)
	if err != nil {
		return nil, nil, err
	}
	defer q.Close()
	set := q.Select(ctx, true, &storage.SelectHints{Start: r.MinTime, End: r.MaxTime, Func: "series", Limit: r.Limit}, r.Matchers...)
	spent := &meter{limits: a.options.Limits}
	var all []labels.Labels
	for set.Next() {
		if r.Limit > 0 && len(all) == r.Limit {
			break
		}
		if err := spent.add(1, 0, 0); err != nil {
			return nil, nil, err
		}
		all = append(all, set.At().Labels().Copy())
	}
	out, _ := notes(set.Warnings())
	return all, out, set.Err()
}

// Exemplars lists this island's exemplars.
func (a *Answerer) Exemplars(ctx context.Context, r *ExemplarsRequest) ([]exemplar.QueryResult, error) {
	if a.options.Exemplars == nil {
		return nil, nil
	}
	q, err := a.options.Exemplars.ExemplarQuerier(ctx)
	if err != nil {
		return nil, err
	}
	with := &attached{labels: a.labels}
	var selectors [][]*labels.Matcher
	for _, ms := range r.Selectors {
		if mine, _, ok := with.split(ms); ok {
			selectors = append(selectors, mine)
		}
	}
	if len(selectors) == 0 {
		return nil, nil
	}
	found, err := q.Select(r.MinTime, r.MaxTime, selectors...)
	b, out := labels.NewBuilder(labels.EmptyLabels()), found[:0]
	for _, f := range found {
		f.SeriesLabels = with.final(b, f.SeriesLabels)
		// What matchers say of labels that are moved can be judged only now.
		if slices.ContainsFunc(r.Selectors, func(ms []*labels.Matcher) bool { return matches(f.SeriesLabels, ms) }) {
			out = append(out, f)
		}
	}
	return out, err
}
