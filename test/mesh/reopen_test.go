package mesh

import (
	"net/netip"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// TestPathOpens keeps two islands behind NATs from each other until punching has
// failed, and then no longer: with nothing else changed the path becomes direct by the
// next attempt, and at once where one of them sees its network change.
func TestPathOpens(t *testing.T) {
	t.Parallel()
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	for name, tc := range map[string]struct {
		within time.Duration
		news   func(a *site)
	}{
		"by itself": {punchPatience, func(*site) {}},
		"with news": {movePatience, func(a *site) {
			if out, err := a.node.Command(t.Context(), "ip", "addr", "add", "10.9.9.9/32", "dev", "lo").CombinedOutput(); err != nil {
				t.Fatalf("give %s an address: %v %s", a.name, err, out)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			box := l.NAT("box-a", lab.PortRestricted, link)
			relayNode := l.Public("relay", link)
			far := l.NAT("box-b", lab.PortRestricted, link)
			unblock := box.Uplink().Block(lab.Filter{Remote: netip.PrefixFrom(far.Addr(), 32)})
			relay := newSite(t, relayNode, "core")
			a, b := newSite(t, box.Node("a"), "eu"), newSite(t, far.Node("b"), "us")
			allUp(relay, a, b)
			found(t, relay, a, b)
			inVain(t, a, b)
			unblock()
			tc.news(a)
			direct := eventually(t, tc.within, "the path is direct", func() error { return isDirect(a, b, box) })
			t.Logf("direct %s after it opened", direct.Round(time.Millisecond))
		})
	}
}
