package mesh

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
)

// movePatience is how long the way to an island that moved may take to be direct.
const movePatience = time.Minute

// TestNetworkChange carries an island that another reaches through a relay only, or
// directly, to another network: a hole is punched by itself, and the path is direct.
func TestNetworkChange(t *testing.T) {
	t.Parallel()
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	for name, kind := range map[string]lab.Kind{"relayed before": lab.Symmetric, "direct before": lab.PortRestricted} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			cafe, home := l.NAT("cafe", kind, link), l.NAT("home", lab.PortRestricted, link)
			relay, a, b := behindNATs(t, l, link, cafe)
			found(t, relay, a, b)
			if kind == lab.Symmetric {
				inVain(t, a, b)
			} else {
				eventually(t, punchPatience, "the path is direct", func() error { return isDirect(a, b, cafe) })
			}
			a.node.MoveTo(home)
			answered := eventually(t, movePatience, "b answers the one that moved", func() error {
				_, err := a.ping("b", 5*time.Second)
				return err
			})
			direct := eventually(t, movePatience, "the path to the new place is direct", func() error { return isDirect(a, b, home) })
			t.Logf("answered %s after moving, directly %s later", answered.Round(time.Millisecond), direct.Round(time.Millisecond))
		})
	}
}

// behindNATs starts a relay, island a behind a box and b behind a cone of its own.
func behindNATs(t *testing.T, l *lab.Lab, link lab.LinkOptions, box *lab.NAT) (relay, a, b *site) {
	relay = newSite(t, l.Public("relay", link), "core")
	a = newSite(t, box.Node("a"), "eu")
	b = newSite(t, l.NAT("box-b", lab.PortRestricted, link).Node("b"), "us")
	allUp(relay, a, b)
	return relay, a, b
}

// inVain waits until an attempt at a hole between two islands has failed.
func inVain(t *testing.T, a, b *site) {
	t.Helper()
	eventually(t, time.Minute, "punching fails", func() error {
		why := ""
		for _, from := range []*site{a, b} {
			peers, err := from.peers()
			if err != nil {
				return err
			}
			for _, to := range []*site{a, b} {
				if p := peers[to.name]; to != from && p.Path != "relayed" {
					return fmt.Errorf("%s is %s and %q to %s: %s", to.name, p.State, p.Path, from.name, p.WhyNotDirect)
				}
				why += peers[to.name].WhyNotDirect
			}
		}
		if !strings.Contains(why, "punch failed") {
			return fmt.Errorf("it is relayed because: %s", why)
		}
		return nil
	})
}

// isDirect is nil when two islands are connected directly and the second sees the
// first behind that box.
func isDirect(a, b *site, box *lab.NAT) error {
	for from, to := range map[*site]*site{a: b, b: a} {
		peers, err := from.peers()
		if err != nil {
			return err
		}
		p := peers[to.name]
		if p.State != mesh.StateConnected || p.Path != "direct" {
			return fmt.Errorf("%s is %s and %q to %s: %s", to.name, p.State, p.Path, from.name, p.WhyNotDirect)
		}
		if at := "/ip4/" + box.Addr().String() + "/"; from == b && (len(p.Addresses) == 0 || !strings.HasPrefix(p.Addresses[0], at)) {
			return fmt.Errorf("%s is seen at %q, want at %s", to.name, p.Addresses, at)
		}
	}
	return nil
}
