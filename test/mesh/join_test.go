package mesh

import (
	"fmt"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
)

// joinTries is how often joining is timed; the best counts, because a machine
// that others use adds to each.
const joinTries = 3

// TestJoinIsQuick times `atoll join` and the first `atoll peers` after it, which
// must show the other island connected: under two seconds on a LAN, within ten
// round trips on a WAN.
func TestJoinIsQuick(t *testing.T) {
	t.Run("lan", func(t *testing.T) {
		lan := lab.New(t).LAN("lan")
		sites := []*site{newSite(t, lan.Node("a"), "eu", "mdns: true")}
		for n := range joinTries {
			sites = append(sites, newSite(t, lan.Node(fmt.Sprintf("b%d", n)), "eu", "mdns: true"))
		}
		best := joinBest(t, sites)
		if best > 2*time.Second {
			t.Errorf("joining took %s, want less than 2 s", best)
		}
	})
	t.Run("wan", func(t *testing.T) {
		const rtt = 400 * time.Millisecond
		l := lab.New(t)
		link := lab.LinkOptions{Delay: rtt / 4}
		sites := []*site{newSite(t, l.Public("a", link), "eu")}
		for n := range joinTries {
			sites = append(sites, newSite(t, l.Public(fmt.Sprintf("b%d", n), link), "us"))
		}
		best := joinBest(t, sites)
		t.Logf("%.1f round trips of %s", best.Seconds()/rtt.Seconds(), rtt)
		if best > 10*rtt {
			t.Errorf("joining took %s, which is %.1f round trips, want at most 10", best, best.Seconds()/rtt.Seconds())
		}
	})
}

// joinBest has all sites but the first join one after the other, and returns the
// shortest time from the token to an answer that shows the first one connected.
func joinBest(t *testing.T, sites []*site) time.Duration {
	t.Helper()
	allUp(sites...)
	first := sites[0]
	first.init()
	best := time.Hour
	for _, s := range sites[1:] {
		token := first.invite(s.region)
		begin := time.Now()
		s.join(token)
		joined := time.Since(begin)
		out := s.must("peers")
		took := time.Since(begin)
		peers, err := s.peers()
		if err != nil {
			t.Fatal(err)
		}
		if p := peers[first.name]; p.State != mesh.StateConnected {
			t.Errorf("%s joined, but the first answer of `atoll peers` shows it not connected to %s:\n%s", s.name, first.name, out)
		}
		t.Logf("%s: joined after %s, `atoll peers` after %s", s.name, joined.Round(time.Millisecond), took.Round(time.Millisecond))
		best = min(best, took)
	}
	return best
}
