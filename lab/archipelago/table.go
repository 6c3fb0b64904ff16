//go:build linux

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// printTable says where everything is and what to try.
func (a *archipelago) printTable() {
	out := a.opts.out
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ISLAND\tREGION\tNAT\tPROCESS\tPAGE\tDATA DIRECTORY")
	for _, s := range a.sites {
		process := "-"
		if pid := s.pid(); pid != 0 {
			process = fmt.Sprint(pid)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", s.name, s.region, s.nat, process, s.page, s.data())
	}
	_ = t.Flush() // out is the terminal; if it is gone nobody reads this
	fmt.Fprintln(out, "\nRound trips: 100 ms eu-us, 150 ms us-ap, 200 ms eu-ap, 4 ms within eu. Look, from another terminal:")
	fmt.Fprintln(out)
	for _, s := range a.sites {
		fmt.Fprintf(out, "  sudo ip netns exec %s %s peers --data-dir %s\n", s.node.Namespace(), a.opts.atoll, s.data())
	}
	fmt.Fprint(out, a.suggestions())
}

// suggestions are commands for here, and the same by hand for elsewhere.
func (a *archipelago) suggestions() string {
	last := a.sites[len(a.sites)-1]
	byHand := strings.NewReplacer(
		"$PID", fmt.Sprint(a.sites[1].pid()), "$NS", last.node.Namespace(), "$NAME", last.name,
		"$ATOLL", a.opts.atoll, "$SIGNER", a.sites[0].data(),
	)
	return byHand.Replace(`
Try here:

  peers us-1                      ap-1 and ap-2 are relayed: between these two NATs there is no direct way
  cut ap-2                        suspect within seconds; within a minute one statement says it is lost, and who
                                  confirmed that: peers eu-1; on eu-1 get statement/; heal ap-2
  break Liberty                   a service that one ISP's customers do not reach: verdicts eu-1; evidence ap-1; mend Liberty
  cut us                          a whole region without uplink, whose islands still see each other; heal us
  kill eu-2                       what it relayed goes by eu-1; start eu-2
  partition eu-1,us | eu-2,ap     two halves that go on by themselves; heal
  revoke us-2                     all others refuse it at once; peers eu-1

The same by hand:

  sudo kill -9 $PID                                                 eu-2
  sudo ip netns exec $NS ip link set eth0 down     $NAME; up heals it
  sudo $ATOLL revoke $NAME --data-dir $SIGNER

help lists all commands.
`)
}

func (a *archipelago) printHelp() {
	t := tabwriter.NewWriter(a.opts.out, 0, 8, 2, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(t, "  %s\t%s\n", c.usage, c.help)
	}
	_ = t.Flush() // as above
}
