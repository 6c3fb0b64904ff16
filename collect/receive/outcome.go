package receive

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
)

// outcome is what became of one OTLP request. Prometheus' handler knows only one
// error for all of it, takes refused samples for a reason to roll back, and does
// not see an error of Commit.
type outcome struct {
	app                *outcomeAppender
	floats, histograms int
	problems           problems
	err                error // why nothing is stored, nil if the rest is
}

type outcomeKey struct{}

// abandon rolls back what a panic has left open.
func (o *outcome) abandon() {
	if o.app != nil && !o.app.done {
		_ = o.app.AppenderV2.Rollback() // the panic is the news
	}
}

// judge returns the refusal to be answered, or nil for a success that may be
// partial.
func (o *outcome) judge(a *answer) *refusal {
	said := strings.TrimSpace(a.text.String())
	switch {
	case o.err != nil:
		return fatal("storing the request, of which nothing is stored", o.err)
	case o.app == nil && a.status != http.StatusOK:
		return refuse(http.StatusBadRequest, reasonMalformed, "decoding the request: %s", said)
	case o.floats+o.histograms == 0 && len(o.problems.all) > 0:
		return &refusal{status: http.StatusBadRequest, err: errors.New(o.problems.text(0))}
	case a.status != http.StatusOK && o.floats+o.histograms == 0:
		return refuse(http.StatusBadRequest, reasonTranslation, "translating the request: %s", said)
	case a.status != http.StatusOK:
		o.problems.add(reasonTranslation, 0, func() string { return said })
	}
	return nil
}

// outcomeAppendable hands each request's outcome what happens in its transaction.
type outcomeAppendable struct {
	next   storage.AppendableV2
	limits Limits
}

func (a *outcomeAppendable) AppenderV2(ctx context.Context) storage.AppenderV2 {
	o, _ := ctx.Value(outcomeKey{}).(*outcome)
	if o == nil {
		o = &outcome{}
	}
	o.app = &outcomeAppender{AppenderV2: a.next.AppenderV2(flow.Strict(ctx)), ctx: ctx, outcome: o, limits: a.limits}
	return o.app
}

type outcomeAppender struct {
	storage.AppenderV2
	ctx     context.Context
	outcome *outcome
	limits  Limits
	done    bool
}

// Append notes refusals that concern one sample and hides them, so that the
// translation goes on.
func (a *outcomeAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	o := a.outcome
	if no := a.checkLabels(ls); no != nil {
		o.problems.add(no.reason, 1, no.text)
		return 0, nil
	}
	next, err := a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if _, ok := partial(err); err == nil || ok {
		if h != nil || fh != nil {
			o.histograms++
		} else {
			o.floats++
		}
		return next, err
	}
	reason := refusedFor(err)
	if reason == "" {
		o.err = errors.Join(o.err, err)
		return 0, err
	}
	o.problems.add(reason, 1, func() string { return fmt.Sprintf("%v: t=%d for series %s", err, t, ls) })
	return 0, nil
}

func (a *outcomeAppender) checkLabels(ls labels.Labels) *badLabels {
	if n := ls.Len(); n > a.limits.MaxLabels {
		return &badLabels{reasonTooManyLabels, func() string {
			return fmt.Sprintf("a series has %d labels, the limit is %d (max_labels)", n, a.limits.MaxLabels)
		}}
	}
	err := ls.Validate(func(l labels.Label) error {
		if len(l.Name) > int(a.limits.MaxLabelNameBytes) {
			return fmt.Errorf("a label name has %d bytes, the limit is %s (max_label_name_bytes)", len(l.Name), a.limits.MaxLabelNameBytes)
		}
		if len(l.Value) > int(a.limits.MaxLabelValueBytes) {
			return fmt.Errorf("a label value has %d bytes, the limit is %s (max_label_value_bytes)", len(l.Value), a.limits.MaxLabelValueBytes)
		}
		return nil
	})
	if err != nil {
		return &badLabels{reasonLabelTooLong, err.Error}
	}
	return nil
}

// Commit keeps its error for the outcome: Prometheus' handler loses it.
func (a *outcomeAppender) Commit() error {
	a.done = true
	if a.outcome.err != nil {
		return errors.Join(a.outcome.err, a.AppenderV2.Rollback())
	}
	err := a.AppenderV2.Commit()
	a.outcome.err = err
	return err
}

// Rollback is called if anything could not be translated. What could be is kept
// nevertheless, unless the storage or the sender has given up.
func (a *outcomeAppender) Rollback() error {
	if a.outcome.err == nil && a.ctx.Err() == nil && a.outcome.floats+a.outcome.histograms > 0 {
		return a.Commit()
	}
	a.done = true
	if a.outcome.err == nil {
		a.outcome.floats, a.outcome.histograms = 0, 0
		a.outcome.err = a.ctx.Err()
	}
	return a.AppenderV2.Rollback()
}
