package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/atoll-mesh/atoll/island"
	"github.com/atoll-mesh/atoll/mesh/control"
)

type joinCmd struct {
	runCmd `embed:""`

	Token string            `arg:"" help:"What atoll invite printed, or - to read it from standard input."`
	Label map[string]string `short:"l" placeholder:"NAME=VALUE" help:"Labels to ask for; the invitation must allow them."`
	NoRun bool              `help:"Only join; do not run the island afterwards."`
}

// Help is shown by atoll join --help.
func (joinCmd) Help() string {
	return `Makes this island a member of the network that the token is for: keys are made,
membership is obtained, peers are found, shared documents are fetched.

With an island running on this data directory, that one joins at once. Otherwise
this command becomes the island, as atoll run would with the same flags;
--no-run stops after joining, for machines where a service manager starts it.

A join that was interrupted is taken up again by the same command.

Examples:

  atoll join atoll1...
  atoll join --no-run - < token && systemctl start atoll`
}

// Run joins, and runs the island unless one runs already.
func (c *joinCmd) Run(ctx context.Context, std streams) error {
	token, err := c.token()
	if err != nil {
		return err
	}
	req := control.JoinRequest{Token: token, Labels: c.Label}
	client, err := here{Config: c.Config, DataDir: c.DataDir}.client()
	if err != nil {
		return err
	}
	fmt.Fprintln(std.err, "joining ...")
	joined, err := control.Act[control.JoinRequest, control.JoinResult](ctx, client, "join", req)
	switch {
	case err == nil:
		printJoined(std.out, joined)
		return nil
	case !errors.Is(err, control.ErrNotRunning):
		return err
	case !c.NoRun:
		return c.run(ctx, std, &req, func(j control.JoinResult) { printJoined(std.out, j) })
	}
	cfg, err := c.loader()()
	if err != nil {
		return err
	}
	joined, err = island.Join(ctx, cfg, req)
	if err != nil {
		return err
	}
	printJoined(std.out, joined)
	return nil
}

func (c *joinCmd) token() (string, error) {
	if c.Token != "-" {
		return c.Token, nil
	}
	text, err := io.ReadAll(io.LimitReader(os.Stdin, 64<<10))
	if err != nil {
		return "", fmt.Errorf("read the token from standard input: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func printJoined(w io.Writer, j control.JoinResult) {
	fmt.Fprintf(w, "joined %s as %s (%s) in %.1f s; members: %d; see `atoll peers`\n", j.Network, j.Island, j.Role, j.Seconds, j.Members)
}
