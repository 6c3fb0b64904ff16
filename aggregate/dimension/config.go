package dimension

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// Scopes say over which samples a rule is evaluated.
const (
	ScopeLocal = "local" // each island over its own samples
	ScopeAll   = "all"   // over those of all islands, the values shared out
)

// What a rule does while islands are missing.
const (
	OnMissingKeep   = "keep"
	OnMissingIgnore = "ignore"
)

const (
	defaultInterval = time.Minute
	defaultMaxRules = 1000
	// defaultSpread bounds the part of the interval over which evaluations of one
	// tick are spread when the rule does not say.
	defaultSpread = 5 * time.Second
	// pollAtMost is how long a value may go unnoticed: half of the minute that is
	// promised.
	pollAtMost = 30 * time.Second
)

// Config is what a configuration file says about rules by dimension.
type Config struct {
	Rules []Rule `yaml:"dimension_rules,omitempty"`
	// Concurrency bounds how many narrow rules are evaluated at once, over all
	// declarations; 0 is GOMAXPROCS.
	Concurrency int `yaml:"dimension_concurrency,omitempty"`
}

// Rule declares one recording rule to be divided.
type Rule struct {
	// Name is unique; empty is the same as Record.
	Name string `yaml:"name,omitempty"`
	// Record is the name of the series that come out.
	Record string `yaml:"record"`

	// Expr is the expression of the undivided rule. Without it, one is made from
	// Function and Metric.
	Expr string `yaml:"expr,omitempty"`
	// Metric, beside Expr, is the metric whose selectors are divided: others are
	// read whole by every narrow rule. Empty divides all.
	Metric string `yaml:"metric,omitempty"`
	// Function is applied to Metric where there is no Expr; empty takes the metric
	// as it is.
	Function string `yaml:"function,omitempty"`
	// Range is the window of Function; 0 is Interval.
	Range model.Duration `yaml:"range,omitempty"`
	// Aggregate is what GroupBy and Without apply around the expression; empty is sum.
	Aggregate string `yaml:"aggregate,omitempty"`
	// GroupBy are the labels that Aggregate keeps; it must contain SplitBy.
	GroupBy []string `yaml:"group_by,omitempty"`
	// Without are the labels that Aggregate drops; it must not contain any of SplitBy.
	Without []string `yaml:"without,omitempty"`

	// SplitBy are the labels whose values divide the rule.
	SplitBy []string `yaml:"split_by"`
	// Filter holds an anchored regular expression per label that the divided
	// series must match.
	Filter map[string]string `yaml:"filter,omitempty"`
	// Labels are added to what comes out.
	Labels map[string]string `yaml:"labels,omitempty"`

	// Interval is the time between evaluations; 0 is Options.Interval.
	Interval model.Duration `yaml:"interval,omitempty"`
	// QueryOffset shifts every evaluation into the past.
	QueryOffset model.Duration `yaml:"query_offset,omitempty"`
	// Spread is the time after a tick over which its evaluations begin; nil is a
	// quarter of the interval, 5 s at most.
	Spread *model.Duration `yaml:"spread,omitempty"`
	// MaxRules bounds the narrow rules; 0 is 1000. The values with the most series
	// are kept.
	MaxRules int `yaml:"max_rules,omitempty"`
	// Scope is "local" (the default) or "all".
	Scope string `yaml:"scope,omitempty"`
	// OnMissing is what a rule with scope all does while islands are missing in an
	// answer: "keep" (the default) records nothing, "ignore" what there is.
	OnMissing string `yaml:"on_missing,omitempty"`
}

// Default returns the values used where the file says nothing.
func Default() Config { return Config{} }

// Validate reports everything that cannot be used, joined, each led by its path
// such as dimension_rules[2].split_by. Experimental PromQL passes: whether it is
// switched on is for the parser of New and Prepare to say.
func (c Config) Validate() error {
	p := parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true})
	_, found := compileAll(c, compiler{parser: p})
	return joined(found)
}

// finding is one problem of a declaration, by the path of its field.
type finding struct {
	path    string
	message string
	warning bool
	// offset is where in the text of expr the trouble is, in bytes; -1 is all of it.
	offset int
}

func joined(found []finding) error {
	var errs []error
	for _, f := range found {
		if !f.warning {
			errs = append(errs, fmt.Errorf("%s: %s", f.path, f.message))
		}
	}
	return errors.Join(errs...)
}

// compileAll compiles every rule; the plans are those of the rules without error.
func compileAll(c Config, with compiler) ([]*plan, []finding) {
	var plans []*plan
	var found []finding
	if c.Concurrency < 0 {
		found = append(found, finding{path: "dimension_concurrency", offset: -1,
			message: fmt.Sprintf("%d is negative, must be 0 (as many as there are processors) or more", c.Concurrency)})
	}
	first := map[string]int{}
	for i, r := range c.Rules {
		at := fmt.Sprintf("dimension_rules[%d]", i)
		p, problems := with.compile(r)
		broken := false
		for _, f := range problems {
			broken = broken || !f.warning
			f.path = at + "." + f.path
			found = append(found, f)
		}
		name := r.name()
		if was, dup := first[name]; dup && name != "" {
			found = append(found, finding{path: at + "." + r.nameField(), offset: -1,
				message: fmt.Sprintf("%q is also the name of dimension_rules[%d]: give one of them another name", name, was)})
			continue
		}
		first[name] = i
		if !broken {
			plans = append(plans, p)
		}
	}
	return plans, found
}

func (r Rule) name() string {
	if r.Name != "" {
		return r.Name
	}
	return r.Record
}

func (r Rule) nameField() string {
	if r.Name != "" {
		return "name"
	}
	return "record"
}
