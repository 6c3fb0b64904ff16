package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/config"
)

// Of how many series the rules are shown, how old they may be, how many of the largest
// groups are printed, and how many of all rules are asked for.
const (
	liveSeries  = 200_000
	liveAge     = 10 * time.Minute
	liveLargest = 3
	liveTops    = 1000
)

// explain prints what the aggregation rules of a file make of the series that a
// running island has.
func (c *checkCmd) explain(ctx context.Context, w io.Writer, file string) error {
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	if cfg.AggregateRules == nil || len(cfg.AggregateRules.Rules) == 0 {
		fmt.Fprintf(w, "%s: no aggregation rules\n", file)
		return nil
	}
	asking, err := c.client(c.URL)
	if err != nil {
		return err
	}
	client, err := api.NewClient(api.Config{Address: c.URL, Client: asking})
	if err != nil {
		return fmt.Errorf("--url %q: %w", c.URL, err)
	}
	end := time.Now()
	sets, _, _, err := v1.NewAPI(client).Series(ctx, selectors(cfg.AggregateRules), end.Add(-liveAge), end, v1.WithLimit(liveSeries))
	if err != nil {
		return fmt.Errorf("ask %s for its series: %w", c.URL, err)
	}
	series := func(yield func(labels.Labels) bool) {
		for _, s := range sets {
			if !yield(labelsOf(s)) {
				return
			}
		}
	}
	fmt.Fprintf(w, "%s: rules shown %d series of the last %s\n", file, len(sets), liveAge)
	if len(sets) == liveSeries {
		fmt.Fprintf(w, "there are more; the numbers below are of these %d\n", liveSeries)
	}
	all := aggregate.Explain(cfg.AggregateRules, series, liveLargest)
	if err := c.recall(ctx, asking, all); err != nil {
		return err
	}
	for _, e := range all {
		printExplanation(w, e)
	}
	return nil
}

// recall asks the island what its rules take that the store has no series for.
func (c *checkCmd) recall(ctx context.Context, asking *http.Client, all []aggregate.Explanation) error {
	if !slices.ContainsFunc(all, func(e aggregate.Explanation) bool { return e.Series == 0 && !e.Rule.KeepInput }) {
		return nil
	}
	tops, err := aggregate.AskTop(ctx, asking, c.URL, liveTops)
	if err != nil {
		return fmt.Errorf("ask %s what its rules take: %w", c.URL, err)
	}
	for i := range all {
		if !all[i].Rule.KeepInput {
			all[i].Recall(tops, liveLargest)
		}
	}
	return nil
}

// selectors are what the rules take, each alternative by itself.
func selectors(set *rule.Set) (out []string) {
	for _, r := range set.Rules {
		alternatives := r.Selectors()
		if len(alternatives) == 0 {
			return []string{`{__name__!=""}`}
		}
		for _, one := range alternatives {
			out = append(out, rule.Selectors{one}.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func labelsOf(s model.LabelSet) labels.Labels {
	b := labels.NewScratchBuilder(len(s))
	for name, value := range s {
		b.Add(string(name), string(value))
	}
	b.Sort()
	return b.Labels()
}

func printExplanation(w io.Writer, e aggregate.Explanation) {
	kept := "their samples are stored as well"
	if !e.Rule.KeepInput {
		kept = "their samples are not stored"
	}
	fmt.Fprintf(w, "\n%s (line %d): %s\n  takes %d series, %s\n", e.Rule.Label, e.Rule.Line, e.Rule.Selectors(), e.Series, kept)
	if e.Discarded > 0 {
		fmt.Fprintf(w, "  of which input relabelling drops %d\n", e.Discarded)
	}
	if e.Running {
		fmt.Fprintln(w, "  as the island says of the rule of this name that it runs")
	}
	if e.Series == 0 && !e.Rule.KeepInput {
		fmt.Fprintln(w, "  neither does the store have any, nor does the island run a rule of this name that takes some")
		return
	}
	if e.Series == e.Discarded {
		fmt.Fprintln(w, "  so nothing comes out")
		return
	}
	fmt.Fprintf(w, "  makes %d groups, each with %d outputs every %s\n", e.Groups, len(e.Rule.Outputs), e.Rule.Interval)
	if e.Overflow > 0 {
		fmt.Fprintf(w, "  %d groups are over max_groups %d and fold into the overflow group\n", e.Overflow, e.Rule.MaxGroups)
	}
	for _, g := range e.Largest {
		fmt.Fprintf(w, "  %8d series in %s\n", g.Series, g.Group)
	}
	switch {
	case len(e.Outputs) == 0: // no group of it is among the largest of all
	case e.Running:
		fmt.Fprintln(w, "  the first of them goes into")
	default:
		fmt.Fprintf(w, "  for example %s goes into\n", e.Example)
	}
	for _, o := range e.Outputs {
		fmt.Fprintf(w, "    %s\n", o)
	}
}
