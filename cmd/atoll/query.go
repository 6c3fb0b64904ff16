package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/query/render"
)

type queryCmd struct {
	Expr string `arg:"" help:"PromQL expression."`
	URL  string `short:"u" default:"${url}" env:"ATOLL_URL" help:"The island to ask, or any server that speaks Prometheus' HTTP API."`
	credentials
	Time   moment        `placeholder:"TIME" help:"Evaluate an instant query at this time: RFC 3339, Unix seconds, or an age such as -1h. Default: now."`
	Range  time.Duration `short:"r" xor:"window" placeholder:"DURATION" help:"Evaluate over this long before --end, as in 1h."`
	Start  moment        `xor:"window" placeholder:"TIME" help:"Start of a range query."`
	End    moment        `placeholder:"TIME" help:"End of a range query. Default: now."`
	Step   time.Duration `placeholder:"DURATION" help:"Resolution of a range query. Default: 1/120 of the range, at least 1s."`
	Format string        `short:"f" enum:"auto,table,json,csv,chart" default:"auto" help:"One of table, json, csv, chart. auto: a table, for a range a chart."`

	Scope   string        `enum:",local,all" default:"" help:"Whose data: local (the island that is asked) or all (every island of its network). Default: as the island is configured."`
	Partial string        `enum:",allow,deny" default:"" help:"What a missing island does with --scope all: allow (a warning) or deny (an error)."`
	Receipt bool          `help:"Say which islands answered, how fresh they are and what it cost."`
	Timeout time.Duration `default:"2m" help:"Give up after this long."`
}

// Help is shown by atoll query --help.
func (queryCmd) Help() string {
	return `Without --range or --start the question is an instant query.

Examples:

  atoll query up
  atoll query 'sum by (job) (rate(http_requests_total[5m]))' -r 1h
  atoll query node_load1 --start=-6h --step 1m -f csv > load.csv
  atoll query --scope all --receipt 'sum by (island) (up)'
  atoll query 'topk(5, container_memory_working_set_bytes)' -f json`
}

// Run asks and prints; remarks go to standard error, the answer to standard output.
func (c *queryCmd) Run(ctx context.Context, std streams) error {
	asking, err := c.client(c.URL)
	if err != nil {
		return err
	}
	scoped := &scopedTransport{scope: c.Scope, partial: c.Partial, next: asking.Transport}
	client, err := api.NewClient(api.Config{Address: c.URL, RoundTripper: scoped})
	if err != nil {
		return fmt.Errorf("--url %q: %w", c.URL, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()

	options := render.Detect(std.out, os.Getenv)
	format := c.Format
	if c.ranged() {
		r := c.window(time.Now())
		options.Start, options.End, options.Step = r.Start, r.End, r.Step
		if format == "auto" {
			format = "chart"
		}
	} else if format == "auto" {
		format = "table"
	}
	f, err := render.ParseFormat(format)
	if err != nil {
		return err
	}
	value, remarks, err := c.ask(ctx, v1.NewAPI(client), v1.Range{Start: options.Start, End: options.End, Step: options.Step})
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.URL, err)
	}
	for _, r := range remarks {
		fmt.Fprintln(std.err, r)
	}
	if c.Receipt {
		writeReceipt(std.err, scoped.receipt)
	}
	return render.Write(std.out, f, value, options)
}

func (c *queryCmd) ranged() bool { return c.Range != 0 || !c.Start.IsZero() }

func (c *queryCmd) window(now time.Time) v1.Range {
	r := v1.Range{End: c.End.or(now), Step: c.Step}
	r.Start = c.Start.or(r.End.Add(-c.Range))
	if r.Step == 0 {
		r.Step = max((r.End.Sub(r.Start) / 120).Round(time.Second), time.Second)
	}
	return r
}

// ask returns the answer and what the server remarked on it.
func (c *queryCmd) ask(ctx context.Context, prom v1.API, r v1.Range) (model.Value, []string, error) {
	if c.ranged() {
		v, w, i, err := prom.QueryRange(ctx, c.Expr, r)
		return v, list(w, i), err
	}
	v, w, i, err := prom.Query(ctx, c.Expr, c.Time.or(time.Now()))
	return v, list(w, i), err
}

func list(warnings v1.Warnings, infos v1.Infos) []string {
	var out []string
	for _, w := range warnings {
		out = append(out, "warning: "+w)
	}
	for _, i := range infos {
		out = append(out, "note: "+i)
	}
	return out
}
