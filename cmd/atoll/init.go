package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/atoll-mesh/atoll/island"
	"github.com/atoll-mesh/atoll/mesh/control"
)

type initCmd struct {
	here `embed:""`

	Network string `arg:"" optional:"" default:"atoll" help:"What people call the network, as in acme."`
}

// Help is shown by atoll init --help.
func (initCmd) Help() string {
	return `Makes a network: its root key, a recovery key, and this island as first member
and first signer. It works with the island running, which takes it up at once,
or stopped.

The root key is written to mesh/root.key in the data directory. It is needed to
name further signers and to replace itself: keep a copy offline. The recovery
key is printed once and stored nowhere: whoever has it can replace a root key
that was lost or stolen.

Examples:

  atoll init acme
  atoll invite --role island --label region=eu-west`
}

// Run makes the network and prints what must be kept.
func (c *initCmd) Run(ctx context.Context, std streams) error {
	req := control.InitRequest{Network: c.Network}
	client, err := c.client()
	if err != nil {
		return err
	}
	made, err := control.Act[control.InitRequest, control.InitResult](ctx, client, "init", req)
	running := !errors.Is(err, control.ErrNotRunning)
	if !running {
		cfg, cerr := c.config()
		if cerr != nil {
			return cerr
		}
		made, err = island.Init(ctx, cfg, req)
	}
	if err != nil {
		return err
	}
	printNetwork(std.out, made, running)
	return nil
}

func printNetwork(w io.Writer, made control.InitResult, running bool) {
	fmt.Fprintf(w, "network   %s\nid        %s\nisland    %s (%s), first member and first signer\nroot key  %s\n\n", made.Network, made.NetworkID, made.Island, made.Key, made.RootFile)
	fmt.Fprintf(w, "Recovery key, shown only now. Write it down and keep it away from this machine:\n\n    %s\n\n", made.Recovery)
	if !running {
		fmt.Fprintln(w, "Next: `atoll run`, then `atoll invite` prints the token for the next site.")
		return
	}
	fmt.Fprintln(w, "Next: `atoll invite` prints the token for the next site.")
}
