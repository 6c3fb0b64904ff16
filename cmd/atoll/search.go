package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/atoll-mesh/atoll/asset"
)

type searchCmd struct {
	Words []string `arg:"" help:"What to look for: words, label:value, kind:host, 10.1.0.0/16."`
	URL   string   `short:"u" default:"${url}" env:"ATOLL_URL" help:"The island to ask."`
	credentials
	Here    bool          `help:"Search what this island knows only, not the others."`
	Limit   int           `short:"n" default:"20" help:"Results at most, up to 200."`
	JSON    bool          `help:"Print JSON."`
	Timeout time.Duration `default:"10s" help:"Give up after this long."`
}

// Help is shown by atoll search --help.
func (searchCmd) Help() string {
	return `Finds hosts, containers, targets, probes, metrics, rules, alerts, islands,
dashboards and documents in which every word occurs.

Examples:

  atoll search checkout region:eu
  atoll search 10.1.0.0/16 kind:host
  atoll search state:firing team:shop --here`
}

// Run asks the island and prints what it found.
func (c *searchCmd) Run(ctx context.Context, std streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	words := make([]string, len(c.Words))
	for i, w := range c.Words {
		words[i] = quoted(w)
	}
	client, err := c.client(c.URL)
	if err != nil {
		return err
	}
	a, err := asset.AskSearch(ctx, client, c.URL, strings.Join(words, " "), c.Limit, !c.Here)
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.URL, err)
	}
	if c.JSON {
		e := json.NewEncoder(std.out)
		e.SetIndent("", "  ")
		return e.Encode(a)
	}
	return printFound(std.out, a)
}

// quoted keeps together what the shell kept together.
func quoted(w string) string {
	if !strings.Contains(w, " ") || strings.Contains(w, `"`) {
		return w
	}
	if field, value, ok := strings.Cut(w, ":"); ok && !strings.Contains(field, " ") {
		return field + `:"` + value + `"`
	}
	return `"` + w + `"`
}

func printFound(out io.Writer, a asset.Answer) error {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	total := 0
	for _, n := range a.Counts {
		total += n
	}
	if total > 0 {
		fmt.Fprintln(t, "KIND\tNAME\tSTATE\tISLAND\tSUMMARY")
	}
	for _, f := range a.Items {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.Kind, tableWord(f.Name), tableWord(f.State), tableWord(f.Island), tableWord(f.Summary))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch more := total - len(a.Items); {
	case total == 0:
		fmt.Fprintln(out, "nothing is found")
	case more > 0:
		fmt.Fprintf(out, "and %d more\n", more)
	}
	for _, i := range a.Islands {
		if !i.Answered {
			fmt.Fprintf(out, "%s did not answer: %s\n", tableWord(i.Name), tableWord(i.Error))
		}
	}
	return nil
}

// tableWord takes out what would command the terminal or break the table.
func tableWord(s string) string {
	const most = 120
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
