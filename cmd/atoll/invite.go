package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/atoll-mesh/atoll/mesh/control"
)

type inviteCmd struct {
	here `embed:""`

	Role     string            `enum:"island,admin,vantage,observer" default:"island" help:"What the new island may do: island, admin, vantage, observer."`
	Name     string            `placeholder:"NAME" help:"The name it must take. Default: the one in its own configuration."`
	Label    map[string]string `short:"l" placeholder:"NAME=VALUE" help:"Labels it gets, as in region=eu-west. May be repeated."`
	Uses     int               `default:"1" help:"How many islands may join with the token."`
	Expires  time.Duration     `default:"24h" help:"How long the token is good for."`
	List     bool              `xor:"do" help:"List the open invitations instead of making one."`
	Withdraw string            `xor:"do" placeholder:"INVITATION" help:"End an open invitation: its ID, the last six or more characters of that, or the name it gives."`
	JSON     bool              `help:"Print JSON."`
}

// Help is shown by atoll invite --help.
func (inviteCmd) Help() string {
	return `Prints one line: the token that ` + "`atoll join`" + ` takes on the new site. Whoever has
it can join, so send it as you would send a password.

--list shows the invitations that are neither used up nor expired. The token is
shown once only: who lost it withdraws the invitation and makes another one.
Who has come by an invitation stays when it is withdrawn.

Roles:
  island    collects, stores, answers, probes, relays; writes shared documents
  admin     an island that may also invite, renew and revoke (a signer)
  vantage   probes and reports, reads nothing but its probes
  observer  reads, writes nothing

Examples:

  atoll invite --label region=eu-west
  atoll invite --role vantage --uses 20 --expires 2h --label region=ap
  atoll invite --list
  atoll invite --withdraw lisbon`
}

// Run prints the token, or what became of earlier ones.
func (c *inviteCmd) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	switch {
	case err != nil:
		return err
	case c.List:
		return c.list(ctx, client, std)
	case c.Withdraw != "":
		return c.withdraw(ctx, client, std)
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

func (c *inviteCmd) list(ctx context.Context, client *control.Client, std streams) error {
	open, err := control.Ask[[]control.Invitation](ctx, client, "invitations")
	switch {
	case err != nil:
		return err
	case c.JSON:
		return printJSON(std.out, open)
	case len(open) == 0:
		fmt.Fprintln(std.out, "no invitation is open; `atoll invite` makes one")
		return nil
	}
	t := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tROLE\tLABELS\tUSES LEFT\tEXPIRES\tBY\tID")
	for _, i := range open {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d of %d\t%s\t%s\t%s\n", dash(i.Name), i.Role, dash(labelText(i.Labels)), i.Left, i.Uses,
			i.Expires.Local().Format(time.DateTime), shortKey(i.By), i.ID)
	}
	return t.Flush()
}

func labelText(set map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		out = append(out, name+"="+set[name])
	}
	return strings.Join(out, ",")
}

func (c *inviteCmd) withdraw(ctx context.Context, client *control.Client, std streams) error {
	got, err := control.Act[control.WithdrawRequest, control.WithdrawResult](ctx, client, "withdraw", control.WithdrawRequest{Which: c.Withdraw})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, got)
	}
	fmt.Fprintf(std.out, "invitation %s is withdrawn; %d of %d had come by it\n", got.ID, got.Used, got.Uses)
	return nil
}
