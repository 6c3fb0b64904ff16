package main

import (
	"context"
	"fmt"

	"github.com/pmezard/go-difflib/difflib"
)

type diffCmd struct {
	here `embed:""`

	Document string `arg:"" help:"KIND/NAME."`
	File     string `short:"f" xor:"with" placeholder:"FILE" predictor:"file" help:"Compare with this file; - is standard input."`
	Version  uint64 `xor:"with" placeholder:"VERSION" help:"Compare with this version of atoll history. Default: the one before the newest."`
}

// Help is shown by atoll diff --help.
func (diffCmd) Help() string {
	return `Prints a unified diff. Exit code: 0 when equal, 3 when different.

Examples:

  atoll diff rules/cpu               what the last edit changed
  atoll diff rules/cpu -f cpu.yml    what atoll set would change`
}

// Run prints the difference.
func (c *diffCmd) Run(ctx context.Context, std streams) error {
	docs, err := c.shelf()
	if err != nil {
		return err
	}
	newest, _, err := docs.get(ctx, c.Document)
	if err != nil {
		return err
	}
	from, to := named{"now", newest.Value}, named{}
	if c.File != "" {
		text, err := content(c.File)
		if err != nil {
			return fmt.Errorf("--file: %w", err)
		}
		to = named{c.File, string(text)}
	} else {
		old, err := c.older(ctx, docs, newest)
		if err != nil {
			return err
		}
		from, to = named{fmt.Sprint(old.Time), old.Value}, from
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(from.text), FromFile: c.Document + " " + from.name,
		B: difflib.SplitLines(to.text), ToFile: c.Document + " " + to.name,
		Context: 3,
	})
	if err != nil || text == "" {
		return err
	}
	fmt.Fprint(std.out, text)
	return exitError(3)
}

type named struct{ name, text string }

// older finds the version to compare with; before the first one stands nothing.
func (c *diffCmd) older(ctx context.Context, docs shelf, newest document) (document, error) {
	versions, err := docs.history(ctx, c.Document)
	if err != nil {
		return document{}, err
	}
	for _, v := range versions { // the newest first
		if c.Version == 0 && v.Time < newest.Time || c.Version != 0 && v.Time == c.Version {
			return v, nil
		}
	}
	if c.Version != 0 {
		return document{}, fmt.Errorf("--version %d: %s has no such version; `atoll history %[2]s` lists them", c.Version, c.Document)
	}
	return document{}, nil
}
