package main

import (
	"context"
	"fmt"

	"github.com/atoll-mesh/atoll/config"
)

type checkCmd struct {
	Files []string `arg:"" optional:"" predictor:"file" help:"Files to check. Default: atoll.yaml."`
	Kind  string   `enum:"auto,atoll,prometheus,rules,alertmanager,web" default:"auto" help:"What the files are: atoll, prometheus, rules, alertmanager, web. Default: told from their keys."`
	Live  bool     `help:"Also show what the aggregation rules of an atoll.yaml take and make of the series that the running island has."`
	URL   string   `short:"u" default:"${url}" env:"ATOLL_URL" help:"The island that --live asks."`
	credentials
	Example bool `help:"Print a configuration with every key, its default and one line about it."`
}

// Help is shown by atoll check --help.
func (checkCmd) Help() string {
	return `Reads the files and everything they refer to: included Prometheus and
Alertmanager files, rules, templates, certificates. Prints every problem as
FILE:LINE:COLUMN: FIELD: what was found and what is allowed.

Exit code: 0 without errors (warnings are no errors), 1 otherwise.

Examples:

  atoll check
  atoll check prometheus.yml rules/*.yml alertmanager.yml
  atoll check --live atoll.yaml
  atoll check --example > atoll.yaml`
}

// Run prints what is wrong to standard output, so that it can be piped.
func (c *checkCmd) Run(ctx context.Context, std streams) error {
	if c.Example {
		fmt.Fprint(std.out, config.Reference())
		return nil
	}
	files := c.Files
	if len(files) == 0 {
		files = []string{defaultConfigFile}
	}
	failed := false
	for _, file := range files {
		problems := config.Check(file, config.Kind(c.Kind))
		for _, p := range problems {
			fmt.Fprintln(std.out, p.Error())
		}
		if n := len(problems.Fatal()); n > 0 {
			failed = true
			fmt.Fprintf(std.out, "%s: %d problem(s)\n", file, n)
			continue
		}
		fmt.Fprintf(std.out, "%s: ok\n", file)
		if c.Live {
			if err := c.explain(ctx, std.out, file); err != nil {
				return err
			}
		}
	}
	if failed {
		return exitError(1)
	}
	return nil
}
