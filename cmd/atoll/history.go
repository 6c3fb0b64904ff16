package main

import (
	"context"
	"fmt"
)

type historyCmd struct {
	here `embed:""`

	Document string `arg:"" help:"KIND/NAME."`
	JSON     bool   `help:"Print JSON, with the text of every version."`
}

// Help is shown by atoll history --help.
func (historyCmd) Help() string {
	return `Lists the versions of a document that this island knows, the newest first.

Examples:

  atoll history rules/cpu
  atoll diff rules/cpu --version VERSION`
}

// Run prints a line per version.
func (c *historyCmd) Run(ctx context.Context, std streams) error {
	docs, err := c.shelf()
	if err != nil {
		return err
	}
	versions, err := docs.history(ctx, c.Document)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, versions)
	}
	return docs.printDocuments(ctx, std.out, "VERSION", versions, func(d document) string { return fmt.Sprint(d.Time) })
}
