package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/atoll-mesh/atoll/mesh/control"
)

type promoteCmd struct {
	here `embed:""`

	Names []string `arg:"" optional:"" name:"name" help:"Islands by name. Default: this one."`
}

// Help is shown by atoll promote --help.
func (promoteCmd) Help() string {
	return `Primaries evaluate the rules of documents globalrules/NAME over the samples of all
islands: each group on one of them, on the next within half a minute when that one
is lost. Alerts go out through the Alertmanager of the primary whose turn it is, so
give all of them the same receivers. Promote three, in different places.

Who is a primary is a shared document, which an administrator writes; atoll demote
takes it back, and nothing is lost either way.

Examples:

  atoll promote                    this island
  atoll promote fra iad sgp
  atoll edit globalrules/slo       write the rules`
}

// Run promotes and says who is a primary now.
func (c *promoteCmd) Run(ctx context.Context, std streams) error {
	return c.promote(ctx, std, c.Names, false)
}

type demoteCmd struct {
	here `embed:""`

	Names []string `arg:"" optional:"" name:"name" help:"Islands by name. Default: this one."`
}

// Help is shown by atoll demote --help.
func (demoteCmd) Help() string {
	return `The groups of global rules that these islands evaluate go to the other primaries,
with the state of their alerts. Without any primary left they rest.`
}

// Run demotes and says who is a primary now.
func (c *demoteCmd) Run(ctx context.Context, std streams) error {
	return c.promote(ctx, std, c.Names, true)
}

func (h here) promote(ctx context.Context, std streams, names []string, demote bool) error {
	client, err := h.client()
	if err != nil {
		return err
	}
	got, err := control.Act[control.PromoteRequest, control.PromoteResult](ctx, client, "promote", control.PromoteRequest{Names: names, Demote: demote})
	if err != nil {
		return err
	}
	if len(got.Changed) == 0 {
		fmt.Fprintln(std.out, "nothing to change")
	}
	fmt.Fprintln(std.out, "primaries:", cmp.Or(strings.Join(got.Primaries, ", "), "none"))
	if got.Note != "" {
		fmt.Fprintln(std.out, got.Note)
	}
	return nil
}
