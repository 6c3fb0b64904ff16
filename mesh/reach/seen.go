package reach

import (
	"net/netip"
	"time"

	manet "github.com/multiformats/go-multiaddr/net"
)

// Seen is the public address from which most others see this island come, invalid
// while nobody does.
func (r *Reach) Seen() netip.Addr {
	for _, a := range r.book.addrs(time.Now()) {
		ip, err := manet.ToIP(a)
		if err != nil || !manet.IsPublicAddr(a) {
			continue
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			return addr.Unmap()
		}
	}
	return netip.Addr{}
}
