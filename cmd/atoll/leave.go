package main

import (
	"context"
	"fmt"

	"github.com/atoll-mesh/atoll/mesh/control"
)

type leaveCmd struct {
	here `embed:""`

	Force bool `help:"Leave even if no other island hears of it, or the network loses a key that it needs."`
}

// Help is shown by atoll leave --help.
func (leaveCmd) Help() string {
	return `Ends this island's membership: what it aggregates together with the others is
handed over to them (15 seconds at most), the others are told, its keys and its copy
of the shared documents are removed. It goes on collecting, storing and alerting by
itself. To come back it needs a new invitation.

Example:

  atoll leave`
}

// Run says farewell.
func (c *leaveCmd) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	left, err := control.Act[control.LeaveRequest, control.LeaveResult](ctx, client, "leave", control.LeaveRequest{Force: c.Force})
	if err != nil {
		return err
	}
	if left.Told == 0 {
		fmt.Fprintf(std.out, "left %s, but no other island was connected to hear it: on one of them run `atoll revoke` with this island's name\n", left.Network)
		return nil
	}
	fmt.Fprintf(std.out, "left %s; %d island(s) were told\n", left.Network, left.Told)
	return nil
}
