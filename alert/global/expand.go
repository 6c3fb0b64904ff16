package global

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
)

// templateVariables are what upstream's alerting rules define.
const templateVariables = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

// expander fills in the templates of one evaluation. External labels are none: an
// alert of the network is the same whichever island evaluates it.
type expander struct {
	query template.QueryFunc
	at    time.Time
	url   *url.URL
}

func (e expander) all(ctx context.Context, r *Rule, vector promql.Vector) []found {
	out := make([]found, len(vector))
	for i, s := range vector {
		out[i] = e.one(ctx, r, s)
	}
	return out
}

func (e expander) one(ctx context.Context, r *Rule, s promql.Sample) found {
	data := template.AlertTemplateData(s.Metric.Map(), nil, e.url.String(), s)
	expand := func(text string) string {
		if !strings.Contains(text, "{{") {
			return text
		}
		t := template.NewTemplateExpander(ctx, templateVariables+text, "__alert_"+r.Alert, data, model.Time(millis(e.at)), e.query, e.url, nil)
		result, err := t.Expand()
		if err != nil {
			return fmt.Sprintf("<error expanding template: %s>", err)
		}
		return result
	}
	b := labels.NewBuilder(s.Metric)
	b.Del(labels.MetricName)
	r.Labels.Range(func(l labels.Label) { b.Set(l.Name, expand(l.Value)) })
	b.Set(labels.AlertName, r.Alert)
	notes := labels.NewScratchBuilder(r.Annotations.Len())
	r.Annotations.Range(func(l labels.Label) { notes.Add(l.Name, expand(l.Value)) })
	return found{labels: b.Labels(), source: s.Metric, annotations: notes.Labels(), value: s.F}
}
