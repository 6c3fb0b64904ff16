package dimension

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// compiler turns declarations into plans.
type compiler struct {
	parser   parser.Parser
	interval time.Duration // of rules that name none
	lookback time.Duration // of instant selectors
}

// plan is a declaration, checked and proven. It is immutable.
type plan struct {
	name     string
	record   string
	labels   labels.Labels
	interval time.Duration
	offset   time.Duration
	spread   time.Duration
	maxRules int
	all      bool // scope all
	ignore   bool // missing islands

	splitter splitter
	// whole is the undivided rule, filters included; base is what narrow rules
	// are made from: split labels need no filter there, they have one value.
	whole, base string
	// selectors are the distinct matcher sets of the divided selectors, filters
	// included: where values come from.
	selectors [][]*labels.Matcher
	// reach is how far before an evaluation's time, offset included, a divided
	// selector may read.
	reach time.Duration

	parser parser.Parser
}

// identity is equal for plans that do the same.
func (p *plan) identity() string {
	return fmt.Sprintf("%q %q %q %s %s %s %s %d %t %t %q %s", p.name, p.record, p.whole, p.labels, p.interval, p.offset, p.spread, p.maxRules, p.all, p.ignore, p.splitter.labels, p.reach)
}

// compilation collects the findings about one declaration.
type compilation struct {
	compiler
	rule  Rule
	found []finding
}

func (k *compilation) refuse(path, format string, args ...any) {
	k.found = append(k.found, finding{path: path, message: fmt.Sprintf(format, args...), offset: -1})
}

func (k *compilation) warn(path, format string, args ...any) {
	k.found = append(k.found, finding{path: path, message: fmt.Sprintf(format, args...), offset: -1, warning: true})
}

func (k *compilation) ok() bool {
	return !slices.ContainsFunc(k.found, func(f finding) bool { return !f.warning })
}

func (c compiler) compile(r Rule) (*plan, []finding) {
	c.interval = cmp.Or(c.interval, defaultInterval)
	c.lookback = cmp.Or(c.lookback, 5*time.Minute)
	k := &compilation{compiler: c, rule: r}
	p := &plan{
		name: r.name(), record: r.Record, all: r.Scope == ScopeAll, ignore: r.OnMissing == OnMissingIgnore, parser: c.parser,
		splitter: splitter{labels: r.SplitBy},
	}
	if r.Expr != "" {
		p.splitter.metric = r.Metric
	}
	k.names()
	k.filters()
	k.timing(p)
	body := k.body()
	if body != nil {
		k.proof(p, body)
	}
	if !k.ok() {
		return nil, k.found
	}
	k.finish(p, body)
	if !k.ok() {
		return nil, k.found
	}
	return p, k.found
}

func (k *compilation) names() {
	r := k.rule
	if !model.UTF8Validation.IsValidMetricName(r.Record) {
		k.refuse("record", "%q is no metric name: name the series that the rule records, such as mesh:requests:rate1m", r.Record)
	}
	if len(r.SplitBy) == 0 {
		k.refuse("split_by", "is empty: name the labels whose values divide the rule, or declare an ordinary rule")
	}
	k.labelList("split_by", r.SplitBy)
	k.labelList("group_by", r.GroupBy)
	k.labelList("without", r.Without)
	for _, l := range r.SplitBy {
		if l == labels.MetricName {
			k.refuse("split_by", "cannot divide by the metric name, which most functions drop: declare one rule per metric")
		}
		if _, is := r.Labels[l]; is {
			k.refuse("labels."+l, "would overwrite the split label %q, so that narrow rules record the same series: take it out", l)
		}
	}
	for _, l := range slices.Sorted(maps.Keys(r.Labels)) {
		if !model.UTF8Validation.IsValidLabelName(l) || l == labels.MetricName {
			k.refuse("labels."+l, "%q is no label name that a rule can set: correct it", l)
		}
	}
	switch r.Scope {
	case "", ScopeLocal, ScopeAll:
	default:
		k.refuse("scope", "%q must be local (each island over its own samples) or all (over those of all islands, values shared out)", r.Scope)
	}
	switch r.OnMissing {
	case "":
	case OnMissingKeep, OnMissingIgnore:
		if r.Scope != ScopeAll {
			k.refuse("on_missing", "is about islands that are missing, which a rule over this island's own samples does not ask: say scope: all, or take it out")
		}
	case "fire":
		k.refuse("on_missing", "fire is for alerts: a recording rule keeps or ignores")
	default:
		k.refuse("on_missing", "%q must be keep (record nothing while islands are missing) or ignore (record what there is)", r.OnMissing)
	}
	if r.MaxRules < 0 {
		k.refuse("max_rules", "%d must be 1 or more: remove it to get %d", r.MaxRules, defaultMaxRules)
	}
}

func (k *compilation) labelList(field string, list []string) {
	for i, l := range list {
		switch {
		case !model.UTF8Validation.IsValidLabelName(l):
			k.refuse(fmt.Sprintf("%s[%d]", field, i), "%q is no label name: correct it", l)
		case slices.Contains(list[:i], l):
			k.refuse(fmt.Sprintf("%s[%d]", field, i), "%q stands twice: keep one", l)
		}
	}
}

func (k *compilation) filters() {
	for _, l := range slices.Sorted(maps.Keys(k.rule.Filter)) {
		if !model.UTF8Validation.IsValidLabelName(l) {
			k.refuse("filter."+l, "%q is no label name: correct it", l)
			continue
		}
		if _, err := labels.NewMatcher(labels.MatchRegexp, l, k.rule.Filter[l]); err != nil {
			k.refuse("filter."+l, "%v: correct the regular expression", err)
		}
	}
}

func (k *compilation) timing(p *plan) {
	r := k.rule
	for field, d := range map[string]model.Duration{"interval": r.Interval, "query_offset": r.QueryOffset, "range": r.Range} {
		if d < 0 {
			k.refuse(field, "%s is negative: write how long it lasts", d)
		}
	}
	p.interval = cmp.Or(time.Duration(r.Interval), k.interval)
	p.offset = time.Duration(r.QueryOffset)
	p.maxRules = cmp.Or(r.MaxRules, defaultMaxRules)
	p.spread = min(p.interval/4, defaultSpread)
	if r.Spread == nil {
		return
	}
	p.spread = time.Duration(*r.Spread)
	if p.spread < 0 || p.spread >= p.interval {
		k.refuse("spread", "%s must be 0 or more and shorter than the interval of %s: remove it to get %s", *r.Spread, model.Duration(p.interval), model.Duration(min(p.interval/4, defaultSpread)))
	}
}

// body is the expression before grouping: what was written, or made of the metric.
func (k *compilation) body() parser.Expr {
	r := k.rule
	if r.Expr == "" {
		return k.fromMetric()
	}
	if r.Function != "" {
		k.refuse("function", "belongs to a metric without expr: write it into expr, or remove expr")
	}
	if r.Range != 0 {
		k.refuse("range", "belongs to a metric without expr: write it into expr, or remove expr")
	}
	e, err := k.parser.ParseExpr(r.Expr)
	if err == nil {
		return e
	}
	var errs parser.ParseErrors
	if !errors.As(err, &errs) {
		k.refuse("expr", "%v", err)
		return nil
	}
	for _, one := range errs {
		k.found = append(k.found, finding{path: "expr", message: one.Err.Error(), offset: int(one.PositionRange.Start)})
	}
	return nil
}

func (k *compilation) fromMetric() parser.Expr {
	r := k.rule
	if r.Metric == "" {
		k.refuse("expr", "is missing: write the expression of the undivided rule, or a metric and a function")
		return nil
	}
	selector := (&parser.VectorSelector{Name: r.Metric, LabelMatchers: []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, r.Metric),
	}}).String()
	text := selector
	if r.Function != "" {
		f, known := parser.Functions[r.Function]
		if !known || len(f.ArgTypes) == 0 || len(f.ArgTypes)-max(f.Variadic, 0) > 1 {
			k.refuse("function", "%q is no PromQL function of one argument: correct it, or write the whole in expr", r.Function)
			return nil
		}
		if f.ArgTypes[0] == parser.ValueTypeMatrix {
			window := cmp.Or(time.Duration(r.Range), time.Duration(r.Interval), k.interval)
			text += fmt.Sprintf("[%s]", model.Duration(window))
		}
		text = fmt.Sprintf("%s(%s)", r.Function, text)
	}
	e, err := k.parser.ParseExpr(text)
	if err != nil {
		k.refuse("metric", "makes the expression %s, which is wrong: %v", text, err)
		return nil
	}
	return e
}

// proof checks the body, then the grouping around it.
func (k *compilation) proof(p *plan, body parser.Expr) {
	if err := Split(body, p.splitter.labels, p.splitter.metric); err != nil {
		f := finding{path: "expr", message: err.Error(), offset: -1}
		var r *Refusal
		if k.rule.Expr == "" {
			f.path = "function"
		} else if errors.As(err, &r) {
			f.offset = r.Offset
		}
		k.found = append(k.found, f)
	}
	r := k.rule
	if len(r.GroupBy) > 0 && len(r.Without) > 0 {
		k.refuse("without", "cannot stand beside group_by: keep one")
		return
	}
	if r.Aggregate != "" && len(r.GroupBy) == 0 && len(r.Without) == 0 {
		k.refuse("aggregate", "needs group_by or without: add one")
	}
	if _, ok := aggregator(r.Aggregate); !ok {
		k.refuse("aggregate", "%q must be one of sum, avg, min, max, count, group, stddev, stdvar; write others in expr", r.Aggregate)
	}
	for _, l := range r.SplitBy {
		if len(r.GroupBy) > 0 && !slices.Contains(r.GroupBy, l) {
			k.refuse("group_by", "does not keep the split label %q, so that one group spans many values: add it, or take it out of split_by", l)
		}
		if slices.Contains(r.Without, l) {
			k.refuse("without", "drops the split label %q, so that one group spans many values: take it out, or out of split_by", l)
		}
	}
}

func aggregator(name string) (parser.ItemType, bool) {
	switch name {
	case "", "sum":
		return parser.SUM, true
	case "avg":
		return parser.AVG, true
	case "min":
		return parser.MIN, true
	case "max":
		return parser.MAX, true
	case "count":
		return parser.COUNT, true
	case "group":
		return parser.GROUP, true
	case "stddev":
		return parser.STDDEV, true
	case "stdvar":
		return parser.STDVAR, true
	}
	return 0, false
}

// finish builds the texts that rules are made from, and where values come from.
func (k *compilation) finish(p *plan, body parser.Expr) {
	r := k.rule
	for _, l := range slices.Sorted(maps.Keys(r.Labels)) {
		p.labels = labels.NewBuilder(p.labels).Set(l, r.Labels[l]).Labels()
	}
	if len(r.GroupBy) > 0 || len(r.Without) > 0 {
		op, _ := aggregator(r.Aggregate)
		a := &parser.AggregateExpr{Op: op, Expr: body, Grouping: r.GroupBy}
		if len(r.Without) > 0 {
			a.Grouping, a.Without = r.Without, true
		}
		body = a
	}
	var own, others []*labels.Matcher
	for _, l := range slices.Sorted(maps.Keys(r.Filter)) {
		m := labels.MustNewMatcher(labels.MatchRegexp, l, r.Filter[l])
		if slices.Contains(r.SplitBy, l) {
			own = append(own, m)
		} else {
			others = append(others, m)
		}
	}
	p.splitter.inject(body, others)
	p.base = body.String()
	p.splitter.inject(body, own)
	p.whole = body.String()
	// What is evaluated is the text: prove that, and not only its maker.
	again, err := k.parser.ParseExpr(p.whole)
	if err == nil {
		err = Split(again, p.splitter.labels, p.splitter.metric)
	}
	if err != nil {
		k.refuse(k.exprField(), "%s, which it stands for, cannot be used: %v", p.whole, err)
		return
	}
	p.selectors = p.splitter.selectors(again)
	p.reach = max(p.splitter.reach(again, k.lookback), 0) + p.offset
	k.feedback(p)
	k.shared(p, again)
}

func (k *compilation) exprField() string {
	if k.rule.Expr == "" {
		return "metric"
	}
	return "expr"
}

// feedback refuses a rule that would read what it records.
func (k *compilation) feedback(p *plan) {
	for _, set := range p.selectors {
		reads := !slices.ContainsFunc(set, func(m *labels.Matcher) bool {
			return m.Name == labels.MetricName && !m.Matches(p.record)
		})
		if reads {
			k.refuse(k.exprField(), "a selector also takes the series %q that the rule records: name another metric in it", p.record)
			return
		}
	}
}

// shared warns of what makes narrow rules wide.
func (k *compilation) shared(p *plan, e parser.Expr) {
	var names []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok && !p.splitter.divides(v) {
			names = append(names, v.String())
		}
		return nil
	})
	if len(names) > 0 {
		k.warn("expr", "%s is read whole by every narrow rule: keep it small", strings.Join(names, ", "))
	}
}
