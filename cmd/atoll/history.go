package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"
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
	t := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "VERSION\tCHANGED\tBY\tBYTES")
	for _, v := range versions {
		size := fmt.Sprint(v.Bytes)
		if v.Deleted {
			size = "deleted"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", v.Time, v.Modified.Local().Format(time.DateTime), v.Author, size)
	}
	return t.Flush()
}
