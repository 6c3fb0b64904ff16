package reach

import (
	"net"
	"slices"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// endpoint is what an address comes down to: IP, "udp" or "tcp", port.
type endpoint struct {
	ip    string
	proto string
	port  string
}

// family is one transport over one IP version: what a NAT treats alike.
type family struct {
	proto string
	v6    bool
}

func (e endpoint) family() family { return family{e.proto, net.ParseIP(e.ip).To4() == nil} }

// endpointOf reads QUIC and TCP addresses; names, relayed and other addresses are false.
func endpointOf(a ma.Multiaddr) (endpoint, bool) {
	if a == nil || relayed(a) {
		return endpoint{}, false
	}
	ip, err := manet.ToIP(a)
	if err != nil {
		return endpoint{}, false
	}
	e := endpoint{ip: ip.String()}
	if port, err := a.ValueForProtocol(ma.P_UDP); err == nil {
		e.proto, e.port = "udp", port
	} else if port, err := a.ValueForProtocol(ma.P_TCP); err == nil {
		e.proto, e.port = "tcp", port
	}
	return e, e.port != ""
}

func relayed(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

// RelayedAddr reports whether an address leads through another island.
func RelayedAddr(a ma.Multiaddr) bool { return relayed(a) }

// withPort returns a at another UDP or TCP port.
func withPort(a ma.Multiaddr, port string) ma.Multiaddr {
	var out ma.Multiaddr
	for _, c := range a {
		if c.Protocol().Code == ma.P_UDP || c.Protocol().Code == ma.P_TCP {
			n, err := ma.NewComponent(c.Protocol().Name, port)
			if err != nil {
				return a
			}
			c = *n
		}
		out = append(out, c)
	}
	return out
}

func isLoopback(a ma.Multiaddr) bool { return manet.IsIPLoopback(a) }

func isLinkLocal(a ma.Multiaddr) bool {
	ip, err := manet.ToIP(a)
	return err == nil && ip.IsLinkLocalUnicast()
}

// Relayed reports whether a connection runs through another island.
func Relayed(c network.Conn) bool { return relayed(c.RemoteMultiaddr()) }

// direct returns a direct connection among those given, or nil.
func direct(conns []network.Conn) network.Conn {
	for _, c := range conns {
		if !Relayed(c) && !c.IsClosed() {
			return c
		}
	}
	return nil
}

// transportName is "quic", "tcp" or what else the address says.
func transportName(a ma.Multiaddr) string {
	for _, c := range slices.Backward(a) {
		switch c.Protocol().Code {
		case ma.P_CIRCUIT:
			return "relay"
		case ma.P_QUIC_V1:
			return "quic"
		case ma.P_TCP:
			return "tcp"
		}
	}
	return "other"
}

// unique drops repeated addresses, keeping order.
func unique(addrs []ma.Multiaddr) []ma.Multiaddr {
	seen := map[string]bool{}
	out := make([]ma.Multiaddr, 0, len(addrs))
	for _, a := range addrs {
		if a != nil && !seen[string(a.Bytes())] {
			seen[string(a.Bytes())] = true
			out = append(out, a)
		}
	}
	return out
}

// usable drops what others cannot dial: loopback and link-local addresses, unless
// there is nothing else, as in a network that lives on one machine.
func usable(addrs []ma.Multiaddr) []ma.Multiaddr {
	out := slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool {
		return isLoopback(a) || isLinkLocal(a) || manet.IsIPUnspecified(a)
	})
	if len(out) == 0 {
		return slices.DeleteFunc(slices.Clone(addrs), manet.IsIPUnspecified)
	}
	return out
}
