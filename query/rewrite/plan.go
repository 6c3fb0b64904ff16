package rewrite

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// LeafLabel is the label that the synthetic selectors of a remainder match on.
// Questions must not use it.
const LeafLabel = "__leaf__"

// ErrStep is returned for a range evaluated at steps of less than a millisecond,
// which no engine can count.
var ErrStep = errors.New("query: step is below 1ms: ask for a step of 1ms or more")

// Grid is the times at which an expression is evaluated: Start, Start+Step, …
// up to End, in milliseconds since 1970. Step is at least 1. It is empty if End
// is before Start.
type Grid struct{ Start, End, Step int64 }

// Steps is the number of times on the grid.
func (g Grid) Steps() int64 {
	if g.End < g.Start {
		return 0
	}
	return (g.End-g.Start)/g.Step + 1
}

// Has reports whether t is on the grid.
func (g Grid) Has(t int64) bool {
	return t >= g.Start && t <= g.End && (t-g.Start)%g.Step == 0
}

// Leaf is an expression that each island evaluates over its own data.
type Leaf struct {
	Expr string
	Grid
	// MinTime and MaxTime bound the samples it can read, both inclusive.
	MinTime, MaxTime int64
	// Selectors are the matchers of each selector in it. If none of them can
	// match on an island, the leaf has no rows there.
	Selectors [][]*labels.Matcher
	// Keeps says that every row carries the partition label; otherwise none does.
	Keeps bool
	// Floats says that rows cannot hold histograms.
	Floats bool
	// Sums says that the rows are partial sums. They are wrong where an island
	// met groups that mix floats and histograms, or incompatible histograms, and
	// worth little where they cancel each other out: then the plan has to be made
	// again with this leaf's key in Options.Whole.
	Sums bool
	// Means says that the rows are partial sums of a mean, which must not
	// overflow where the mean would not: same remedy.
	Means bool
	// Ahead says that its value at a time may depend on samples of later times.
	Ahead bool
	// Absent says that the leaf only tells absent() whether anything is there.
	Absent bool
}

// Key identifies what a leaf computes.
func (l *Leaf) Key() string { return leafKey(l.Expr, l.Grid) }

func leafKey(expr string, g Grid) string {
	return strconv.FormatInt(g.Start, 36) + "/" + strconv.FormatInt(g.End, 36) + "/" + strconv.FormatInt(g.Step, 36) + " " + expr
}

// Raw is a selector whose samples the remainder reads itself.
type Raw struct {
	Matchers []*labels.Matcher
	// MinTime and MaxTime bound the samples it reads, both inclusive; they are
	// the hints that the upstream engine will select with.
	MinTime, MaxTime int64
}

// Plan is an expression taken apart.
type Plan struct {
	// Expr is the remainder, for the upstream engine.
	Expr   string
	Leaves []Leaf
	Raw    []Raw
	// More says that the evaluation of the remainder may select further series,
	// as info() does.
	More bool
}

// Query is an expression and when to evaluate it.
type Query struct {
	// Expr is as promql.PreprocessExpr returned it. It is not modified.
	Expr parser.Expr
	// Start and End are in milliseconds since 1970; Step is in milliseconds, and
	// 0 for an instant.
	Start, End, Step int64
}

// Options say how to take expressions apart.
type Options struct {
	// Label is the partition label, which every series of every island carries.
	Label string
	// Lookback is the engine's lookback delta in milliseconds.
	Lookback int64
	// SubqueryStep returns the step in milliseconds of a subquery that names
	// none, from its range in milliseconds.
	SubqueryStep func(rangeMillis int64) int64
	// DelayedNames says that the engines remove metric names at the end of an
	// evaluation. Results then lose what they still remember of a name on their
	// way, so fewer expressions can be leaves.
	DelayedNames bool
	// Whole reports whether a leaf's partial results are known to be unusable;
	// its operand becomes the leaf. May be nil.
	Whole func(key string) bool
	// Fetch reports whether fetching the samples that a leaf reads is better
	// than having it computed. May be nil.
	Fetch func(Candidate) bool
}

// Candidate is a leaf about to be made.
type Candidate struct {
	Expr string
	Grid
	// MinTime and MaxTime bound the samples that would have to be fetched.
	MinTime, MaxTime int64
	// Selectors is how many selectors would have to be fetched.
	Selectors int
	// Plain says that the leaf is a selector: its values are those of samples.
	Plain bool
	// Merged says that the leaf is an aggregation: it has fewer rows than series.
	Merged bool
}

// New takes a query apart.
func New(q Query, o Options) (*Plan, error) {
	grid := Grid{Start: q.Start, End: q.End, Step: q.Step}
	switch {
	case q.Step == 0 && q.Start == q.End:
		grid.Step = 1
	case q.Step < 1:
		return nil, ErrStep
	}
	if err := check(q.Expr); err != nil {
		return nil, err
	}
	p := &planner{
		options: o,
		classes: map[parser.Expr]class{},
		ids:     map[string]int{},
		plan:    &Plan{},
	}
	expr := p.rewrite(pin(q.Expr, o.SubqueryStep), place{grid: grid, root: true})
	p.plan.Expr = expr.String()
	p.readRaw(expr, q)
	return p.plan, nil
}

// check refuses what could be confused with a leaf, and what the engine would
// refuse only while evaluating.
func check(expr parser.Expr) error {
	var bad error
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			for _, m := range n.LabelMatchers {
				if m.Name == LeafLabel {
					bad = fmt.Errorf("query: matcher %s: the label %s is reserved: remove it", m, LeafLabel)
				}
			}
		case *parser.AggregateExpr:
			if l, ok := n.Param.(*parser.StringLiteral); ok && n.Op == parser.COUNT_VALUES && !model.UTF8Validation.IsValidLabelName(l.Val) {
				bad = fmt.Errorf("invalid label name %s", l) // upstream's words
			}
		}
		return bad
	})
	return bad
}
