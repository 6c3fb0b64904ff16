package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/atoll-mesh/atoll/demo"
)

type demoCmd struct {
	Listen     string        `default:"127.0.0.1:59080" help:"Address of the first island; the next free port if it is taken. The others take the ports after it."`
	Dir        string        `placeholder:"DIR" help:"Keep configuration and data here. Default: a temporary directory, removed at the end."`
	Distance   string        `enum:"on,off" default:"on" help:"Hold back what passes between the islands, as the distance between their cities does: on, off."`
	BurstEvery time.Duration `default:"4m" help:"Time between two bursts of errors in the shop."`
	BurstFor   time.Duration `default:"60s" help:"How long a burst lasts."`
	Open       bool          `help:"Open a browser, if there is one."`
	Island     string        `hidden:"" placeholder:"FILE" help:"Run one of the demo's islands for as long as standard input is open."`
}

// Help is shown by atoll demo --help.
func (demoCmd) Help() string {
	return `Needs no configuration and no root. Starts three islands as processes of this
machine, in Beijing, Singapore and Frankfurt as far as distance goes, in one network
over loopback. They measure the machine and a sample shop whose three services are
spread over them. Every few minutes one service fails for a while: an alert fires,
and resolves; and at times one city does not reach the shop while the others do.
Ctrl-C stops everything and removes what was written.`
}

// Run blocks until Ctrl-C.
func (c *demoCmd) Run(ctx context.Context, std streams) error {
	if c.Island != "" {
		return c.island(ctx, std)
	}
	d, err := demo.New(demo.Options{
		Listen: c.Listen, Dir: c.Dir, NoDistance: c.Distance == "off", BurstEvery: c.BurstEvery, BurstFor: c.BurstFor, Open: c.Open, Out: std.out,
	})
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// lastMoments is how long an island whose demo is gone may take to stop.
const lastMoments = 30 * time.Second

// island runs one island until the demo closes the pipe that is standard input, or is
// no more itself.
func (c *demoCmd) island(ctx context.Context, std streams) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
		time.AfterFunc(lastMoments, func() { os.Exit(1) }) // there is nobody left to kill it
	}()
	return (&runCmd{Config: c.Island}).Run(ctx, std)
}
