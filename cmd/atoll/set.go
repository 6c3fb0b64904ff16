package main

import (
	"context"
	"errors"
	"fmt"
)

type setCmd struct {
	here `embed:""`

	Document string `arg:"" help:"KIND/NAME, as in rules/cpu."`
	File     string `short:"f" placeholder:"FILE" predictor:"file" help:"Where the text is; - is standard input."`
	Delete   bool   `help:"Delete the document everywhere."`
}

// Help is shown by atoll set --help.
func (setCmd) Help() string {
	return `Writes a document; every island has it moments later, those that are cut off when
they are back. Of two edits the later one stands; the other is in atoll history.

Examples:

  atoll set rules/cpu -f cpu.yml
  atoll set owner/shop -f - <<< 'team: checkout'
  atoll set rules/cpu --delete`
}

// Run writes or deletes.
func (c *setCmd) Run(ctx context.Context, std streams) error {
	if c.Delete == (c.File != "") {
		return errors.New("set: say either --file FILE (or -f - for standard input) or --delete")
	}
	docs, err := c.shelf()
	if err != nil {
		return err
	}
	if c.Delete {
		if err := docs.remove(ctx, c.Document); err != nil {
			return err
		}
		fmt.Fprintf(std.out, "%s deleted\n", c.Document)
		return nil
	}
	text, err := content(c.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	d, err := docs.put(ctx, c.Document, text, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s written, version %d\n", d.Key, d.Time)
	return nil
}
