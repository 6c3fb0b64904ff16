package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/atoll-mesh/atoll/mesh/control"
)

type rotateCmd struct {
	here `embed:""`

	What     string `arg:"" enum:"node,signer,root,retire" default:"node" help:"Which key: node, signer, root; or retire, to end trust in the root keys before the newest."`
	Recovery string `placeholder:"FILE" predictor:"file" help:"File with the recovery key, where the root key is lost."`
}

// Help is shown by atoll rotate --help.
func (rotateCmd) Help() string {
	return `Replaces a key. Old and new are trusted side by side, so that islands that are
away meanwhile come back without help.

  node    this island's own key; a signer confirms it. The old one is accepted
          for another day.
  signer  the key with which this island admits others; needs the root key here.
  root    the key that names signers; needs the root key, or --recovery.
  retire  after a new root: the older ones are trusted no more.

A rotation that was interrupted is finished by the same command, or at the next start.

Examples:

  atoll rotate node
  atoll rotate root --recovery recovery.txt && atoll rotate retire`
}

// Run rotates and names old and new key.
func (c *rotateCmd) Run(ctx context.Context, std streams) error {
	req := control.RotateRequest{What: c.What}
	if c.Recovery != "" {
		text, err := os.ReadFile(c.Recovery)
		if err != nil {
			return fmt.Errorf("--recovery: %w", err)
		}
		req.Recovery = strings.TrimSpace(string(text))
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	got, err := control.Act[control.RotateRequest, control.RotateResult](ctx, client, "rotate", req)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s key\nold  %s\nnew  %s\n", c.What, got.Old, got.New)
	if got.Note != "" {
		fmt.Fprintln(std.out, got.Note)
	}
	return nil
}
