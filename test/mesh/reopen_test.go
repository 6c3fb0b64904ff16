package mesh

import (
	"fmt"
	"net/netip"
	"strings"
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
	nothing := func(*site) {}
	for name, tc := range map[string]struct {
		before bool // there was a direct path before it was blocked
		within time.Duration
		news   func(a *site)
	}{
		"by itself":     {false, punchPatience, nothing},
		"direct before": {true, punchPatience, nothing},
		"with news": {false, movePatience, func(a *site) {
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
			block := func() func() { return box.Uplink().Block(lab.Filter{Remote: netip.PrefixFrom(far.Addr(), 32)}) }
			var unblock func()
			if !tc.before {
				unblock = block()
			}
			relay := newSite(t, relayNode, "core")
			a, b := newSite(t, box.Node("a"), "eu"), newSite(t, far.Node("b"), "us")
			allUp(relay, a, b)
			found(t, relay, a, b)
			if tc.before {
				eventually(t, punchPatience, "the path is direct", func() error { return isDirect(a, b, box) })
				unblock = block()
				eventually(t, punchPatience, "the path is relayed", func() error {
					if _, err := a.ping("b", 5*time.Second); err != nil {
						return err
					}
					return isRelayed(a, b)
				})
			}
			eventually(t, punchPatience, "an attempt ends in vain", atRest(a, b))
			unblock()
			tc.news(a)
			direct := eventually(t, tc.within, "the path is direct", func() error { return isDirect(a, b, box) })
			t.Logf("direct %s after it opened", direct.Round(time.Millisecond))
		})
	}
}

// isRelayed is nil when each of two islands reaches the other through a relay.
func isRelayed(a, b *site) error {
	for from, to := range map[*site]*site{a: b, b: a} {
		peers, err := from.peers()
		if err != nil {
			return err
		}
		if p := peers[to.name]; p.Path != "relayed" {
			return fmt.Errorf("%s is %s and %q to %s", to.name, p.State, p.Path, from.name)
		}
	}
	return nil
}

// atRest is nil when holes were tried in vain and none was for longer than a try takes.
func atRest(a, b *site) func() error {
	var tried string
	var since time.Time
	return func() error {
		peers, err := a.peers()
		if err != nil {
			return err
		}
		why := peers[b.name].WhyNotDirect
		if now, _, _ := strings.Cut(why, " over "); now != tried {
			tried, since = now, time.Now()
		}
		if !strings.Contains(tried, "punch failed") || time.Since(since) < 12*time.Second {
			return fmt.Errorf("%s is relayed to %s because: %s", b.name, a.name, why)
		}
		return nil
	}
}
