package rule

import (
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Late says what happens to a contribution to a window that was published already.
type Late uint8

const (
	// Carry adds counters' amounts to the cumulative totals with the next window; other outputs ignore it.
	Carry Late = iota
	// Correct publishes the window again with its new value.
	Correct
	// Drop forgets it.
	Drop
)

func (l Late) String() string {
	switch l {
	case Correct:
		return "correct"
	case Drop:
		return "drop"
	}
	return "carry"
}

// Rule is one compiled aggregation rule. It is immutable and safe for concurrent
// use: nobody may write to its fields or slices.
type Rule struct {
	// ID is the rule's place in its Set, from 0.
	ID uint32
	// Name is the configured name, or "" .
	Name string
	// Label tells the rule apart in metrics and messages: Name, or the beginning of
	// what its series are called (requests_total:1m_by_job), or file:line. Rules of
	// one Set have different labels.
	Label string
	// Line is where the rule begins in its file, from 1.
	Line int
	// Hash covers what the state of the rule depends on (matching, grouping,
	// windows), not which outputs it has, nor how they are named or published. Rules
	// of one Set have different hashes: of those that differ in their outputs alone
	// the later ones' cover what these need as well. It names the rule between nodes.
	Hash uint64

	// Interval is the length of a window, a whole number of milliseconds, at least one second.
	Interval time.Duration
	// Staleness is how long a source must have been delivering before a new series
	// of it counts as born from zero.
	Staleness time.Duration
	// MaxGap is the longest step between two samples of a counter that is not spread over windows.
	MaxGap time.Duration
	// MaxLag is how long after its end a window is published at the latest.
	MaxLag time.Duration
	// MaxAge is the horizon: older contributions are dropped.
	MaxAge time.Duration
	// ForgetAfter is how long a series without samples is remembered.
	ForgetAfter time.Duration
	// Dedup, if > 0, leaves the last sample of a series in each such span.
	Dedup time.Duration

	Outputs []Output
	// Quantiles are the phis of the quantiles output, as configured.
	Quantiles []float64

	Late Late
	// Early publishes open windows again and again as they grow.
	Early bool
	// KeepInput leaves the matched samples in storage.
	KeepInput bool
	// MaxGroups bounds the groups of the rule; what is over it goes to the overflow group.
	MaxGroups int
	// TenantLabel, if set, names the label whose values each have MaxGroups of their own.
	TenantLabel string
	// Births counts the first value of a series that was born on a known source.
	Births bool
	// Distribute sends partials to the owners of their groups where there are several nodes.
	Distribute bool
	// KeepMetricNames leaves the metric name without a suffix.
	KeepMetricNames bool

	// By and Without are sorted and hold no label twice; at most one is set. By
	// without __name__ keeps the name nevertheless.
	By, Without []string

	file          string
	match         Selectors
	drop          []string // drop_input_labels
	replicaLabels []string
	input, output relabelling
	suffix        string // ":1m_by_job_"
	needs         Needs
	builders      *sync.Pool // of *labels.Builder
}

// Needs are the parts of the accumulator that the outputs read.
func (r *Rule) Needs() Needs { return r.needs }

// Match reports whether the rule takes a series with these labels, as they came in.
func (r *Rule) Match(ls labels.Labels) bool { return matches(r.match, ls) }

// Window is the end of the window that a sample at t (Unix ms) belongs to: (end-Interval, end].
func (r *Rule) Window(t int64) int64 {
	step := r.Interval.Milliseconds()
	end := t / step * step
	if end < t {
		end += step
	}
	return end
}

// Set are the rules of one configuration. It is immutable.
type Set struct {
	Rules []*Rule
	// ReplicaLabels tell replicas of one source apart; they belong to no series and no group.
	ReplicaLabels []string
	// SourceLabels name the source of a series.
	SourceLabels []string
	// Warnings are what is accepted and has no effect here, with the reason.
	Warnings []Problem
}
