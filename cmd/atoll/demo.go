package main

import (
	"context"
	"time"

	"github.com/atoll-mesh/atoll/demo"
)

type demoCmd struct {
	Listen     string        `default:"127.0.0.1:59080" help:"Address of the first island; the next free port if it is taken. The others take the ports after it."`
	Dir        string        `placeholder:"DIR" help:"Keep configuration and data here. Default: a temporary directory, removed at the end."`
	BurstEvery time.Duration `default:"4m" help:"Time between two bursts of errors in the shop."`
	BurstFor   time.Duration `default:"60s" help:"How long a burst lasts."`
}

// Help is shown by atoll demo --help.
func (demoCmd) Help() string {
	return `Needs no configuration and no root. Starts an island that measures this machine
and a sample shop of three services with traffic; every few minutes one of them
fails for a while, an alert fires, and resolves. Two more islands join it in a
network over loopback. Ctrl-C stops everything and removes what was written.`
}

// Run blocks until Ctrl-C.
func (c *demoCmd) Run(ctx context.Context, std streams) error {
	d, err := demo.New(demo.Options{
		Listen: c.Listen, Dir: c.Dir, BurstEvery: c.BurstEvery, BurstFor: c.BurstFor, Out: std.out, Version: version,
	})
	if err != nil {
		return err
	}
	return d.Run(ctx)
}
