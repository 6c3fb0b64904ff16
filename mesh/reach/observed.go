package reach

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	// observedFor is how long a peer's word about our address counts.
	observedFor = 40 * time.Minute
	// maxObservers bounds the book; one entry per peer and transport.
	maxObservers = 512
)

// nat is what several peers' observations together say about the NAT before us.
type nat int

const (
	natUnknown nat = iota
	// natNone: others see the address that this machine itself has.
	natNone
	// natCone: another address, the same for everybody.
	natCone
	// natSymmetric: everybody sees another port.
	natSymmetric
)

func (n nat) String() string {
	return [...]string{"unknown", "none", "cone", "symmetric"}[n]
}

type observer struct {
	peer peer.ID
	family
}

type sighting struct {
	addr ma.Multiaddr
	end  endpoint
	// from is the address that the observer saw us from; two observers count as two
	// only if they are in two places.
	from string
	at   time.Time
}

// book keeps under which addresses peers see this island. One lying member can
// add one address per transport; all that follows is a dial that fails.
type book struct {
	mu   sync.Mutex
	seen map[observer]sighting
}

func newBook() *book { return &book{seen: map[observer]sighting{}} }

// add notes that a peer at remote sees our socket local as observed. It reports
// whether something new was learnt. Sockets that do not listen (an outgoing TCP
// connection from a free port) say nothing about where we can be reached.
func (b *book) add(p peer.ID, remote, local, observed ma.Multiaddr, ports map[family]map[string]bool, now time.Time) bool {
	l, ok1 := endpointOf(local)
	o, ok2 := endpointOf(observed)
	r, ok3 := endpointOf(remote)
	if !ok1 || !ok2 || !ok3 || l.family() != o.family() || !ports[l.family()][l.port] {
		return false
	}
	if isLoopback(observed) != isLoopback(local) || isLinkLocal(observed) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := observer{p, o.family()}
	old, known := b.seen[key]
	if !known && len(b.seen) >= maxObservers {
		return false
	}
	b.seen[key] = sighting{addr: observed, end: o, from: r.ip, at: now}
	return !known || old.end != o
}

// has reports whether an observer has said something that still counts.
func (b *book) has(o observer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.seen[o]
	return ok && time.Since(s.at) <= observedFor/2
}

// forget drops everything: the network below has changed.
func (b *book) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.seen)
}

// addrs returns the addresses under which we were seen, the most confirmed first.
func (b *book) addrs(now time.Time) []ma.Multiaddr {
	b.mu.Lock()
	defer b.mu.Unlock()
	votes := map[string]int{}
	byKey := map[string]ma.Multiaddr{}
	for k, s := range b.seen {
		if now.Sub(s.at) > observedFor {
			delete(b.seen, k)
			continue
		}
		votes[string(s.addr.Bytes())]++
		byKey[string(s.addr.Bytes())] = s.addr
	}
	keys := slices.Sorted(maps.Keys(votes))
	slices.SortStableFunc(keys, func(x, y string) int { return votes[y] - votes[x] })
	out := make([]ma.Multiaddr, len(keys))
	for i, k := range keys {
		out[i] = byKey[k]
	}
	return out
}

// nats judges the NAT before us, per transport and IP version. Observers within
// our own site (private addresses) see no NAT, which says nothing about the way
// out, unless everybody is private.
func (b *book) nats(own []ma.Multiaddr, now time.Time) map[family]nat {
	mine := map[string]bool{}
	for _, a := range own {
		if e, ok := endpointOf(a); ok {
			mine[e.ip] = true
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	type view struct{ ends, places map[string]bool }
	views := map[family]*view{}
	out := map[family]nat{}
	for k, s := range b.seen {
		if now.Sub(s.at) > observedFor {
			continue
		}
		if mine[s.end.ip] {
			if out[k.family] == natUnknown {
				out[k.family] = natNone
			}
			continue
		}
		v := views[k.family]
		if v == nil {
			v = &view{map[string]bool{}, map[string]bool{}}
			views[k.family] = v
		}
		v.ends[s.end.ip+"/"+s.end.port] = true
		v.places[s.from] = true
		out[k.family] = natCone
	}
	for f, v := range views {
		if len(v.places) > 1 && len(v.ends) > 1 {
			out[f] = natSymmetric
		}
	}
	return out
}

// behindNAT reports whether anybody outside sees us under an IPv4 address that
// no interface has.
func behindNAT(nats map[family]nat) bool {
	for f, n := range nats {
		if !f.v6 && n >= natCone {
			return true
		}
	}
	return false
}

// symmetricPorts reports whether addresses that a peer claims give it away as
// behind a symmetric NAT: one public IP and transport under several ports.
func symmetricPorts(addrs []ma.Multiaddr) bool {
	ports := map[endpoint]string{}
	for _, a := range addrs {
		e, ok := endpointOf(a)
		if !ok || !manet.IsPublicAddr(a) {
			continue
		}
		key := endpoint{ip: e.ip, proto: e.proto}
		if p, seen := ports[key]; seen && p != e.port {
			return true
		}
		ports[key] = e.port
	}
	return false
}
