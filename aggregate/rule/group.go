package rule

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// Group returns the labels of the group that a matching series belongs to: after
// drop_input_labels, input_relabel_configs, by or without; the metric name stays
// unless without names it. Replica labels are never part of a group. ok is false
// where relabelling drops the series. b is scratch memory.
func (r *Rule) Group(in labels.Labels, b *labels.Builder) (group labels.Labels, ok bool) {
	b.Reset(in)
	b.Del(r.drop...)
	b.Del(r.replicaLabels...)
	if !r.input.apply(b) {
		return labels.EmptyLabels(), false
	}
	switch {
	case len(r.Without) > 0:
		b.Del(r.Without...)
	case len(r.By) > 0:
		for _, l := range all(b) { // Keep would leave what relabelling has added
			if !slices.Contains(r.By, l.Name) {
				b.Del(l.Name)
			}
		}
	}
	return b.Labels(), true
}

// Series returns the labels of an output's series of a group, with the extra
// labels (vmrange, quantile): name and suffix as vmagent writes them, then
// output_relabel_configs. ok is false where relabelling drops it.
func (r *Rule) Series(group labels.Labels, o Output, extra ...labels.Label) (series labels.Labels, ok bool) {
	b, ok := r.builders.Get().(*labels.Builder)
	if !ok {
		b = labels.NewBuilder(labels.EmptyLabels())
	}
	defer r.builders.Put(b)
	b.Reset(group)
	if !r.KeepMetricNames {
		b.Set(labels.MetricName, group.Get(labels.MetricName)+r.suffix+o.String())
	}
	for _, l := range extra {
		b.Set(l.Name, l.Value)
	}
	if !r.output.apply(b) {
		return labels.EmptyLabels(), false
	}
	return b.Labels(), true
}

// Overflow is the group that takes what is over MaxGroups: the labels of by (but
// the tenant's, which stays) say "overflow", with without or neither there is the
// label overflow="true" alone, beside the metric name and the tenant.
func (r *Rule) Overflow(group labels.Labels) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, keep := range []string{labels.MetricName, r.TenantLabel} {
		if keep != "" {
			b.Set(keep, group.Get(keep))
		}
	}
	if len(r.By) == 0 {
		return b.Set("overflow", "true").Labels()
	}
	for _, name := range r.By {
		if name != labels.MetricName && name != r.TenantLabel {
			b.Set(name, "overflow")
		}
	}
	return b.Labels()
}

// Tenant is the value of the tenant label in a group, or "".
func (r *Rule) Tenant(group labels.Labels) string {
	if r.TenantLabel == "" {
		return ""
	}
	return group.Get(r.TenantLabel)
}

// ByNames are the labels of by without the metric name.
func (r *Rule) ByNames() []string {
	return slices.DeleteFunc(slices.Clone(r.By), func(n string) bool { return n == labels.MetricName })
}
