package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/replicate"
)

type copiesCmd struct {
	here `embed:""`

	JSON bool `help:"Print JSON with everything that is known."`
}

// Help is shown by atoll copies --help.
func (copiesCmd) Help() string {
	return `Lists the replication streams that this island sends, and the copies of other
islands' series that it keeps. NEWEST is the age of the newest sample that the
receiver has on disk.

Example:

  atoll copies`
}

// Run asks the island and prints both lists.
func (c *copiesCmd) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	status, err := control.Ask[replicate.Status](ctx, client, "copies")
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, status)
	}
	return printCopies(std, status)
}

func printCopies(std streams, s replicate.Status) error {
	if len(s.Streams)+len(s.Copies) == 0 {
		fmt.Fprintln(std.out, "no stream and no copy; the section `replicate` of the configuration makes one")
		return nil
	}
	t := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	if len(s.Streams) > 0 {
		fmt.Fprintln(t, "STREAM\tTO\tSTATE\tSINCE\tNEWEST\tTODAY\tWHY")
		for _, one := range s.Streams {
			today := size(one.SpentToday)
			if one.PerDay > 0 {
				today += " of " + size(one.PerDay)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
				one.Stream, one.To, one.State, time.Since(one.Since).Round(time.Second), ago(one.Newest), today, oneLine(one.Error))
		}
	}
	if len(s.Copies) > 0 {
		if len(s.Streams) > 0 {
			fmt.Fprintln(t)
		}
		fmt.Fprintln(t, "COPY OF\tSTREAM\tSTATE\tSINCE\tOLDEST\tNEWEST\tSERIES\tREMOVED IN")
		for _, one := range s.Copies {
			state, leaves := "waiting", "-"
			if one.Open {
				state = "open"
			}
			if one.Leaves != nil {
				leaves = time.Until(*one.Leaves).Round(time.Minute).String()
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", one.Origin.Name, one.Stream, state,
				time.Since(one.Since).Round(time.Second), ago(one.Oldest), ago(one.Newest), one.Series, leaves)
		}
	}
	return t.Flush()
}

// ago is the age of a time in Unix milliseconds.
func ago(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.Since(time.UnixMilli(ms)).Round(time.Second).String() + " ago"
}

func oneLine(text string) string {
	out := []rune(strings.Join(strings.Fields(text), " "))
	if len(out) > maxWhy {
		return string(out[:maxWhy]) + "..."
	}
	return string(out)
}
