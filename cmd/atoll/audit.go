package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/trust"
)

type auditCmd struct {
	here `embed:""`

	Verify string `placeholder:"FILE" predictor:"file" help:"Verify a copy of a log, offline; nothing needs to run."`
	JSON   bool   `help:"Print the log as it is: a line of JSON per entry, for keeping and verifying elsewhere."`
}

// Help is shown by atoll audit --help.
func (auditCmd) Help() string {
	return `Each island keeps a log of what was changed on it, by whom. Every entry carries
the hash of the one before and a signature, so that nothing can be changed, moved
or taken out unnoticed.

Examples:

  atoll audit
  atoll audit --json > lisbon-2026.jsonl
  atoll audit --verify lisbon-2026.jsonl`
}

// Run shows or verifies.
func (c *auditCmd) Run(ctx context.Context, std streams) error {
	if c.Verify != "" {
		return c.verify(std)
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	resp, err := client.Do(ctx, http.MethodGet, control.Prefix+"audit", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if c.JSON {
		_, err = io.Copy(std.out, resp.Body)
		return err
	}
	t := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ENTRY\tTIME\tBY\tDID\tTO\tDETAIL")
	for dec := json.NewDecoder(resp.Body); ; {
		var e trust.AuditEntry
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return t.Flush()
		} else if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", e.Seq, time.UnixMilli(e.TimeMs).Local().Format(time.DateTime), e.Actor, e.Action, e.Subject, e.Detail)
	}
}

func (c *auditCmd) verify(std streams) error {
	s, err := trust.VerifyAuditFile(c.Verify, nil)
	note := ""
	if _, missing := os.Stat(c.Verify + ".head"); errors.Is(missing, fs.ErrNotExist) {
		s, err = verifyCopy(c.Verify)
		note = "\nEntries missing at its end would not show: compare the head with one that was noted elsewhere,\nor keep the file audit.jsonl.head beside the copy.\n"
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", c.Verify, err)
	}
	fmt.Fprintf(std.out, "%d entries, whole and unchanged\nnetwork  %s\nfrom     %s\nto       %s\nhead     %s\n",
		s.Entries, s.Network, time.UnixMilli(s.FromMs).UTC().Format(time.RFC3339), time.UnixMilli(s.ToMs).UTC().Format(time.RFC3339), s.Head.Hash)
	for _, k := range s.Keys {
		fmt.Fprintf(std.out, "signed by %s\n", k)
	}
	fmt.Fprint(std.out, note)
	return nil
}

// verifyCopy verifies what `atoll audit --json` printed, which has no head beside it.
func verifyCopy(file string) (trust.AuditSummary, error) {
	f, err := os.Open(file)
	if err != nil {
		return trust.AuditSummary{}, err
	}
	defer f.Close()
	return trust.VerifyAudit(f, nil)
}
