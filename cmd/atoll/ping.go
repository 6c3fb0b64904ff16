package main

import (
	"context"
	"fmt"
	"time"

	"github.com/atoll-mesh/atoll/mesh/control"
)

type pingCmd struct {
	here `embed:""`

	Name     string        `arg:"" help:"The other island's name."`
	Count    int           `short:"n" default:"4" help:"How many times; 0 until interrupted."`
	Interval time.Duration `short:"i" default:"1s" help:"Pause between two."`
}

// Help is shown by atoll ping --help.
func (pingCmd) Help() string {
	return `Measures the way to another island through the mesh and says which way that is.
Exit code 1 if no answer came at all.

Example:

  atoll ping lisbon`
}

// Run prints one line per round trip.
func (c *pingCmd) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	answered := 0
	for n := 1; c.Count == 0 || n <= c.Count; n++ {
		pong, err := control.Act[control.PingRequest, control.PingResult](ctx, client, "ping", control.PingRequest{Name: c.Name})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && answered == 0 && n == 1:
			return err
		case err != nil:
			fmt.Fprintf(std.out, "%d: %v\n", n, err)
		default:
			answered++
			fmt.Fprintf(std.out, "%d: %s %.1f ms, %s over %s\n", n, pong.Name, pong.RTTMs, pong.Path, pong.Transport)
		}
		if n == c.Count {
			break
		}
		select {
		case <-time.After(c.Interval):
		case <-ctx.Done():
			return nil
		}
	}
	if answered == 0 {
		return exitError(1)
	}
	return nil
}
