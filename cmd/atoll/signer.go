package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/atoll-mesh/atoll/mesh/control"
)

type signerCmd struct {
	here `embed:""`

	Do   string `arg:"" optional:"" enum:"list,add,remove" default:"list" help:"list, add NAME --key KEY, or remove --key KEY."`
	Name string `arg:"" optional:"" help:"The island that shall invite others; it has the role admin."`
	Key  string `placeholder:"KEY" help:"Its signer key, as this command lists it over there."`
}

// Help is shown by atoll signer --help.
func (signerCmd) Help() string {
	return `Islands with a trusted signer key invite others, renew certificates and revoke.
Adding and removing takes the root key, so it works where mesh/root.key is. An
island that joins with the role admin is added at once if its invitation came
from there. Removing a signer signs anew what it had signed.

Examples:

  atoll signer
  atoll signer add lisbon --key 12D3KooWQ...
  atoll signer remove --key 12D3KooWQ...`
}

// Run lists or changes.
func (c *signerCmd) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.Do == "list" {
		return c.list(ctx, client, std)
	}
	if c.Key == "" || c.Do == "add" && c.Name == "" {
		return errors.New("signer: add takes a name and --key, remove takes --key; `atoll signer` on that island shows its key")
	}
	res, err := control.Act[control.SignerRequest, control.SignerResult](ctx, client, "signer", control.SignerRequest{
		Remove: c.Do == "remove", Name: c.Name, Key: c.Key,
	})
	if err != nil {
		return err
	}
	if c.Do == "add" {
		fmt.Fprintf(std.out, "%s may invite others now\n", c.Name)
		return nil
	}
	fmt.Fprintf(std.out, "%s is trusted no more; %d document(s) signed anew\n", c.Key, res.Adopted)
	return nil
}

func (c *signerCmd) list(ctx context.Context, client *control.Client, std streams) error {
	s, err := control.Ask[control.NetworkStatus](ctx, client, "network")
	if err != nil {
		return err
	}
	if !s.Joined {
		return control.ErrNotJoined
	}
	t := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ISLAND\tSIGNER KEY")
	for _, signer := range s.Signers {
		fmt.Fprintf(t, "%s\t%s\n", signer.Name, signer.Key)
	}
	if s.SignerKey != "" && !s.Signer {
		fmt.Fprintf(t, "%s\t%s (this island's, not trusted yet)\n", s.Island, s.SignerKey)
	}
	return t.Flush()
}
