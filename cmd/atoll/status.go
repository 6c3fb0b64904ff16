package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atoll-mesh/atoll/portal"
)

type statusCmd struct {
	URL string `short:"u" default:"${url}" env:"ATOLL_URL" help:"The island to ask."`
	credentials
	JSON    bool          `help:"Print JSON instead of text."`
	Timeout time.Duration `default:"10s" help:"Give up after this long."`
}

// Help is shown by atoll status --help.
func (statusCmd) Help() string {
	return `Exit code: 0 when nothing is wrong, 1 when the island cannot be reached,
3 when it is up but reports a warning or worse.

Examples:

  atoll status
  ATOLL_TOKEN=... atoll status -u https://eu-1.example.com:59080 --ca-file eu-1.pem --json`
}

// Run prints what runs, what is wrong and what to do.
func (c *statusCmd) Run(ctx context.Context, std streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	client, err := c.client(c.URL)
	if err != nil {
		return err
	}
	report, err := portal.Ask(ctx, client, c.URL)
	if _, ok := errors.AsType[*refusedError](err); ok {
		return err // it runs
	}
	if err != nil {
		return fmt.Errorf("%w; is the island running there? start one with `atoll run`, or name another with --url", err)
	}
	if c.JSON {
		err = report.WriteJSON(std.out)
	} else {
		err = report.WriteText(std.out)
	}
	if err == nil && report.Troubled() {
		return exitError(3)
	}
	return err
}
