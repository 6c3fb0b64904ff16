package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
)

type peersCmd struct {
	here `embed:""`

	Watch bool `short:"w" help:"Show again every two seconds."`
	JSON  bool `help:"Print JSON with everything that is known."`
}

// Help is shown by atoll peers --help.
func (peersCmd) Help() string {
	return `Lists every other island of the network as seen from this one. LOSS is the share
of packets that had to be sent again; IN and OUT are bytes since the island
started; the last column says why a path is not direct, or what is wrong.

Example:

  atoll peers --watch`
}

// Run prints the list, once or again and again.
func (c *peersCmd) Run(ctx context.Context, std streams) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	for {
		peers, err := control.Ask[[]mesh.PeerStatus](ctx, client, "peers")
		if err != nil {
			return err
		}
		if c.Watch && std.out == os.Stdout {
			fmt.Fprint(std.out, "\x1b[H\x1b[2J") // home, and clear what was there
		}
		if c.JSON {
			err = printJSON(std.out, peers)
		} else {
			err = printPeers(std, peers)
		}
		if err != nil || !c.Watch {
			return err
		}
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

func printPeers(std streams, peers []mesh.PeerStatus) error {
	if len(peers) == 0 {
		fmt.Fprintln(std.out, "no other island yet; `atoll invite` prints the token for the next site")
		return nil
	}
	t := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ISLAND\tREGION\tROLE\tSTATE\tPATH\tOVER\tRTT\tLOSS\tIN\tOUT\tSINCE\tCALLS\tWHY")
	for _, p := range peers {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			p.Name, dash(p.Region), role(p), p.State, path(p), dash(p.Transport), rtt(p), loss(p),
			size(p.BytesIn), size(p.BytesOut), since(p), calls(p), why(p))
	}
	return t.Flush()
}

func role(p mesh.PeerStatus) string {
	if p.Primary {
		return p.Role + ", primary"
	}
	return p.Role
}

func path(p mesh.PeerStatus) string {
	if p.Via != "" {
		return p.Path + " via " + p.Via
	}
	return dash(p.Path)
}

func rtt(p mesh.PeerStatus) string {
	if p.RTT == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", p.RTT*1000)
}

func loss(p mesh.PeerStatus) string {
	if p.Since == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", p.Loss*100)
}

func since(p mesh.PeerStatus) string {
	if p.Since == nil {
		return "-"
	}
	return time.Since(*p.Since).Round(time.Second).String()
}

// calls is empty of news while the circuit breaker is closed.
func calls(p mesh.PeerStatus) string {
	if p.Breaker == "" || p.Breaker == "closed" {
		return "ok"
	}
	return "breaker " + p.Breaker
}

func why(p mesh.PeerStatus) string {
	if p.State == mesh.StateConnected {
		return p.WhyNotDirect
	}
	text := []rune(strings.Join(strings.Fields(cmp.Or(p.Verdict, p.LastError)), " ")) // one line, whatever it was
	if len(text) > maxWhy {
		return string(text[:maxWhy]) + "..."
	}
	return string(text)
}

// maxWhy keeps the last column on a wide screen; --json has all of it.
const maxWhy = 160

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func size(n int64) string {
	units := [...]string{"B", "kB", "MB", "GB", "TB"}
	v, u := float64(n), 0
	for v >= 1000 && u < len(units)-1 {
		v, u = v/1000, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}
