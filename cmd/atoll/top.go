package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/atoll-mesh/atoll/aggregate"
)

type topCmd struct {
	Series topSeriesCmd `cmd:"" help:"What has the most series: in the store, and in the rules of stream aggregation."`
}

type topSeriesCmd struct {
	URL string `short:"u" default:"${url}" env:"ATOLL_URL" help:"The island to ask."`
	credentials
	Limit   int           `short:"n" default:"10" help:"Lines of each table."`
	JSON    bool          `help:"Print JSON."`
	Timeout time.Duration `default:"30s" help:"Give up after this long."`
}

// Help is shown by atoll top series --help.
func (topSeriesCmd) Help() string {
	return `The store's part counts the series of the last hours by metric name and by
label value; the aggregation's part what each rule takes, and its largest groups.

Examples:

  atoll top series
  atoll top series -n 50 --json`
}

// top is what both parts answer.
type top struct {
	Store     v1.TSDBResult  `json:"store"`
	Aggregate aggregate.Tops `json:"aggregate"`
}

// Run asks the island for both parts and prints them.
func (c *topSeriesCmd) Run(ctx context.Context, std streams) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return fmt.Errorf("--limit %d: must be from 1 to 1000", c.Limit)
	}
	asking, err := c.client(c.URL)
	if err != nil {
		return err
	}
	client, err := api.NewClient(api.Config{Address: c.URL, Client: asking})
	if err != nil {
		return fmt.Errorf("--url %q: %w", c.URL, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var t top
	if t.Store, err = v1.NewAPI(client).TSDB(ctx, v1.WithLimit(uint64(c.Limit))); err != nil {
		return fmt.Errorf("ask %s for its series: %w", c.URL, err)
	}
	if t.Aggregate, err = aggregate.AskTop(ctx, asking, c.URL, c.Limit); err != nil {
		return fmt.Errorf("ask %s for its aggregation: %w", c.URL, err)
	}
	if c.JSON {
		e := json.NewEncoder(std.out)
		e.SetIndent("", "  ")
		return e.Encode(t)
	}
	return t.print(std.out)
}

func (t top) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "SERIES\tIN THE STORE (%d in all)\n", t.Store.HeadStats.NumSeries)
	for _, s := range t.Store.SeriesCountByMetricName {
		fmt.Fprintf(tw, "%d\t%s\n", s.Value, s.Name)
	}
	fmt.Fprintf(tw, "\nSERIES\tLABEL\n")
	for _, s := range t.Store.SeriesCountByLabelValuePair {
		fmt.Fprintf(tw, "%d\t%s\n", s.Value, s.Name)
	}
	fmt.Fprintf(tw, "\nVALUES\tOF LABEL\n")
	for _, s := range t.Store.LabelValueCountByLabelName {
		fmt.Fprintf(tw, "%d\t%s\n", s.Value, s.Name)
	}
	if len(t.Aggregate.Rules) > 0 {
		fmt.Fprintf(tw, "\nSERIES\tGROUPS\tOVER\tAGGREGATION RULE\n")
		for _, r := range t.Aggregate.Rules {
			fmt.Fprintf(tw, "%d\t%d\t%d\t%s\n", r.Series, r.Groups, r.Overflow, r.Rule)
		}
		fmt.Fprintf(tw, "\nSERIES\tRULE\tGROUP\n")
		for _, g := range t.Aggregate.Groups {
			fmt.Fprintf(tw, "%d\t%s\t%s\n", g.Series, g.Rule, g.Group)
		}
	}
	return tw.Flush()
}
