package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/atoll-mesh/atoll/island"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/trust"
)

type trustCmd struct {
	here `embed:""`

	Do   string `arg:"" enum:"export,import" help:"export or import."`
	File string `arg:"" predictor:"file" help:"The file, or - for standard output or input."`
}

// Help is shown by atoll trust --help.
func (trustCmd) Help() string {
	return `Carries the network's signed documents of trust by hand: who the roots and signers
are, who is a member, who was revoked, the policy. It is for islands that do not
reach each other, or refuse each other and do not find back by themselves.

export writes all that this island holds into a file. There is no secret in it, but
the names, labels and addresses of all members. import takes over what is valid by
the network's roots and newer than what is held here, as if other islands had sent
it, and says of all else why not. Both work with the island running or stopped.

Examples:

  atoll trust export acme.trust
  atoll trust import acme.trust`
}

// Run exports or imports.
func (c *trustCmd) Run(ctx context.Context, std streams) error {
	if c.Do == "export" {
		return c.export(ctx, std)
	}
	return c.load(ctx, std)
}

func (c *trustCmd) export(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var file bytes.Buffer
	err = control.Export(ctx, client, &file)
	if errors.Is(err, control.ErrNotRunning) {
		cfg, cerr := c.config()
		if cerr != nil {
			return cerr
		}
		file.Reset()
		err = island.ExportTrust(cfg, &file)
	}
	if err != nil {
		return err
	}
	// What was cut short on its way is not written.
	network, docs, err := trust.ReadCarried(bytes.NewReader(file.Bytes()))
	if err != nil {
		return err
	}
	if c.File == "-" {
		_, err = file.WriteTo(std.out)
		return err
	}
	if err := os.WriteFile(c.File, file.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write documents of trust: %w", err)
	}
	fmt.Fprintf(std.out, "%d documents of network %s are in %s\n", len(docs), network.Short(), c.File)
	return nil
}

func (c *trustCmd) load(ctx context.Context, std streams) error {
	text, err := c.read()
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	res, err := control.Import(ctx, client, text)
	if errors.Is(err, control.ErrNotRunning) {
		cfg, cerr := c.config()
		if cerr != nil {
			return cerr
		}
		res, err = island.ImportTrust(ctx, cfg, bytes.NewReader(text))
	}
	if err != nil {
		return err
	}
	for _, key := range res.Taken {
		fmt.Fprintln(std.out, "taken   ", key)
	}
	for _, reason := range res.Reasons {
		fmt.Fprintln(std.out, "refused ", reason)
	}
	fmt.Fprintf(std.out, "%d taken, %d known, %d refused\n", len(res.Taken), res.Known, res.Refused)
	return nil
}

// read reads one byte more than may be, so that too much is seen to be.
func (c *trustCmd) read() ([]byte, error) {
	f := os.Stdin
	if c.File != "-" {
		var err error
		if f, err = os.Open(c.File); err != nil {
			return nil, fmt.Errorf("read documents of trust: %w", err)
		}
		defer f.Close()
	}
	text, err := io.ReadAll(io.LimitReader(f, trust.MaxCarried+1))
	if err == nil && len(text) > trust.MaxCarried {
		err = fmt.Errorf("%s: more than %d bytes", c.File, trust.MaxCarried)
	}
	if err != nil {
		return nil, fmt.Errorf("read documents of trust: %w", err)
	}
	return text, nil
}
