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

// libraries is how many connections from one address they allow by themselves.
const libraries = 8

// crowdTries is how often an island may ask to be let in: how long the door's
// queue is depends on the machine, which all of them share here, and who has waited
// a minute is told to come again.
const crowdTries = 3

// crowdHosts is how many hosts they share where each has an address of its own: the
// kernel keeps too few IPv6 neighbours for 60 hosts that all talk to each other.
const crowdHosts = 6

// crowdPatience is how long all of a crowd may take to hear of all.
const crowdPatience = 5 * time.Minute

// TestSixtyBehindOneNAT has many islands behind one IPv4 address join at the same
// time: limits per address that libraries come with would let in eight. They share
// a process; TestCrowdBehindOneNAT gives each its own.
func TestSixtyBehindOneNAT(t *testing.T) {
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond}
	gate := newSite(t, l.Public("gate", link), "core").up()
	gate.init()
	box := l.NAT("box", lab.PortRestricted, link)
	node := box.Node("host")
	var all []settlerAt
	for n := range crowdSize {
		all = append(all, settlerAt{fmt.Sprintf("s%d", n), node.Addr(), 20_000 + n})
	}
	settleAll(t, gate, map[*lab.Node][]settlerAt{node: all})
	cameFrom(t, gate, crowdSize, netip.PrefixFrom(box.Addr(), 32), 1)
}

// TestSixtyBehindOnePrefix has many islands join from one IPv6 /56, which libraries
// count as one address too. Those of one host share a process and its address.
func TestSixtyBehindOnePrefix(t *testing.T) {
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond, IPv6: true}
	gate := newSite(t, l.Public("gate", link), "core", `addresses: ["::"]`).up()
	gate.init()
	box := l.NAT("box", lab.PortRestricted, link)
	hosts := map[*lab.Node][]settlerAt{}
	var prefix netip.Prefix
	for h := range crowdHosts {
		node := box.Node(fmt.Sprintf("h%d", h))
		var err error
		if prefix, err = node.Addr6().Prefix(56); err != nil {
			t.Fatal(err)
		}
		for n := range crowdSize / crowdHosts {
			hosts[node] = append(hosts[node], settlerAt{fmt.Sprintf("h%dx%d", h, n), node.Addr6(), 20_000 + n})
		}
	}
	settleAll(t, gate, hosts)
	cameFrom(t, gate, crowdSize, prefix, crowdHosts)
}

// settleAll has settlers of several hosts join at once by one token: all must come
// to know all, and reach the gate.
func settleAll(t *testing.T, gate *site, hosts map[*lab.Node][]settlerAt) {
	t.Helper()
	token := gate.invite("site", "--uses", fmt.Sprint(crowdSize))
	began, tries := time.Now(), 0
	var waits []func() settled
	for node, all := range hosts {
		waits = append(waits, settlement{Token: token, Gate: gate.name, Settlers: all, Members: crowdSize + 1}.settle(t, node))
	}
	for _, wait := range waits {
		got := wait()
		tries += got.Tries
		for _, e := range got.Errors {
			t.Error(e)
		}
	}
	t.Logf("%d joined by %d tries, know all and reach the one outside after %s", crowdSize, tries, time.Since(began).Round(time.Millisecond))
	if t.Failed() {
		t.FailNow()
	}
	if n := gate.identity().Members; n != crowdSize+1 {
		t.Errorf("the gate counts %d members, want %d", n, crowdSize+1)
	}
	notFlooded(t, gate)
}

// notFlooded fails if connections were turned away for being too many.
func notFlooded(t *testing.T, gate *site) {
	t.Helper()
	if refused, err := gate.metric("atoll_mesh_connections_refused_total", `reason="flood"`); err != nil || refused > 0 {
		t.Errorf("%v connections were turned away for being too many: %v", refused, err)
	}
}

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
	cameFrom(t, gate, libraries+1, netip.PrefixFrom(box.Addr(), 32), 1)
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
	cameFrom(t, gate, libraries+1, prefix, crowdHosts)
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
	notFlooded(t, gate)
}

// cameFrom fails unless the gate is connected directly to so many islands at least,
// and all of those came from within the prefix, from so many addresses.
func cameFrom(t *testing.T, gate *site, least int, within netip.Prefix, addresses int) {
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
	if direct < least || len(seen) != addresses {
		t.Errorf("%d are connected to the gate directly, from %d addresses; want %d or more, from %d", direct, len(seen), least, addresses)
	}
}
