package portal

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
)

// Report is the status of an island as a client sees it.
type Report struct {
	URL    string       `json:"url"`
	Status Status       `json:"status"`
	Health HealthAnswer `json:"health"`
}

// Ask fetches the report of the island at base, such as http://127.0.0.1:59080.
func Ask(ctx context.Context, client *http.Client, base string) (*Report, error) {
	base = strings.TrimSuffix(base, "/")
	r := &Report{URL: base}
	if err := getJSON(ctx, client, base+"/api/atoll/v1/status", &r.Status); err != nil {
		return nil, err
	}
	if err := getJSON(ctx, client, base+"/api/atoll/v1/health", &r.Health); err != nil {
		return nil, err
	}
	return r, nil
}

// maxAnswer bounds what a server that is no island can make us read.
const maxAnswer = 8 << 20

func getJSON(ctx context.Context, client *http.Client, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask island: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: answered %s", url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("ask %s: the answer is not an island's: %w", url, err)
	}
	return nil
}

// Troubled reports whether something is wrong that is worse than information.
func (r *Report) Troubled() bool {
	switch r.Health.Worst {
	case health.SeverityWarning, health.SeverityCritical:
		return true
	}
	return !r.Status.Ready
}

// WriteJSON writes the whole report.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText writes what runs, what is wrong and what to do, for people.
func (r *Report) WriteText(out io.Writer) error {
	w := new(strings.Builder)
	s := r.Status
	ready := "ready"
	if !s.Ready {
		ready = "starting"
	}
	fmt.Fprintf(w, "island %s is %s: atoll %s, up %s, %s\n\n", s.Name, ready, s.Version.Version,
		(time.Duration(s.UptimeSeconds) * time.Second).String(), r.URL)
	r.writeHealth(w)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "configuration\t%s, loaded %s\n", orDefaults(s.Config.File), s.Config.LoadedAt.Local().Format(time.DateTime))
	if last := s.Config.LastReload; last != nil && !last.OK {
		fmt.Fprintf(t, "last reload\trefused %s\n", last.At.Local().Format(time.DateTime))
	}
	fmt.Fprintf(t, "data\t%s\n", s.DataDir)
	if s.TLS != nil {
		fmt.Fprintf(t, "certificate\t%s\n", tlsText(s.TLS))
	}
	fmt.Fprintf(t, "network\t%s\n", s.Network.text())
	fmt.Fprintf(t, "series in memory\t%d\n", s.HeadSeries)
	fmt.Fprintf(t, "samples stored\t%.0f a second\n", s.SamplesPerSecond)
	for _, b := range s.Budgets {
		fmt.Fprintf(t, "%s\t%s\n", b.Name, b.text())
	}
	for _, room := range s.Rooms {
		fmt.Fprintf(t, "%s\t%s%s\n", room.Name, room.State, suffix(room.Error))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, printable(w.String()))
	return err
}

// printable takes out what would command the terminal instead of being read: the
// text comes from a server that may not be ours.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

func (r *Report) writeHealth(w io.Writer) {
	if len(r.Health.Active) == 0 {
		fmt.Fprint(w, "nothing is wrong\n\n")
		return
	}
	for _, a := range r.Health.Active {
		fmt.Fprintf(w, "%s: %s (%s, since %s)\n  %s\n  to do: %s\n\n", strings.ToUpper(string(a.Severity)), a.Title, a.Code,
			a.Since.Local().Format(time.DateTime), strings.ReplaceAll(a.Text, "\n", "\n  "), a.Remedy)
	}
}

func (b BudgetStatus) text() string {
	show := func(v float64) string {
		if b.Unit == "bytes" {
			return flow.Bytes(v).Short()
		}
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + b.Unit
	}
	if b.Limit == 0 {
		return show(b.Used) + ", no limit"
	}
	return fmt.Sprintf("%s of %s", show(b.Used), show(b.Limit))
}

func orDefaults(file string) string {
	if file == "" {
		return "built-in defaults"
	}
	return file
}

func suffix(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}
