package owner

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

const defaultGrace = 10 * time.Second

// Options make an Owner.
type Options struct {
	// Rules are the rules in force; needed.
	Rules *rule.Set
	// Grace is how long after the rule's max_lag a window waits for sources that
	// have not sealed it; 0 means 10 seconds.
	Grace time.Duration
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Owner holds the totals of the groups that it publishes and the windows that
// wait for parts. It is safe for concurrent use.
type Owner struct {
	grace   int64 // ms
	metrics *metrics

	mu    sync.Mutex
	rules map[uint64]*ruleState
	order []*ruleState // as in the configuration
	live  []string     // sorted
	now   int64        // of the last Take
}

// New returns an owner of no groups.
func New(o Options) (*Owner, error) {
	if o.Rules == nil {
		return nil, errors.New("making an owner: Rules is nil; pass an empty set for no rules")
	}
	if o.Grace < 0 {
		return nil, fmt.Errorf("making an owner: Grace is %s, must not be negative", o.Grace)
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	own := &Owner{grace: o.Grace.Milliseconds(), metrics: newMetrics(o.Registerer), rules: map[uint64]*ruleState{}}
	own.Reload(o.Rules)
	return own, nil
}

// ruleState is what one rule has.
type ruleState struct {
	rule    *rule.Rule
	needs   rule.Needs        // of its totals
	totals  map[string]*total // by the bytes of the group's labels
	newest  int64             // the newest window that was finished
	swept   int64             // newest at the last look for groups to forget
	windows map[int64]*window
	marks   map[string]int64 // per source: all windows to here were delivered
	scratch []byte
}

func newRuleState(r *rule.Rule) *ruleState {
	return &ruleState{rule: r, needs: cumulativeNeeds(r), totals: map[string]*total{}, windows: map[int64]*window{}, marks: map[string]int64{}}
}

// Reload goes over to other rules; the state of those whose Hash is in both stays.
func (o *Owner) Reload(set *rule.Set) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.rules
	o.rules, o.order = make(map[uint64]*ruleState, len(set.Rules)), nil
	for _, r := range set.Rules {
		s := before[r.Hash]
		if s == nil {
			s = newRuleState(r)
		}
		s.follow(r)
		o.rules[r.Hash] = s
		o.order = append(o.order, s)
	}
}

// follow goes over to a rule with the same Hash: of outputs that it does not have any
// more nothing stays, so that they begin anew if they come back.
func (s *ruleState) follow(r *rule.Rule) {
	needs := cumulativeNeeds(r)
	if s.rule = r; needs == s.needs {
		return
	}
	s.needs = needs
	for _, t := range s.totals {
		t.sum.only(needs)
		for i := range t.recent {
			t.recent[i].share.only(needs)
		}
	}
	for _, w := range s.windows {
		for _, g := range w.groups {
			g.counted.only(needs)
		}
	}
}

// Finish turns a window that only this node feeds into samples, at once. Rows of
// the same window and group with a higher revision replace what was said before;
// with late: carry a window of a group is expected once.
func (o *Owner) Finish(w *partial.Window) []partial.Sample {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.rules[w.Rule.Hash]
	if s == nil {
		o.metrics.partials.WithLabelValues("unknown_rule").Add(float64(len(w.Rows)))
		return nil
	}
	out := make([]partial.Sample, 0, len(w.Rows)*len(s.rule.Outputs))
	for i := range w.Rows {
		row := &w.Rows[i]
		t := s.total(row.Group)
		if t != nil {
			t.settle(s.needs, w.End, &row.Acc, s.remembers(), s.rule.MaxAge.Milliseconds())
		}
		out = s.finish(out, row.Group, w.End, w.Revision, &row.Acc, t)
	}
	s.newest = max(s.newest, w.End)
	s.sweep(s.newest)
	o.metrics.samples.Add(float64(len(out)))
	return out
}

// remembers reports whether windows may be published again.
func (s *ruleState) remembers() bool { return s.rule.Late == rule.Correct || s.rule.Early }

// key of a group. The result is scratch memory until the next call.
func (s *ruleState) key(group labels.Labels) []byte {
	s.scratch = group.Bytes(s.scratch)
	return s.scratch
}

// total returns the totals of a group; nil if the rule has no cumulative output.
func (s *ruleState) total(group labels.Labels) *total {
	if s.needs == 0 {
		return nil
	}
	key := s.key(group)
	t := s.totals[string(key)]
	if t == nil {
		t = &total{group: group}
		s.totals[string(key)] = t
	}
	return t
}

// sweep forgets groups whose series the engine has forgotten, now and then.
func (s *ruleState) sweep(now int64) {
	const parts = 4
	if now-s.swept < s.rule.ForgetAfter.Milliseconds()/parts {
		return
	}
	s.swept = now
	horizon := now - max(s.rule.ForgetAfter, s.rule.MaxAge).Milliseconds() - s.rule.Interval.Milliseconds()
	for key, t := range s.totals {
		if t.last < horizon {
			delete(s.totals, key)
		}
	}
}

// Groups is the number of groups with totals.
func (o *Owner) Groups() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, s := range o.order {
		n += len(s.totals)
	}
	return n
}
