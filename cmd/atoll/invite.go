package main

import (
	"context"
	"fmt"
	"time"

	"github.com/atoll-mesh/atoll/mesh/control"
)

type inviteCmd struct {
	here `embed:""`

	Role    string            `enum:"island,admin,vantage,observer" default:"island" help:"What the new island may do: island, admin, vantage, observer."`
	Name    string            `placeholder:"NAME" help:"The name it must take. Default: the one in its own configuration."`
	Label   map[string]string `short:"l" placeholder:"NAME=VALUE" help:"Labels it gets, as in region=eu-west. May be repeated."`
	Uses    int               `default:"1" help:"How many islands may join with the token."`
	Expires time.Duration     `default:"24h" help:"How long the token is good for."`
	JSON    bool              `help:"Print JSON instead of the bare token."`
}

// Help is shown by atoll invite --help.
func (inviteCmd) Help() string {
	return `Prints one line: the token that ` + "`atoll join`" + ` takes on the new site. Whoever has
it can join, so send it as you would send a password. ` + "`atoll revoke ID`" + ` takes it back.

Roles:
  island    collects, stores, answers, probes, relays; writes shared documents
  admin     an island that may also invite, renew and revoke (a signer)
  vantage   probes and reports, reads nothing but its probes
  observer  reads, writes nothing

Examples:

  atoll invite --label region=eu-west
  atoll invite --role vantage --uses 20 --expires 2h --label region=ap`
}

// Run prints the token.
func (c *inviteCmd) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	got, err := control.Act[control.InviteRequest, control.InviteResult](ctx, client, "invite", control.InviteRequest{
		Role: c.Role, Name: c.Name, Labels: c.Label, Uses: c.Uses, ExpiresSeconds: c.Expires.Seconds(),
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, got)
	}
	fmt.Fprintln(std.out, got.Token)
	fmt.Fprintf(std.err, "invitation %s, good until %s for %d island(s); on the new site: atoll join TOKEN\n", got.ID, got.Expires.Local().Format(time.DateTime), c.Uses)
	return nil
}
