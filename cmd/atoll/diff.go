package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

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
	from, to, err := c.sides(ctx, docs)
	if err != nil {
		return err
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: lines(from.text), FromFile: c.Document + " " + from.name,
		B: lines(to.text), ToFile: c.Document + " " + to.name,
		Context: 3,
	})
	if err != nil || text == "" {
		return err
	}
	fmt.Fprint(std.out, text)
	return exitError(3)
}

// lines ends each line, the last one too; an empty text has none.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	return slices.Collect(strings.Lines(strings.TrimSuffix(text, "\n") + "\n"))
}

type named struct{ name, text string }

// sides are the texts to compare, the older first. Before the first version
// stands nothing, and so it does after a deletion.
func (c *diffCmd) sides(ctx context.Context, docs shelf) (from, to named, err error) {
	if c.File != "" {
		now, _, err := docs.get(ctx, c.Document)
		if err != nil {
			return from, to, err
		}
		text, err := content(c.File)
		if err != nil {
			return from, to, fmt.Errorf("--file: %w", err)
		}
		return named{"now", now.Value}, named{c.File, string(text)}, nil
	}
	versions, err := docs.history(ctx, c.Document) // the newest first
	if err != nil {
		return from, to, err
	}
	for _, v := range versions {
		if c.Version == 0 && v.Time < versions[0].Time || c.Version != 0 && v.Time == c.Version {
			from = named{fmt.Sprint(v.Time), v.Value}
			return from, named{"now", versions[0].Value}, nil
		}
	}
	if c.Version != 0 {
		return from, to, fmt.Errorf("--version %d: %s has no such version; `atoll history %[2]s` lists them", c.Version, c.Document)
	}
	if len(versions) > 0 {
		to = named{"now", versions[0].Value}
	}
	return named{"before", ""}, to, nil
}
