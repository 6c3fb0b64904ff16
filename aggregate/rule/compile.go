package rule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"
)

// What holds where a rule does not say.
const (
	defaultMaxLag    = 90 * time.Second
	defaultMaxAge    = time.Hour
	defaultForget    = time.Hour
	defaultMaxGroups = 100_000
	mostGroups       = 100_000_000
	mostOutputs      = 64
)

// ruleKeys are all options of a rule: vmagent's, then our own.
func ruleKeys() []string {
	return append([]string{"name", "match", "outputs"}, defaultable()...)
}

// defaultable are those that defaults may hold.
func defaultable() []string {
	return []string{
		"interval", "staleness_interval", "ignore_first_sample_interval", "dedup_interval",
		"by", "without", "drop_input_labels", "input_relabel_configs", "output_relabel_configs",
		"keep_metric_names", "ignore_old_samples", "ignore_first_intervals", "enable_windows",
		"no_align_flush_to_interval", "flush_on_shutdown",
		"late", "max_lag", "max_age", "max_gap", "forget_after", "births", "early",
		"keep_input", "max_groups", "tenant_label", "distribute",
	}
}

// compiler reads one rule.
type compiler struct {
	*reader
	node     *yaml.Node
	field    string
	keys     map[string]entry
	rule     *Rule
	interval string // as written: it is part of the outputs' names
}

func (r *reader) rule(n *yaml.Node, field string, defaults map[string]entry, set *Set) *Rule {
	c := &compiler{reader: r, node: n, field: field, rule: &Rule{Line: n.Line, replicaLabels: set.ReplicaLabels, builders: &sync.Pool{}}}
	c.keys = r.mapping(n, field, ruleKeys())
	if c.keys == nil {
		return c.rule
	}
	c.inherit(defaults)
	c.rule.Name, _ = c.optionalText("name")
	if e, ok := c.value("match"); ok {
		c.rule.match = r.selectors(e.value, c.at("match"))
	}
	c.times()
	c.grouping()
	c.outputs()
	c.policies()
	c.relabelConfigs()
	c.naming()
	c.pointless(set)
	return c.rule
}

// inherit takes from the defaults what the rule does not say. by and without
// stand for one question.
func (c *compiler) inherit(defaults map[string]entry) {
	_, by := c.keys["by"]
	_, without := c.keys["without"]
	for name, e := range defaults {
		if _, own := c.keys[name]; own || (by || without) && (name == "by" || name == "without") {
			continue
		}
		c.keys[name] = e
	}
}

func (c *compiler) at(name string) string { return join(c.field, name) }

// value returns an option that says something.
func (c *compiler) value(name string) (entry, bool) {
	e, ok := c.keys[name]
	return e, ok && !isNull(e.value)
}

func (c *compiler) says(name string) bool {
	_, ok := c.value(name)
	return ok
}

func (c *compiler) optionalText(name string) (string, bool) {
	e, ok := c.value(name)
	if !ok {
		return "", false
	}
	return c.text(e.value, c.at(name))
}

func (c *compiler) flag(name string, otherwise bool) bool {
	if e, ok := c.value(name); ok {
		if v, ok := c.boolean(e.value, c.at(name)); ok {
			return v
		}
	}
	return otherwise
}

// span reads a duration; least is the smallest allowed and what it stands for.
func (c *compiler) span(name string, otherwise, least time.Duration, what string) time.Duration {
	e, ok := c.value(name)
	if !ok {
		return otherwise
	}
	v, ok := c.duration(e.value, c.at(name))
	if !ok {
		return otherwise
	}
	if v < least {
		c.fail(e.value, c.at(name), "%s is less than %s (%s); raise it or remove it", e.value.Value, short(least), what)
		return otherwise
	}
	return v
}

// short writes a duration without parts that are zero.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func (c *compiler) times() {
	r := c.rule
	if e, ok := c.value("interval"); !ok {
		c.fail(c.node, c.field, "interval is missing; write how long a window is, such as interval: 1m")
	} else {
		r.Interval = c.span("interval", 0, time.Second, "the shortest window")
		c.interval = e.value.Value
	}
	r.Staleness = c.span("staleness_interval", r.Interval, r.Interval, "the interval")
	r.MaxGap = c.span("max_gap", r.Interval, time.Millisecond, "the shortest gap")
	r.MaxLag = c.span("max_lag", defaultMaxLag, 0, "")
	r.MaxAge = c.span("max_age", max(defaultMaxAge, r.Interval+r.MaxLag), r.MaxLag, "max_lag")
	r.ForgetAfter = c.span("forget_after", max(defaultForget, r.Staleness), r.Staleness, "staleness_interval")
	r.Dedup = c.span("dedup_interval", 0, 0, "")
	if e, ok := c.value("dedup_interval"); ok && r.Dedup > 0 && r.Interval > 0 && r.Interval%r.Dedup != 0 {
		c.fail(e.value, c.at("dedup_interval"), "%s does not divide the interval %s; choose one that does, at most as long", e.value.Value, c.interval)
	}
}

func (c *compiler) grouping() {
	r := c.rule
	by, hasBy := c.value("by")
	without, hasWithout := c.value("without")
	if hasBy {
		r.By, _ = c.names(by.value, c.at("by"))
	}
	if hasWithout {
		r.Without, _ = c.names(without.value, c.at("without"))
	}
	if len(r.By) > 0 && len(r.Without) > 0 {
		c.fail(without.key, c.at("without"), "by and without cannot both be set; remove one")
	}
	if len(r.By) > 0 && !slices.Contains(r.By, labels.MetricName) {
		r.By = append([]string{labels.MetricName}, r.By...)
		slices.Sort(r.By)
	}
	if e, ok := c.value("drop_input_labels"); ok {
		r.drop, _ = c.names(e.value, c.at("drop_input_labels"))
	}
}

func (c *compiler) outputs() {
	e, ok := c.value("outputs")
	if !ok {
		c.fail(c.node, c.field, "outputs is missing; write a list of %s", strings.Join(outputNames(), ", "))
		return
	}
	list, _ := c.texts(e.value, c.at("outputs"))
	if len(list) == 0 || len(list) > mostOutputs {
		if e.value.Kind == yaml.SequenceNode {
			c.fail(e.value, c.at("outputs"), "expected 1 to %d outputs, found %d", mostOutputs, len(list))
		}
		return
	}
	for i, text := range list {
		o, ok := c.output(e.value.Content[i], item(c.at("outputs"), i), strings.TrimSpace(text))
		if !ok {
			continue
		}
		if slices.Contains(c.rule.Outputs, o) {
			c.fail(e.value.Content[i], item(c.at("outputs"), i), "%s is there twice; leave one (all quantiles go into one quantiles(...))", o)
			continue
		}
		c.rule.Outputs = append(c.rule.Outputs, o)
		c.rule.needs |= o.Needs()
	}
}

func (c *compiler) output(n *yaml.Node, field, text string) (Output, bool) {
	if text == "" {
		return 0, false // said already
	}
	name, arguments, call := strings.Cut(text, "(")
	o, known := outputByName(name)
	switch {
	case !known:
		hint := ""
		if near := nearest(name, outputNames()); near != "" {
			hint = fmt.Sprintf("; did you mean %s?", near)
		}
		c.fail(n, field, "no such output %s%s; there are %s", quote(text), hint, strings.Join(outputNames(), ", "))
		return 0, false
	case o != Quantiles && call:
		c.fail(n, field, "%s takes no arguments; write %s", o, o)
		return 0, false
	case o == Quantiles:
		return o, c.quantiles(n, field, arguments, call)
	}
	return o, true
}

func (c *compiler) quantiles(n *yaml.Node, field, arguments string, call bool) bool {
	inside, closed := strings.CutSuffix(arguments, ")")
	if !call || !closed || strings.TrimSpace(inside) == "" {
		c.fail(n, field, "quantiles wants numbers from 0 to 1 in parentheses; write quantiles(0.5, 0.99)")
		return false
	}
	phis := strings.Split(inside, ",")
	if len(phis) > mostOutputs {
		c.fail(n, field, "%d quantiles are more than %d", len(phis), mostOutputs)
		return false
	}
	good := true
	for _, text := range phis {
		text = strings.TrimSpace(text)
		phi, err := strconv.ParseFloat(text, 64)
		switch {
		case err == nil && phi > 1 && phi <= 100:
			c.fail(n, field, "%s is no number from 0 to 1; for %s %% of the samples write %v", quote(text), text, phi/100)
			good = false
		case err != nil || !(phi >= 0 && phi <= 1):
			c.fail(n, field, "%s is no number from 0 to 1", quote(text))
			good = false
		case slices.Contains(c.rule.Quantiles, phi):
			c.warn(n, field, "the quantile %v is there twice; it is written once", phi)
		default:
			c.rule.Quantiles = append(c.rule.Quantiles, phi)
		}
	}
	return good
}

func (c *compiler) policies() {
	r := c.rule
	r.Births = c.flag("births", true)
	r.Early = c.flag("early", false)
	r.Distribute = c.flag("distribute", true)
	r.KeepMetricNames = c.flag("keep_metric_names", false)
	// Under one name the results would contradict the inputs: they are at odds in every sum.
	r.KeepInput = c.flag("keep_input", !r.KeepMetricNames)
	r.MaxGroups = defaultMaxGroups
	if e, ok := c.value("max_groups"); ok {
		if v, ok := c.number(e.value, c.at("max_groups"), 1, mostGroups); ok {
			r.MaxGroups = v
		}
	}
	if r.TenantLabel, _ = c.optionalText("tenant_label"); r.TenantLabel != "" {
		c.tenant()
	}
	old := c.flag("ignore_old_samples", false)
	if old {
		r.Late = Drop
	}
	e, ok := c.value("late")
	if !ok {
		return
	}
	switch text, _ := c.text(e.value, c.at("late")); text {
	case "carry":
		r.Late = Carry
	case "correct":
		r.Late = Correct
	case "drop":
		r.Late = Drop
	default:
		c.fail(e.value, c.at("late"), "expected carry, correct or drop, found %s", describe(e.value))
		return
	}
	if old && r.Late != Drop {
		c.fail(e.value, c.at("late"), "%s contradicts ignore_old_samples: true; remove one", r.Late)
	}
}

func (c *compiler) tenant() {
	r := c.rule
	e := c.keys["tenant_label"]
	if len(r.By) > 0 && !slices.Contains(r.By, r.TenantLabel) || slices.Contains(r.Without, r.TenantLabel) || slices.Contains(r.drop, r.TenantLabel) {
		c.fail(e.value, c.at("tenant_label"), "groups have no label %s; add it to by, or remove it from without and drop_input_labels", quote(r.TenantLabel))
	}
}

func (c *compiler) relabelConfigs() {
	if e, ok := c.value("input_relabel_configs"); ok {
		c.rule.input = c.relabelling(e.value, c.at("input_relabel_configs"))
	}
	if e, ok := c.value("output_relabel_configs"); ok {
		c.rule.output = c.relabelling(e.value, c.at("output_relabel_configs"))
	}
}

// naming makes the suffix and checks what keep_metric_names cannot keep apart.
func (c *compiler) naming() {
	r := c.rule
	nameless := func(list []string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(list), func(n string) bool { return n == labels.MetricName }), "_")
	}
	r.suffix = ":" + c.interval
	if by := nameless(r.By); by != "" {
		r.suffix += "_by_" + by
	}
	if without := nameless(r.Without); without != "" {
		r.suffix += "_without_" + without
	}
	r.suffix += "_"
	if !r.KeepMetricNames || len(r.Outputs) == 0 {
		return
	}
	e := c.keys["keep_metric_names"]
	switch {
	case len(r.Outputs) > 1:
		c.fail(e.value, c.at("keep_metric_names"), "the %d outputs would have one name; leave one output, or remove it", len(r.Outputs))
	case r.Outputs[0] == HistogramBucket, len(r.Quantiles) > 1:
		c.fail(e.value, c.at("keep_metric_names"), "%s writes several series a group; remove it", r.Outputs[0])
	case r.KeepInput && len(r.output) == 0:
		c.warn(e.value, c.at("keep_metric_names"), "the outputs have the names of the inputs, and the inputs are kept: with keep_input: false there is no confusion")
	case !c.says("keep_input"):
		c.warn(e.value, c.at("keep_metric_names"), "the outputs have the names of the inputs, so the inputs are not stored; keep_input: true stores both")
	}
}

// hash covers what the state depends on; again is not 0 where another rule of the set
// has the same one otherwise, which then differs in its outputs alone.
func (r *Rule) hash(set *Set, again uint64) uint64 {
	text := fmt.Sprintf("%s|%d %d %d %d|%v|%q|%q|%q|%q|%q|%s|%q", r.match, r.Interval, r.Staleness, r.MaxGap, r.Dedup, r.Births,
		r.By, r.Without, r.drop, set.ReplicaLabels, set.SourceLabels, r.input, r.TenantLabel)
	if again > 0 {
		text += fmt.Sprintf("|%s|%d", r.needs, again)
	}
	return xxhash.Sum64String(text)
}
