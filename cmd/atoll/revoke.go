package main

import (
	"context"
	"fmt"

	"github.com/atoll-mesh/atoll/mesh/control"
)

type revokeCmd struct {
	here `embed:""`

	Name          string `arg:"" help:"The island's name or key, or the ID of an invitation."`
	Reason        string `placeholder:"TEXT" help:"Why, for the audit log and for the island itself."`
	DropDocuments bool   `help:"Let the documents that it wrote fall with it. Default: this island signs them anew."`
}

// Help is shown by atoll revoke --help.
func (revokeCmd) Help() string {
	return `Ends an island's membership for good: every island closes its connections to it
and refuses its key, those that are cut off now as soon as they are back. The
island needs a new invitation, and will get a new key, to return.

Examples:

  atoll revoke lisbon --reason "disk stolen"
  atoll revoke 12D3KooWQ...        an invitation that was not used`
}

// Run revokes and says how many heard it.
func (c *revokeCmd) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	got, err := control.Act[control.RevokeRequest, control.RevokeResult](ctx, client, "revoke", control.RevokeRequest{
		Name: c.Name, Reason: c.Reason, DropDocuments: c.DropDocuments,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "revoked %s (%s); %d connected island(s) told", got.Name, got.Key, got.Told)
	if got.Adopted > 0 {
		fmt.Fprintf(std.out, "; %d of its documents signed anew", got.Adopted)
	}
	fmt.Fprintln(std.out)
	return nil
}
