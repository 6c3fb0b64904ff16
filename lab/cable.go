//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// cable is the link of a host to its LAN. It swallows packets by rules at the
// bridge's end of the veth pair: dropped at the host's end, they would make its
// calls fail instead of vanish.
type cable struct {
	bridge, host *namespace
	device       string // the bridge's end

	mu      sync.Mutex
	cut     bool
	filters []*Filter
}

// heal ends cut and filters, if there are any.
func (c *cable) heal(t T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut || len(c.filters) > 0 {
		c.cut, c.filters = false, nil
		c.apply(t)
	}
}

func (c *cable) change(t T, change func(*cable)) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
	c.apply(t)
}

// apply is called with mu held.
func (c *cable) apply(t T) {
	t.Helper()
	if err := c.bridge.nft(c.rules()); err != nil {
		t.Fatalf("filter the link of a host on a LAN: %v", err)
	}
}

// rules replaces the cable's table as a whole. ARP and neighbour discovery always
// pass: without them a sender is told "no route to host".
func (c *cable) rules() string {
	table := "cable-" + c.device
	var b strings.Builder
	fmt.Fprintf(&b, "table netdev %s\ndelete table netdev %s\n", table, table)
	if !c.cut && len(c.filters) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "table netdev %s {\n", table)
	for _, chain := range []struct {
		hook string
		out  bool // as the host sees it
	}{{"ingress", true}, {"egress", false}} {
		fmt.Fprintf(&b, " chain %s {\n  type filter hook %s device %q priority 0\n", chain.hook, chain.hook, c.device)
		b.WriteString("  meta protocol arp accept\n  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n")
		if c.cut {
			b.WriteString("  drop\n")
		}
		for _, f := range c.filters {
			if f.Direction == Both || (f.Direction == Out) == chain.out {
				fmt.Fprintf(&b, "  %s drop\n", f.expression(chain.out))
			}
		}
		b.WriteString(" }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// expression is the filter as nft says it.
func (f *Filter) expression(out bool) string {
	remote, local := "s", "d"
	if out {
		remote, local = "d", "s"
	}
	var parts []string
	if f.Remote.IsValid() {
		family := "ip"
		if f.Remote.Addr().Is6() {
			family = "ip6"
		}
		parts = append(parts, fmt.Sprintf("%s %saddr %v", family, remote, f.Remote.Masked()))
	}
	if f.Transport != "" {
		parts = append(parts, "meta l4proto "+string(f.Transport))
	} else if f.RemotePort != 0 || f.LocalPort != 0 {
		parts = append(parts, "meta l4proto { tcp, udp }")
	}
	if f.RemotePort != 0 {
		parts = append(parts, fmt.Sprintf("th %sport %d", remote, f.RemotePort))
	}
	if f.LocalPort != 0 {
		parts = append(parts, fmt.Sprintf("th %sport %d", local, f.LocalPort))
	}
	return strings.Join(parts, " ")
}

// counters reads the totals of the host's eth0.
func (c *cable) counters(t T) Counters {
	t.Helper()
	var total Counters
	err := c.host.within(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/dev")
		if err != nil {
			return err
		}
		total, err = parseDevice(string(text), "eth0")
		return err
	})
	if err != nil {
		t.Fatalf("count the packets of a host on a LAN: %v", err)
	}
	return total
}

// parseDevice reads one device's line of /proc/net/dev.
func parseDevice(text, device string) (Counters, error) {
	const ethernetHeader = 14
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != device {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) < 10 {
			break
		}
		var errs []error
		column := func(i int) uint64 {
			v, err := strconv.ParseUint(fields[i], 10, 64)
			errs = append(errs, err)
			return v
		}
		c := Counters{InBytes: column(0), InPackets: column(1), OutBytes: column(8), OutPackets: column(9)}
		c.InBytes -= min(c.InBytes, ethernetHeader*c.InPackets)
		c.OutBytes -= min(c.OutBytes, ethernetHeader*c.OutPackets)
		return c, errors.Join(errs...)
	}
	return Counters{}, fmt.Errorf("read /proc/net/dev: no counters of %s", device)
}
