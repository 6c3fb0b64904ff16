package main

import (
	"context"
	"fmt"
	"strings"
)

type getCmd struct {
	here `embed:""`

	Document string `arg:"" optional:"" help:"KIND/NAME for its text; KIND/ for a list; nothing for all."`
	JSON     bool   `help:"Print JSON: the text with its version, time and author."`
}

// Help is shown by atoll get --help.
func (getCmd) Help() string {
	return `Documents are small signed texts that every island of the network keeps: members,
policy, rules, scrape and probe definitions, silences, owners.

Examples:

  atoll get                  all of them
  atoll get rules/           those of one kind
  atoll get rules/cpu > cpu.yml`
}

// Run prints one document or a list.
func (c *getCmd) Run(ctx context.Context, std streams) error {
	docs, err := c.shelf()
	if err != nil {
		return err
	}
	if c.Document == "" || strings.HasSuffix(c.Document, "/") || !strings.Contains(c.Document, "/") {
		list, err := docs.list(ctx, c.Document)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(std.out, list)
		}
		return docs.printDocuments(ctx, std.out, "DOCUMENT", list, func(d document) string { return d.Key })
	}
	d, ok, err := docs.get(ctx, c.Document)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("document %q: there is none; `atoll get` lists all", c.Document)
	case c.JSON:
		return printJSON(std.out, d)
	}
	fmt.Fprint(std.out, d.Value)
	return nil
}
