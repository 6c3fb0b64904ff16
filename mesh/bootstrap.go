package mesh

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/atoll-mesh/atoll/mesh/book"
	"github.com/atoll-mesh/atoll/mesh/session"
	"github.com/atoll-mesh/atoll/trust"
)

// maxBootstrapAddresses per island: a token is pasted by hand.
const maxBootstrapAddresses = 6

// Bootstrap lists at most n islands where a guest may knock: this one, and those
// that are connected directly, whose addresses therefore work.
func (m *Mesh) Bootstrap(n int) []trust.Bootstrap {
	var out []trust.Bootstrap
	add := func(k trust.Key, addresses []ma.Multiaddr) {
		if a := forGuests(addresses); len(a) > 0 && len(out) < n {
			out = append(out, trust.Bootstrap{Key: k, Addresses: a})
		}
	}
	add(m.o.Identity.Public(), m.Addresses())
	for _, p := range m.Peers() {
		if p.State != StateConnected || p.Path != "direct" {
			continue
		}
		if e, ok := m.book.Get(p.Key); ok {
			add(p.Key, e.Addresses)
		}
	}
	return out
}

// forGuests leaves out relayed addresses, because relays are for members, and
// puts public ones first.
func forGuests(addresses []ma.Multiaddr) [][]byte {
	direct := slices.DeleteFunc(slices.Clone(addresses), func(a ma.Multiaddr) bool {
		_, err := a.ValueForProtocol(ma.P_CIRCUIT)
		return err == nil
	})
	rank := func(a ma.Multiaddr) int {
		switch {
		case manet.IsPublicAddr(a):
			return 0
		case manet.IsIPLoopback(a):
			return 2
		}
		return 1
	}
	slices.SortStableFunc(direct, func(a, b ma.Multiaddr) int { return rank(a) - rank(b) })
	out := make([][]byte, 0, len(direct))
	for _, a := range direct[:min(len(direct), maxBootstrapAddresses)] {
		out = append(out, a.Bytes())
	}
	return out
}

// Remember puts islands into the address book of a mesh that is not running, so
// that it finds them when it starts. dir is Options.Dir; it must exist.
func Remember(dir string, islands []trust.Bootstrap) error {
	b, err := book.Open(filepath.Join(dir, "peers.json"))
	if err != nil {
		return fmt.Errorf("open the address book: %w", err)
	}
	for _, i := range islands {
		var addresses []ma.Multiaddr
		for _, raw := range i.Addresses {
			if a, err := ma.NewMultiaddrBytes(raw); err == nil {
				addresses = append(addresses, a)
			}
		}
		if len(addresses) > 0 {
			b.Put(i.Key, addresses, time.Now())
		}
	}
	if err := b.Save(); err != nil {
		return fmt.Errorf("write the address book: %w", err)
	}
	return nil
}

// Quarantined reports whether a connected member's certificate has expired.
func (m *Mesh) Quarantined(k trust.Key) bool {
	return m.sessions.Standing(k) == session.Quarantined
}
