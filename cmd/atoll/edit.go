package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"

	"github.com/atoll-mesh/atoll/mesh/control"
)

type editCmd struct {
	here `embed:""`

	Document string `arg:"" help:"KIND/NAME; it is made if there is none."`
}

// Help is shown by atoll edit --help.
func (editCmd) Help() string {
	return `Opens the document in $VISUAL or $EDITOR (else vi) and writes it when the editor
ends. Somebody else's edit in between is not overwritten: your text is kept in
the file that the message names.

Example:

  atoll edit rules/cpu`
}

// Run edits and writes against the version that was read.
func (c *editCmd) Run(ctx context.Context, std streams) error {
	docs, err := c.shelf()
	if err != nil {
		return err
	}
	before, _, err := docs.get(ctx, c.Document)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "atoll-*.yml")
	if err != nil {
		return fmt.Errorf("make a file to edit: %w", err)
	}
	_, werr := file.WriteString(before.Value)
	if err := errors.Join(werr, file.Close()); err != nil {
		return fmt.Errorf("write the file to edit: %w", err)
	}
	after, err := edited(ctx, file.Name())
	if err != nil {
		return fmt.Errorf("%w; your text is in %s", err, file.Name())
	}
	if bytes.Equal(after, []byte(before.Value)) {
		fmt.Fprintln(std.out, "nothing changed")
		return os.Remove(file.Name())
	}
	d, err := docs.put(ctx, c.Document, after, before.Time)
	var no *control.Refusal
	switch {
	case errors.As(err, &no) && no.Status == http.StatusPreconditionFailed:
		return fmt.Errorf("%s was changed by somebody else meanwhile: see `atoll history %[1]s`, then bring your text from %s in", c.Document, file.Name())
	case err != nil:
		return fmt.Errorf("%w; your text is in %s", err, file.Name())
	}
	fmt.Fprintf(std.out, "%s written, version %d\n", d.Key, d.Time)
	return os.Remove(file.Name())
}

// edited runs the editor through a shell, because $EDITOR may hold flags.
func edited(ctx context.Context, file string) ([]byte, error) {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run the editor %q: %w", editor, err)
	}
	return os.ReadFile(file)
}
