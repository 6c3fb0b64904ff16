package global

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// alertSeries are written for every active alert, as upstream's rules do.
const (
	alertSeries     = "ALERTS"
	alertStateLabel = "alertstate"
)

// recorder writes the results of one group's rules, and ends the series of those
// that are no more with a marker of staleness.
type recorder struct {
	store storage.AppendableV2
	last  map[string]map[string]labels.Labels // by rule, by series
}

// recorded gives the elements of an answer the labels of a recording rule.
func recorded(r *Rule, vector promql.Vector, limit int) (promql.Vector, error) {
	if limit > 0 && len(vector) > limit {
		return nil, fmt.Errorf("%d series, more than the group's limit of %d", len(vector), limit)
	}
	out := make(promql.Vector, len(vector))
	b := labels.NewBuilder(labels.EmptyLabels())
	for i, s := range vector {
		b.Reset(s.Metric)
		b.Set(labels.MetricName, r.Record)
		r.Labels.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
		s.Metric = b.Labels()
		out[i] = s
	}
	if out.ContainsSameLabelset() {
		return nil, errors.New("two series have the same labels: keep a label that tells them apart, or aggregate")
	}
	return out, nil
}

// shown are the series ALERTS of a rule.
func shown(s *RuleState) promql.Vector {
	var out promql.Vector
	for i := range s.Alerts {
		a := &s.Alerts[i]
		if a.Phase == Resolved {
			continue
		}
		b := labels.NewBuilder(a.Labels)
		b.Set(labels.MetricName, alertSeries)
		b.Set(alertStateLabel, string(a.Phase))
		out = append(out, promql.Sample{Metric: b.Labels(), F: 1})
	}
	return out
}

// write stores a rule's samples at a time. What the store cannot take because it
// has a sample of that time or later is no error: another primary's turn, or a
// clock that was set back.
func (r *recorder) write(ctx context.Context, rule string, vector promql.Vector, at time.Time) error {
	app, errs := r.store.AppenderV2(ctx), []error(nil)
	put := func(ls labels.Labels, f float64, s *promql.Sample) bool {
		var err error
		if s != nil && s.H != nil {
			_, err = app.Append(0, ls, 0, millis(at), 0, nil, s.H, storage.AppendV2Options{})
		} else {
			_, err = app.Append(0, ls, 0, millis(at), f, nil, nil, storage.AppendV2Options{})
		}
		if err != nil && !errors.Is(err, storage.ErrOutOfOrderSample) && !errors.Is(err, storage.ErrTooOldSample) &&
			!errors.Is(err, storage.ErrDuplicateSampleForTimestamp) && !errors.Is(err, storage.ErrOutOfBounds) {
			errs = append(errs, err)
		}
		return err == nil
	}
	now := make(map[string]labels.Labels, len(vector))
	for i := range vector {
		s := &vector[i]
		if put(s.Metric, s.F, s) {
			now[s.Metric.String()] = s.Metric
		}
	}
	for key, ls := range r.last[rule] {
		if _, goesOn := now[key]; !goesOn {
			put(ls, math.Float64frombits(value.StaleNaN), nil)
		}
	}
	if err := app.Commit(); err != nil {
		return errors.Join(append(errs, fmt.Errorf("store the results: %w", err))...)
	}
	r.last[rule] = now
	return errors.Join(errs...)
}

// end marks every series of the group as ended: it goes on at another island.
func (r *recorder) end(ctx context.Context, at time.Time) error {
	var errs []error
	for _, rule := range sortedKeys(r.last) {
		errs = append(errs, r.write(ctx, rule, nil, at))
	}
	return errors.Join(errs...)
}
