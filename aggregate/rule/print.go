package rule

import (
	"fmt"
	"strings"
)

// String is the compiled form for people: every default written out.
func (s *Set) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "replica_labels %q\nsource_labels %q\n", s.ReplicaLabels, s.SourceLabels)
	for _, r := range s.Rules {
		b.WriteString(r.String())
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(&b, "%s\n", w.Error())
	}
	return b.String()
}

// String is the compiled form for people: every default written out.
func (r *Rule) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	fmt.Fprintf(&b, "rule %d %q\n", r.ID, r.Label)
	line("match %s", r.match)
	line("interval %s staleness %s max_gap %s max_lag %s max_age %s forget_after %s dedup %s",
		short(r.Interval), short(r.Staleness), short(r.MaxGap), short(r.MaxLag), short(r.MaxAge), short(r.ForgetAfter), short(r.Dedup))
	line("by %q without %q drop %q", r.By, r.Without, r.drop)
	for _, s := range r.input {
		line("input %s", s.text)
	}
	for _, o := range r.Outputs {
		name := "<metric>" + r.suffix + o.String()
		if r.KeepMetricNames {
			name = "<metric>"
		}
		if o == Quantiles {
			line("output %s %v", name, r.Quantiles)
			continue
		}
		line("output %s", name)
	}
	for _, s := range r.output {
		line("relabel %s", s.text)
	}
	line("needs %s", r.needs)
	line("late %s early %v births %v keep_input %v distribute %v max_groups %d tenant_label %q",
		r.Late, r.Early, r.Births, r.KeepInput, r.Distribute, r.MaxGroups, r.TenantLabel)
	return b.String()
}

// Selectors are the alternatives that the rule matches; none takes every series.
func (r *Rule) Selectors() Selectors { return r.match }
