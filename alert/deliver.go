package alert

import (
	"context"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/notifier"
)

// Send takes the alerts of one rule, as rules.Sender, to the embedded
// Alertmanager and to the external ones.
func (a *Alert) Send(alerts ...*notifier.Alert) {
	a.annotate(alerts)
	if border := a.border.Load(); border != nil {
		a.embedded.deliver(border, alerts, time.Now())
	}
	a.external.notifier.Send(alerts...)
}

// annotate adds what only others know of alerts, as it is now.
func (a *Alert) annotate(alerts []*notifier.Alert) {
	if a.opts.Annotate == nil {
		return
	}
	for _, n := range alerts {
		b := labels.NewBuilder(n.Annotations)
		for name, value := range a.opts.Annotate(n.Labels) {
			b.Set(name, value)
		}
		n.Annotations = b.Labels()
	}
}

// border is what happens to alerts that leave the rules: the embedded
// Alertmanager sees the same labels that an external one sees.
type border struct {
	external labels.Labels
	relabel  []*relabel.Config
	// resolveAfter is how long an alert without an end lasts.
	resolveAfter time.Duration
}

func newBorder(conf *promconfig.Config, resolveAfter time.Duration) *border {
	return &border{
		external:     conf.GlobalConfig.ExternalLabels,
		relabel:      conf.AlertingConfig.AlertRelabelConfigs,
		resolveAfter: resolveAfter,
	}
}

// cross returns the labels an alert has outside; false if it is dropped.
func (b *border) cross(in labels.Labels) (labels.Labels, bool) {
	lb := labels.NewBuilder(in)
	b.external.Range(func(l labels.Label) {
		if in.Get(l.Name) == "" {
			lb.Set(l.Name, l.Value)
		}
	})
	if !relabel.ProcessBuilder(lb, b.relabel...) {
		return labels.EmptyLabels(), false
	}
	return lb.Labels(), true
}

// deliver puts alerts into the store as the API's POST handler does: the same
// defaults, the same validation, the valid ones in spite of the others.
func (e *embedded) deliver(b *border, in []*notifier.Alert, now time.Time) {
	valid := make([]*amalert.Alert, 0, len(in))
	for _, n := range in {
		if a := e.accept(b, n, now); a != nil {
			valid = append(valid, a)
		}
	}
	e.put(valid)
}

// accept takes one alert over the border; nil if it is dropped.
func (e *embedded) accept(b *border, n *notifier.Alert, now time.Time) *amalert.Alert {
	lset, kept := b.cross(n.Labels)
	if !kept {
		e.metrics.dropped.WithLabelValues("relabelled").Inc()
		return nil
	}
	a := &amalert.Alert{UpdatedAt: now}
	a.Labels, a.Annotations = labelSet(lset, true), labelSet(n.Annotations, false)
	a.StartsAt, a.EndsAt, a.GeneratorURL = n.StartsAt, n.EndsAt, n.GeneratorURL
	defaults(a, now, b.resolveAfter)
	if err := a.Validate(); err != nil {
		e.metrics.dropped.WithLabelValues("invalid").Inc()
		e.logger.Warn("alert of a rule is invalid, dropping it", "labels", lset, "err", err)
		return nil
	}
	state := "firing"
	if a.ResolvedAt(now) {
		state = "resolved"
	}
	e.metrics.handed.WithLabelValues(state).Inc()
	return a
}

func (e *embedded) put(valid []*amalert.Alert) {
	if len(valid) == 0 {
		return
	}
	if err := e.alerts.Put(context.Background(), valid...); err != nil {
		e.metrics.dropped.WithLabelValues("refused").Add(float64(len(valid)))
		e.logger.Error("handing alerts to the embedded Alertmanager", "count", len(valid), "err", err)
	}
}

// defaults sets the times that an alert lacks.
func defaults(a *amalert.Alert, now time.Time, resolveAfter time.Duration) {
	if a.StartsAt.IsZero() {
		a.StartsAt = now
		if !a.EndsAt.IsZero() {
			a.StartsAt = a.EndsAt
		}
	}
	if a.EndsAt.IsZero() {
		a.Timeout = true
		a.EndsAt = now.Add(resolveAfter)
	}
}

func labelSet(l labels.Labels, dropEmpty bool) model.LabelSet {
	out := make(model.LabelSet, l.Len())
	l.Range(func(l labels.Label) {
		if l.Value != "" || !dropEmpty {
			out[model.LabelName(l.Name)] = model.LabelValue(l.Value)
		}
	})
	return out
}
