package mesh

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
)

// crowdSize is how many islands come from one place at once.
const crowdSize = 60

// crowdTries is how often an island may ask to be let in: how long the door's
// queue is depends on the machine, which all of them share here, and who has waited
// a minute is told to come again.
const crowdTries = 3

// crowdHosts is how many hosts they share where each has an address of its own: the
// kernel keeps too few IPv6 neighbours for 60 hosts that all talk to each other.
const crowdHosts = 6

// TestCrowdBehindOneNAT has many islands behind one IPv4 address join at the same
// time: limits per address that libraries come with would let in eight.
func TestCrowdBehindOneNAT(t *testing.T) {
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond}
	gate := newSite(t, l.Public("gate", link), "core").up()
	gate.init()
	box := l.NAT("box", lab.PortRestricted, link)
	sites := make([]*site, crowdSize)
	for n := range sites {
		sites[n] = newSite(t, box.Node(fmt.Sprintf("s%d", n)), "site")
		sites[n].flags = []string{"--log-level", "warn"}
	}
	allUp(sites...)
	crowd(t, gate, sites)
	cameFrom(t, gate, netip.PrefixFrom(box.Addr(), 32), 1)
}

// TestCrowdBehindOnePrefix has many islands join that have addresses of their own,
// all in one IPv6 /56, which libraries count as one address too.
func TestCrowdBehindOnePrefix(t *testing.T) {
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond, IPv6: true}
	gate := newSite(t, l.Public("gate", link), "core", `addresses: ["::"]`).up()
	gate.init()
	box := l.NAT("box", lab.PortRestricted, link)
	var sites []*site
	for n := range crowdHosts {
		node := box.Node(fmt.Sprintf("h%dx", n))
		sites = append(sites, colony(t, node, append([]netip.Addr{node.Addr6()}, node.MoreAddr6(crowdSize/crowdHosts-1)...), "site")...)
	}
	for _, s := range sites {
		eventually(t, 2*time.Minute, s.name+" is up", func() error { _, err := s.network(); return err })
	}
	crowd(t, gate, sites)
	prefix, err := sites[0].node.Addr6().Prefix(56)
	if err != nil {
		t.Fatal(err)
	}
	cameFrom(t, gate, prefix, crowdHosts)
}

// crowd has many join at once by one token: all must come to know all, and reach
// the gate.
func crowd(t *testing.T, gate *site, sites []*site) {
	t.Helper()
	token := gate.invite("site", "--uses", fmt.Sprint(len(sites)))
	began := time.Now()
	var all sync.WaitGroup
	var tries atomic.Int64
	errs := make([]error, len(sites))
	for n, s := range sites {
		all.Go(func() {
			for range crowdTries {
				tries.Add(1)
				if _, errs[n] = s.atollWithin(5*time.Minute, "", "join", token); errs[n] == nil {
					return
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d joins at once took %s and %d tries", len(sites), time.Since(began).Round(time.Millisecond), tries.Load())
	for n, err := range errs {
		if err != nil {
			t.Errorf("island %d: %v", n, err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	for _, s := range sites {
		eventually(t, 5*time.Minute, s.name+" knows all", func() error {
			n, err := s.network()
			if err == nil && n.Members != len(sites)+1 {
				err = fmt.Errorf("it knows %d members, want %d", n.Members, len(sites)+1)
			}
			return err
		})
		eventually(t, time.Minute, s.name+" reaches the way in", func() error {
			_, err := s.ping(gate.name, 5*time.Second)
			return err
		})
	}
	t.Logf("all know all and reach the one outside after %s", time.Since(began).Round(time.Millisecond))
	if refused, err := gate.metric("atoll_mesh_connections_refused_total", `reason="flood"`); err != nil || refused > 0 {
		t.Errorf("%v connections were turned away for being too many: %v", refused, err)
	}
}

// cameFrom fails unless the gate is connected directly to more islands than
// libraries allow by themselves, and all of those came from within the prefix, from
// so many addresses.
func cameFrom(t *testing.T, gate *site, within netip.Prefix, addresses int) {
	t.Helper()
	peers, err := gate.peers()
	if err != nil {
		t.Fatal(err)
	}
	seen, direct := map[netip.Addr]bool{}, 0
	for name, p := range peers {
		if p.State != mesh.StateConnected || p.Path != "direct" {
			continue
		}
		direct++
		_, text, err := manet.DialArgs(ma.StringCast(p.Addresses[0]))
		if err != nil {
			t.Fatal(err)
		}
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			t.Fatal(err)
		}
		if seen[at.Addr()] = true; !within.Contains(at.Addr()) {
			t.Errorf("%s came from %s, want from within %s", name, at, within)
		}
	}
	t.Logf("%d of them are connected to the gate directly, from %d addresses within %s", direct, len(seen), within)
	if direct <= 8 || len(seen) != addresses {
		t.Errorf("%d are connected to the gate directly, from %d addresses; want more than 8, from %d", direct, len(seen), addresses)
	}
}
