package mesh

import (
	"fmt"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
)

// TestNATMatrix has islands behind every kind of NAT reach each other: directly
// where that NAT allows it, through a relay otherwise.
func TestNATMatrix(t *testing.T) {
	for _, transport := range []string{"quic", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			natMatrix(t, transport)
		})
	}
}

// directPossible says whether RFC 4787's behaviours let a hole be punched, or
// none be needed.
func directPossible(a, b string) bool {
	return a == "public" || b == "public" || a != "symmetric" && b != "symmetric"
}

func natMatrix(t *testing.T, transport string) {
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	only := "transports: [" + transport + "]"
	relay := newSite(t, l.Public("relay", link), "core", only).up()
	kinds := map[string]string{}
	var sites []*site
	for _, kind := range []string{"public", "cone", "symmetric"} {
		for n := 1; n <= 2; n++ {
			name := fmt.Sprintf("%s%d", kind, n)
			var node *lab.Node
			switch kind {
			case "public":
				node = l.Public(name, link)
			case "cone":
				node = l.NAT(name+"-box", lab.PortRestricted, link).Node(name)
			case "symmetric":
				node = l.NAT(name+"-box", lab.Symmetric, link).Node(name)
			}
			kinds[name] = kind
			sites = append(sites, newSite(t, node, kind, only))
		}
	}
	for _, s := range sites {
		s.start()
	}
	for _, s := range sites {
		s.waitUp()
	}
	found(t, relay, sites...)

	for _, from := range sites {
		eventually(t, 40*time.Second, from.name+" reaches everybody the best way there is", func() error {
			peers, err := from.peers()
			if err != nil {
				return err
			}
			for _, to := range sites {
				if to == from {
					continue
				}
				p := peers[to.name]
				want := "relayed"
				if directPossible(kinds[from.name], kinds[to.name]) {
					want = "direct"
				}
				switch {
				case p.State != mesh.StateConnected:
					return fmt.Errorf("%s is %s: %s", to.name, p.State, p.LastError)
				case p.Path != want:
					return fmt.Errorf("%s is %s, want %s; because: %s", to.name, p.Path, want, p.WhyNotDirect)
				case want == "relayed" && p.WhyNotDirect == "":
					return fmt.Errorf("%s is relayed, and nobody says why", to.name)
				}
			}
			return nil
		})
	}
}
